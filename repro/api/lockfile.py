"""The project's workflow.lock: entries looked up, resolved where they are missing, and written at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.api.archives import archives_in
from repro.digest import Digest
from repro.environment.lock import origin, read_lock, write_lock
from repro.environment.model import EnvironmentLock
from repro.errors import LockError, UsageError
from repro.events import Notice
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.archives import Archives
    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.environment.model import ArchiveLock, Lock, Package
    from repro.errors import Location
    from repro.workflow.model import Environment


class LockFile:
    """The lock of ``project``.

    ``may_add``: resolve what is missing (`repro run`); otherwise that is an error (``--locked``).
    ``relock``: resolve what has changed since, too (`repro lock`); ``upgrade``: resolve everything anew.
    """

    def __init__(
        self,
        project: Project,
        engine: Engine,
        archives: Archives,
        *,
        may_add: bool = True,
        relock: bool = False,
        upgrade: bool = False,
    ) -> None:
        self.project = project
        self.content: Lock = read_lock(project.lock_file)
        self._engine = engine
        self._archives = archives
        self._may_add = may_add
        self._relock = relock or upgrade
        self._upgrade = upgrade
        self._resolved: set[str] = set()  # by this process: not again, even when upgrading

    def declared(self, name: str) -> Environment:
        """Return the declaration of the environment ``name``."""
        return self.project.workflow.environments[name]

    def current(self, name: str) -> EnvironmentLock | None:
        """Return the entry where it is there and is for the declaration as it stands; nothing is resolved.

        Packages say nothing without the base that they were chosen for.
        """
        env, known = self.declared(name), self.content.environments.get(name)
        if known is None or known.origin != self._origin(env):
            return None
        return known if all(base.name in self.content.archives for base in self._bases(env)) else None

    def entry(self, name: str) -> EnvironmentLock:
        """Return the environment's entry, resolved and written where it is missing.

        LockError when it may not be added, or was locked for another declaration.
        """
        env = self.declared(name)
        if not self._upgrade or name in self._resolved:
            current = self.current(name)
            if current is not None:
                return current
            if name in self.content.environments and not self._relock:
                changed = self.content.environments[name].origin != self._origin(env)
                raise LockError(
                    f"environments.{name} has changed since it was locked"
                    if changed
                    else f"environments.{name} is in {self.project.lock_file.name}, but its base is not",
                    where=env.where,
                    hint="run `repro lock` to resolve it anew",
                )
        self._check_may_add(f"environments.{name}", env.where)
        entry = self._resolve(env)
        before = self.content.environments.get(name)
        if before is not None:  # its images stay true where the packages came out the same: their declaration says it
            entry = replace(entry, images=before.images, declaration=before.declaration)
        self._resolved.add(name)
        self.write(self.content.with_environment(entry))
        return entry

    def archive(self, base: ArchiveBase) -> ArchiveLock:
        """Return the base's entry, resolved and written where it is missing; LockError when it may not be added."""
        known = self.content.archives.get(base.name)
        if known is not None and (not self._upgrade or base.name in self._resolved):
            return known
        self._check_may_add(base.name, None)
        entry = self._archives.lock(base)
        self._resolved.add(base.name)
        self.write(self.content.with_archive(entry))
        return entry

    def prune(self) -> None:
        """Drop the entries of environments, and of bases, that are declared no more."""
        declared = self.project.workflow.environments
        bases = {base.name for env in declared.values() for base in self._bases(env)}
        environments = {name: entry for name, entry in self.content.environments.items() if name in declared}
        archives = {name: entry for name, entry in self.content.archives.items() if name in bases}
        self.write(replace(self.content, environments=environments, archives=archives))

    def write(self, content: Lock) -> None:
        """Make the file, and this object, hold ``content``."""
        self.content = content
        write_lock(self.project.lock_file, content)

    def text(self, path: str, where: Location, what: str) -> str:
        """Return the text of a project file that an environment names; UsageError where it cannot be read."""
        try:
            return (self.project.root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the {what} {path} cannot be read", where=where, why=str(error)) from error

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

    def _origin(self, env: Environment) -> Digest:
        if isinstance(env, DockerfileEnvironment):
            return origin(env, {"Dockerfile": Digest.of(self.dockerfile(env).encode())})
        return origin(env)

    def _resolve(self, env: Environment) -> EnvironmentLock:
        for base in self._bases(env):
            self.archive(base)
        if isinstance(env, DockerfileEnvironment):
            return EnvironmentLock(env.name, self._origin(env), "", ())
        if isinstance(env, ImageEnvironment):
            return EnvironmentLock(env.name, self._origin(env), self._pinned(env.reference, env.where), ())
        if isinstance(env.base, ArchiveBase):
            return EnvironmentLock(env.name, self._origin(env), env.base.name, self._packages(env, env.base))
        if env.apt:
            raise LockError(
                f"environments.{env.name}: this version resolves apt names on an archive base only",
                where=env.where,
                hint="use base: {archive: debian, suite: bookworm}",
            )
        return EnvironmentLock(env.name, self._origin(env), self._pinned(env.base.reference, env.where), ())

    def _pinned(self, reference: str, where: Location) -> str:
        """Return the reference with the digest of its manifest, where a registry has it; the image is in the store."""
        from repro.api.bases import pinned_image  # noqa: PLC0415 - only to lock

        return pinned_image(self._engine, reference, where, newer=self._upgrade)

    def _packages(self, env: TemplateEnvironment, base: ArchiveBase) -> tuple[Package, ...]:
        from repro.environment.resolvers.apt import lock_packages  # noqa: PLC0415 - only to lock

        if not env.apt:
            return ()
        self._engine.sink(Notice("info", f"locking {env.name}: {', '.join(env.apt)}"))
        return lock_packages(
            env,
            self._archives.image(base, self.archive(base)),
            self._archives.indexes(base),
            keyring=self._archives.source(base).keyring,
            downloads=self._engine.downloads,
            store=self._engine.store,
            launcher=self._engine.launcher(),
        )


def differences(before: Lock, after: Lock) -> tuple[str, ...]:
    """Return what differs between two locks, a line each, sorted by entry."""
    lines: list[str] = []
    old: dict[str, Sequence[Package]] = {entry.name: entry.packages for entry in _entries(before)}
    new: dict[str, Sequence[Package]] = {entry.name: entry.packages for entry in _entries(after)}
    again = _resolved_anew(before, after)
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            lines.append(f"{name}: locked, {len(new[name])} packages")
        elif name not in new:
            lines.append(f"{name}: removed")
        else:
            lines += [f"{name}: {line}" for line in _package_changes(old[name], new[name]) or again.get(name, [])]
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


def _package_changes(old: Sequence[Package], new: Sequence[Package]) -> list[str]:
    """Return a line per package that came, went or changed its version."""
    before = {package.name: package.version for package in old}
    after = {package.name: package.version for package in new}
    return [
        f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
