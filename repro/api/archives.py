"""Archive bases: where they can be had, what they consist of today, their images; each archive asked once a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import LockError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.build.run import Extras
    from repro.digest import Digest
    from repro.environment.model import ArchiveLock
    from repro.environment.resolvers.index import Indexes
    from repro.environment.resolvers.source import ArchiveSource
    from repro.errors import Location
    from repro.workflow.model import ArchiveBase

PREFIX = "archive:"  # of a base's name in FROM
_NAMES = re.compile(rf"\b{PREFIX}[a-z0-9]+/[a-z0-9.-]+")


class Archives:
    """The archives that one command asks. Nothing is fetched before it is needed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sources: dict[str, ArchiveSource] = {}
        self._fetched: dict[str, Indexes] = {}

    def source(self, base: ArchiveBase) -> ArchiveSource:
        """Return the base's mirrors and keyring; LockError where none are known."""
        from repro.environment.resolvers.source import find_source  # noqa: PLC0415 - only to lock or download

        if base.name not in self._sources:
            self._sources[base.name] = find_source(base, environ=self._engine.host.environ)
        return self._sources[base.name]

    def source_or_none(self, base: ArchiveBase) -> ArchiveSource | None:
        """Return the source, or None where none is known: what is in the downloads may be enough.

        A keyring is not asked for: what is fetched is known by its digest.
        """
        from repro.environment.resolvers.source import NoMirrorError, find_source  # noqa: PLC0415 - only to download

        try:
            return self._sources.get(base.name) or find_source(base, environ=self._engine.host.environ, signed=False)
        except NoMirrorError:
            return None

    def indexes(self, base: ArchiveBase) -> Indexes:
        """Return the archive's verified indexes, as they are today."""
        from repro.environment.resolvers.index import fetch_indexes  # noqa: PLC0415 - only to lock

        engine = self._engine
        if base.name not in self._fetched:
            get, now = engine.transports.get, engine.host.now()
            self._fetched[base.name] = fetch_indexes(
                self.source(base), engine.downloads, get, now=now, sink=engine.sink
            )
        return self._fetched[base.name]

    def lock(self, base: ArchiveBase) -> ArchiveLock:
        """Return what the base consists of today."""
        from repro.environment.resolvers.archive import lock_base  # noqa: PLC0415 - only to lock

        engine = self._engine
        return lock_base(base, self.source(base), self.indexes(base), downloads=engine.downloads, sink=engine.sink)

    def image(self, base: ArchiveBase, entry: ArchiveLock) -> Digest:
        """Return the ID of the base's image as locked in ``entry``, made where the store lacks it."""
        from repro.environment.resolvers.archive import build_base  # noqa: PLC0415 - only to build

        engine = self._engine
        return build_base(
            entry,
            source=self.source_or_none(base),
            downloads=engine.downloads,
            store=engine.store,
            launcher=engine.launcher(),
            sink=engine.sink,
        )

    def extras(self, name: str, room: Path) -> Extras:
        """Return what RUN is given from outside on the base ``name``: apt's sources, so that no layer names a mirror.

        ``room`` is a folder that lives as long as the build.
        """
        from repro.build.run import Extras  # noqa: PLC0415 - only to build
        from repro.environment.resolvers.network import apt_network_config  # noqa: PLC0415
        from repro.runtime.spec import Bind  # noqa: PLC0415

        if not name.startswith(PREFIX):
            return Extras()
        try:
            found = self.source(archive_base(name))
        except LockError:  # no mirror, or no keyring for apt to check it with: the command may not need apt
            return Extras()
        binds, env = apt_network_config(found, room / "apt.d", environ=self._engine.host.environ)
        return Extras(tuple(Bind(path, target) for path, target in binds), env)


def archive_base(name: str, where: Location | None = None) -> ArchiveBase:
    """Return the base that ``archive:debian/bookworm`` names; UsageError for another spelling."""
    from repro.workflow.model import ArchiveBase  # noqa: PLC0415 - a build whose base is in the store needs no workflow

    archive, slash, suite = name.removeprefix(PREFIX).partition("/")
    if not slash or not archive or not suite or "/" in suite:
        raise UsageError(f"not an archive base: {name!r}", where=where, hint="write it as archive:debian/bookworm")
    return ArchiveBase(archive, suite)


def archives_in(dockerfile: str) -> tuple[ArchiveBase, ...]:
    """Return the archive bases that a Dockerfile's text names, each once."""
    return tuple(archive_base(name) for name in dict.fromkeys(_NAMES.findall(dockerfile)))
