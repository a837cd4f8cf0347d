"""The files that a lock names: what they are, where each can be had, and how they all come into the downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.data.cache import Wanted
from repro.dataclass import dataclass
from repro.errors import FetchError
from repro.workflow.model import ArchiveBase, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.api.engine import Engine
    from repro.api.lockfile import LockFile
    from repro.environment.model import ArchiveLock, EnvironmentLock, Package, Release
    from repro.workflow.model import Environment


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one kind: ``what`` for people, ``wanted`` with the addresses that are known without asking anybody.

    ``locate`` asks an index where files are, and returns those that it knows with their addresses; None: none is asked.
    """

    what: str
    wanted: tuple[Wanted, ...]
    locate: Callable[[Sequence[Wanted]], Sequence[Wanted]] | None = None


class LockedFiles:
    """What ``lock`` names."""

    def __init__(self, engine: Engine, lock: LockFile) -> None:
        self._project = lock.project
        self._lock = lock
        self._engine = engine
        self._archives = lock.archives

    def packages(
        self, base: ArchiveBase | None, packages: Sequence[Package], what: str, releases: Sequence[Release] = ()
    ) -> Files:
        """Return ``.deb`` files; ``base`` says which archive's mirrors have them (None: no mirror is known).

        ``releases`` are the suites as they were locked: snapshots of that time are asked last.
        """
        source = self._archives.source_or_none(base, releases) if base is not None and packages else None
        wanted = tuple(
            Wanted(
                package.file_name,
                package.digest,
                package.size,
                () if source is None else source.urls(package.archive, package.path),
            )
            for package in packages
        )
        return Files(what, wanted)

    def archive(self, entry: ArchiveLock) -> Files:
        """Return the ``.deb`` files that a base made from an archive consists of."""
        from repro.api.archives import archive_base  # noqa: PLC0415 - only to fetch

        return self.packages(archive_base(entry.name), entry.packages, f"packages of {entry.name}", entry.releases)

    def of(self, env: Environment, entry: EnvironmentLock) -> tuple[Files, ...]:
        """Return the files that the environment is made of, those of an archive base aside."""
        if not isinstance(env, TemplateEnvironment):
            return ()
        return (*self._apt(env, entry), *self._source(env, entry), *self._conda(env, entry), *self._wheels(env, entry))

    def fetch(self, files: Sequence[Files]) -> None:
        """Have all files in the downloads, verified. FetchError names every one that could not be had, and why."""
        downloads, sink = self._engine.downloads, self._engine.sink
        for group in files:
            try:
                downloads.fetch(group.wanted, sink=sink, what=group.what)
            except FetchError:
                if group.locate is None:
                    raise
                missing = [item for item in group.wanted if not downloads.has(item.digest)]
                located = {item.digest: item for item in group.locate(missing)}
                again = [located.get(item.digest, item) for item in missing]
                downloads.fetch(again, sink=sink, what=group.what)

    def _apt(self, env: TemplateEnvironment, entry: EnvironmentLock) -> tuple[Files, ...]:
        base = self.archive_of(env, entry)
        parts = {f"packages of {env.name}": entry.packages, f"build packages of {env.name}": entry.build_packages}
        archive = None if base is None else self._lock.content.archives.get(base.name)
        releases = entry.releases or (() if archive is None else archive.releases)
        return tuple(self.packages(base, packages, what, releases) for what, packages in parts.items() if packages)

    def archive_of(self, env: TemplateEnvironment, entry: EnvironmentLock) -> ArchiveBase | None:
        """Return the archive that the environment's packages are from; None where nothing says it."""
        from repro.api.archives import archive_of_label  # noqa: PLC0415 - only to fetch

        if isinstance(env.base, ArchiveBase):
            return env.base
        labels = {package.archive for package in (*entry.packages, *entry.build_packages)}
        return archive_of_label(min(labels, key=len)) if labels else None

    def _source(self, env: TemplateEnvironment, entry: EnvironmentLock) -> tuple[Files, ...]:
        if env.source is None:
            return ()
        wanted = [Wanted(item.file, item.digest, item.size, (env.source.url,)) for item in entry.sources]
        return (Files(f"source of {env.name}", tuple(wanted)),)

    def _conda(self, env: TemplateEnvironment, entry: EnvironmentLock) -> tuple[Files, ...]:
        spec = env.conda
        if spec is None or not entry.conda:
            return ()
        from repro.environment.resolvers.conda_channels import locate_conda  # noqa: PLC0415 - only to fetch

        wanted = tuple(Wanted(item.file, item.digest, item.size, ()) for item in entry.conda)

        def locate(missing: Sequence[Wanted]) -> Sequence[Wanted]:
            digests = {item.digest for item in missing}
            packages = [package for package in entry.conda if package.digest in digests]
            return locate_conda(packages, spec, self._project.root, self._engine.host.environ)

        return (Files(f"conda packages of {env.name}", wanted, locate),)

    def _wheels(self, env: TemplateEnvironment, entry: EnvironmentLock) -> tuple[Files, ...]:
        if not entry.wheels and not entry.tools:
            return ()
        from repro.environment.resolvers.pip import declared_indexes, locate  # noqa: PLC0415 - only to fetch

        wheels = {wheel.digest: wheel for wheel in (*entry.wheels, *entry.tools)}
        wanted = tuple(Wanted(wheel.file, wheel.digest, wheel.size, ()) for wheel in wheels.values())
        engine = self._engine

        def ask(missing: Sequence[Wanted]) -> Sequence[Wanted]:
            chosen = [wheels[item.digest] for item in missing]
            indexes = declared_indexes(env, self._project.root)
            return locate(chosen, engine.host.environ, engine.transports, indexes, engine.sink)

        return (Files(f"wheels of {env.name}", wanted, ask),)
