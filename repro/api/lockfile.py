"""The project's workflow.lock: entries looked up, resolved where they are missing, and written at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from repro.api.archives import Archives, archives_in
from repro.api.resolving import Resolver, declared, declared_files, project_text
from repro.dataclass import dataclass
from repro.environment.lock import origin, read_lock, requested, what_changed, write_lock
from repro.environment.model import EnvironmentLock
from repro.errors import LockError
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.environment.model import ArchiveLock, Lock
    from repro.errors import Location
    from repro.workflow.model import Environment


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What is to be resolved anew, to what there is today: everything, or what is named, environments and bases."""

    names: frozenset[str] = frozenset()
    everything: bool = False

    def covers(self, name: str) -> bool:
        """Whether the environment or base ``name`` moves on."""
        return self.everything or name in self.names


NOTHING: Final = Upgrade()


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
        if before is not None:  # its images stay true where the packages came out the same: their declaration says it
            entry = replace(entry, images=before.images, declaration=before.declaration)
        self._resolved.add(name)
        self.write(self.content.with_environment(entry))
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
        self.write(self.content.with_archive(entry))
        return entry

    def prune(self) -> None:
        """Drop the entries of environments, and of bases, that are declared no more."""
        there = self.project.workflow.environments
        bases = {base.name for env in there.values() for base in self._bases(env)}
        environments = {name: entry for name, entry in self.content.environments.items() if name in there}
        archives = {name: entry for name, entry in self.content.archives.items() if name in bases}
        self.write(replace(self.content, environments=environments, archives=archives))

    def write(self, content: Lock) -> None:
        """Make the file, and this object, hold ``content``."""
        self.content = content
        if not self._dry:
            write_lock(self.project.lock_file, content)

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
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            lines.append(f"{name}: locked, {len(new[name])} packages")
        elif name not in new:
            lines.append(f"{name}: removed")
        else:
            lines += [f"{name}: {line}" for line in _changes(old[name], new[name]) or again.get(name, [])]
    return tuple(lines)


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
