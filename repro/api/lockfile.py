"""The project's workflow.lock: entries looked up, resolved where they are missing, and written at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from repro.api.archives import Archives, archives_in
from repro.api.resolving import Resolver, declared, declared_files, project_text
from repro.dataclass import dataclass
from repro.environment.lock import origin, read_lock, requested, what_changed, write_lock
from repro.environment.model import EnvironmentLock, Lock
from repro.errors import LockError
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.data.checksum import StatCache
    from repro.data.model import InputLock
    from repro.data.pinning import Pinner
    from repro.environment.model import ArchiveLock, FetchedLock
    from repro.errors import Location
    from repro.workflow.model import DataSource, Environment, Plan


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What is to be resolved anew, to what there is today: everything, or some by name.

    Names are those of environments and bases, and the paths of inputs and fetched outputs.
    """

    names: frozenset[str] = frozenset()
    everything: bool = False

    def covers(self, name: str) -> bool:
        """Whether the environment, base or input ``name`` moves on."""
        return self.everything or name in self.names


NOTHING: Final = Upgrade()
_MOST_FILES: Final = 20  # of a folder that are named where it changed


class LockFile:
    """The lock of ``project``; ``archives`` are where its archive bases come from.

    ``may_add``: resolve what is missing (`repro run`); otherwise that is an error (``--locked``).
    ``relock``: resolve what has changed since, too (`repro lock`); what ``upgrade`` covers is resolved anew.
    ``dry``: nothing is written; `content` has what would be.
    """

    def __init__(
        self,
        project: Project,
        engine: Engine,
        *,
        may_add: bool = True,
        relock: bool = False,
        upgrade: Upgrade = NOTHING,
        dry: bool = False,
    ) -> None:
        self.project = project
        self.content: Lock = read_lock(project.lock_file)
        self.archives = Archives(engine, project.workflow.archive_bases())
        self._engine = engine
        self._may_add = may_add
        self._relock = relock
        self._upgrade = upgrade
        self._dry = dry
        self._guard = threading.Lock()
        self._resolved: set[str] = set()  # by this process: not again, even when upgrading

    def declared(self, name: str) -> Environment:
        """Return the declaration of the environment ``name``, with what its files add to it."""
        return declared(self.project.workflow.environments[name], self.project)

    def current(self, name: str) -> EnvironmentLock | None:
        """Return the entry where it is there and is for the declaration as it stands; nothing is resolved.

        Packages say nothing without the base that they were chosen for.
        """
        env, known = self.declared(name), self.content.environments.get(name)
        if known is None or known.origin != origin(env, declared_files(env, self.project)):
            return None
        return known if all(base.name in self.content.archives for base in self._bases(env)) else None

    def entry(self, name: str) -> EnvironmentLock:
        """Return the environment's entry, resolved and written where it is missing.

        LockError when it may not be added, or was locked for another declaration.
        """
        env, before = self.declared(name), self.content.environments.get(name)
        if name in self._resolved or not self._moves(env):
            current = self.current(name)
            if current is not None:
                return current
            if before is not None and not self._relock:
                raise self._stale(env, before)
        self._check_may_add(f"environments.{name}", env.where)
        for base in self._bases(env):
            self.archive(base)
        entry = Resolver(self._engine, self).resolve(env, before, newer=self._upgrade.covers(name))
        # Its images stay true where the packages came out the same: their declaration says it. A name in this store may
        # mean another image now, of which no declaration tells.
        renamed = isinstance(env, ImageEnvironment) and self._upgrade.covers(name)
        if before is not None and not renamed:
            entry = replace(entry, images=before.images, declaration=before.declaration)
        self._resolved.add(name)
        self.change(lambda content: content.with_environment(entry))
        return entry

    def stale(self) -> tuple[str, ...]:
        """Return the environments whose entries are missing, or for another declaration, or about to be upgraded."""
        environments = self.project.workflow.environments
        return tuple(name for name, env in environments.items() if self._moves(env) or self.current(name) is None)

    def _moves(self, env: Environment) -> bool:
        """Whether the environment is to be resolved anew: itself, or with the base that it is made on."""
        return any(self._upgrade.covers(name) for name in (env.name, *(base.name for base in self._bases(env))))

    def _stale(self, env: Environment, before: EnvironmentLock) -> LockError:
        """Return the error for an entry that is not for the declaration as it stands."""
        files = declared_files(env, self.project)
        if before.origin == origin(env, files):
            what, why = f"is in {self.project.lock_file.name}, but its base is not", None
        else:
            what = "has changed since it was locked"
            why = "\n       ".join(what_changed(before, requested(env, files))) or None
        hint = "run `repro lock` to resolve it anew"
        return LockError(f"environments.{env.name} {what}", where=env.where, why=why, hint=hint)

    def archive(self, base: ArchiveBase) -> ArchiveLock:
        """Return the base's entry, resolved and written where it is missing; LockError when it may not be added."""
        known = self.content.archives.get(base.name)
        if known is not None and (not self._upgrade.covers(base.name) or base.name in self._resolved):
            return known
        self._check_may_add(base.name, None)
        entry = self.archives.lock(base)
        self._resolved.add(base.name)
        self.change(lambda content: content.with_archive(entry))
        return entry

    @cached_property
    def cache(self) -> StatCache:
        """The digests of the project's files and of what lies elsewhere on this machine, remembered by stat."""
        from repro.data.checksum import StatCache  # noqa: PLC0415 - a build hashes nothing of it
        from repro.execution.state import State  # noqa: PLC0415

        cache = StatCache(State(self.project.root).stat_cache)
        cache.load()
        return cache

    @cached_property
    def pinner(self) -> Pinner:
        """What resolves inputs, checks and fetches them."""
        from repro.api.pinning import make_pinner  # noqa: PLC0415 - only for a workflow with inputs

        return make_pinner(self._engine, self.project.root, self.cache)

    def current_input(self, path: str) -> InputLock | None:
        """Return the input's entry where it is there and is for the declaration as it stands."""
        from repro.data.pinning import origin as declaration  # noqa: PLC0415 - only for a workflow with inputs

        known = self.content.inputs.get(path)
        source = self.project.workflow.inputs[path]
        return known if known is not None and known.origin == declaration(source) else None

    def input(self, path: str) -> InputLock:
        """Return the input's entry, resolved and written where it is missing.

        LockError when it may not be added, or was locked for another declaration.
        """
        source, before = self.project.workflow.inputs[path], self.content.inputs.get(path)
        if path in self._resolved or not self._upgrade.covers(path):
            current = self.current_input(path)
            if current is not None:
                return current
            if before is not None and not self._relock:
                raise LockError(
                    f"inputs.{path} has changed since it was locked",
                    where=source.where,
                    why=f"locked was {before.uri}" if before.uri != _address(source) else None,
                    hint="run `repro lock` to resolve it anew",
                )
        self._check_may_add(f"inputs.{path}", source.where)
        entry = self.pinner.pin(source, before)
        self._resolved.add(path)
        self.change(lambda content: content.with_input(entry))
        return entry

    def add_fetched(self, entries: Sequence[FetchedLock]) -> None:
        """Add what a step fetched; an entry that is there stays. LockError when none may be added."""
        new = [entry for entry in entries if entry.path not in self.content.fetched]
        if new:
            self._check_may_add(f"{new[0].path}, which was fetched,", None)
            self.change(lambda content: content.with_fetched([one for one in new if one.path not in content.fetched]))

    def prune(self, plan: Plan) -> None:
        """Drop the entries of environments, bases, inputs and fetched outputs that are declared no more.

        What ``upgrade`` names of the fetched goes as well: what the next run fetches is locked then.
        """
        outputs = {output.path for job in plan.jobs if job.step.fetch for output in job.outputs.values()}
        fetched = {
            path: entry
            for path, entry in self.content.fetched.items()
            if (path in outputs or plan.deferred) and path not in self._upgrade.names
        }
        there = self.project.workflow.environments
        bases = {base.name for env in there.values() for base in self._bases(env)}
        environments = {name: entry for name, entry in self.content.environments.items() if name in there}
        archives = {name: entry for name, entry in self.content.archives.items() if name in bases}
        declared_inputs = self.project.workflow.inputs
        inputs = {path: entry for path, entry in self.content.inputs.items() if path in declared_inputs}
        kept = Lock(archives, environments, inputs, fetched)
        self.change(lambda _: kept)

    def change(self, made: Callable[[Lock], Lock]) -> None:
        """Make the file, and this object, hold what ``made`` gives for what they hold now; from any thread."""
        with self._guard:
            self.content = made(self.content)
            if not self._dry:
                write_lock(self.project.lock_file, self.content)

    def text(self, path: str, where: Location, what: str) -> str:
        """Return the text of a project file that an environment names; UsageError where it cannot be read."""
        return project_text(self.project, path, where, what)

    def dockerfile(self, env: DockerfileEnvironment) -> str:
        """Return the text of the user's own Dockerfile."""
        return self.text(env.dockerfile, env.where, "Dockerfile")

    def _bases(self, env: Environment) -> tuple[ArchiveBase, ...]:
        if isinstance(env, DockerfileEnvironment):
            return archives_in(self.dockerfile(env))
        return (env.base,) if isinstance(env, TemplateEnvironment) and isinstance(env.base, ArchiveBase) else ()

    def _check_may_add(self, what: str, where: Location | None) -> None:
        if not self._may_add:
            raise LockError(
                f"{what} is not in {self.project.lock_file.name}",
                where=where,
                hint="run `repro lock`, or `repro run` without --locked",
            )


def differences(before: Lock, after: Lock) -> tuple[str, ...]:
    """Return what differs between two locks, a line each, sorted by entry."""
    lines: list[str] = []
    old = {entry.name: _versions(entry) for entry in _entries(before)}
    new = {entry.name: _versions(entry) for entry in _entries(after)}
    again = _resolved_anew(before, after)
    lines += _input_differences(before.inputs, after.inputs)
    gone = sorted(before.fetched.keys() - after.fetched.keys())
    lines += [f"{path}: what is fetched next is locked" for path in gone]
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            lines.append(f"{name}: locked, {len(new[name])} packages")
        elif name not in new:
            lines.append(f"{name}: removed")
        else:
            lines += [f"{name}: {line}" for line in _changes(old[name], new[name]) or again.get(name, [])]
    return tuple(lines)


def _address(source: DataSource) -> str:
    return source.uri if source.uri is not None else f"site:{source.site}"


def _input_differences(before: Mapping[str, InputLock], after: Mapping[str, InputLock]) -> list[str]:
    """Return a line for each input that came, went, or has other bytes; of a folder also what in it."""
    lines: list[str] = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if new is None:
            lines.append(f"{path}: removed")
        elif old is None:
            lines.append(f"{path}: locked, {new.count} files, {new.size} bytes, {new.digest}")
        elif old.digest != new.digest:
            lines.append(f"{path}: {old.digest} -> {new.digest}")
            lines += [f"{path}: {line}" for line in _file_differences(old, new)[:_MOST_FILES]]
        elif old != new:
            lines.append(f"{path}: locked anew, with the same bytes")
    return lines


def _file_differences(old: InputLock, new: InputLock) -> list[str]:
    before = {file.name: file.digest for file in old.files if file.name}
    after = {file.name: file.digest for file in new.files if file.name}
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    marks = [(name, "+") for name in after.keys() - before.keys()]
    marks += [(name, "-") for name in before.keys() - after.keys()] + [(name, "~") for name in changed]
    return [f"{mark} {name}" for name, mark in sorted(marks)]


def _resolved_anew(before: Lock, after: Lock) -> dict[str, list[str]]:
    """Return a line for each entry that was resolved anew, for the case that its packages came out the same."""
    lines: dict[str, list[str]] = {}
    for name, entry in after.environments.items():
        if name in before.environments and before.environments[name].origin != entry.origin:
            lines[name] = ["locked for the changed declaration, with the same packages"]
    for name, archive in after.archives.items():
        if name in before.archives and before.archives[name].releases != archive.releases:
            lines[name] = ["the same packages, from later indexes"]
    return lines


def _entries(lock: Lock) -> tuple[ArchiveLock | EnvironmentLock, ...]:
    return (*lock.archives.values(), *lock.environments.values())


def _versions(entry: ArchiveLock | EnvironmentLock) -> dict[str, str]:
    """Return the version of each thing that an entry pins; its name says what it is, where it is no ``.deb``."""
    found = {package.name: package.version for package in entry.packages}
    if isinstance(entry, EnvironmentLock):
        found |= {f"conda {package.name}": f"{package.version}={package.build}" for package in entry.conda}
        found |= {f"pip {wheel.name}": wheel.version for wheel in entry.wheels}
        found |= {f"tool {wheel.name}": wheel.version for wheel in entry.tools}
        found |= {f"build {package.name}": package.version for package in entry.build_packages}
        found |= {f"source {source.file}": source.digest.short for source in entry.sources}
        found |= {f"FROM {name}": pinned.rpartition("@")[2] for name, pinned in entry.froms.items()}
        if "@" in entry.base and not entry.base.startswith("archive:"):
            name, _, digest = entry.base.rpartition("@")
            found[f"base {name}"] = digest
    return found


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a line per thing that came, went or changed its version."""
    return [
        f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
