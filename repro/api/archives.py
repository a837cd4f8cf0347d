"""Archive bases: where they can be had, what they consist of today, their images; each archive asked once a command."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from repro.errors import LockError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.build.run import Extras
    from repro.digest import Digest
    from repro.environment.model import ArchiveLock, Release
    from repro.environment.resolvers.index import Indexes
    from repro.environment.resolvers.source import ArchiveSource
    from repro.errors import Location
    from repro.workflow.model import ArchiveBase

PREFIX = "archive:"  # of a base's name in FROM
_NAMES = re.compile(rf"\b{PREFIX}[a-z0-9]+/[a-z0-9][a-z0-9.+-]*(?:@[0-9]{{8}}T[0-9]{{6}}Z)?")
_NAME = re.compile(
    r"(?P<archive>[a-z0-9]+)/(?P<suite>[a-z0-9][a-z0-9.-]*)(?P<components>(?:\+[a-z0-9-]+)*)"
    r"(?:@(?P<snapshot>[0-9]{8}T[0-9]{6}Z))?"
)


class Archives:
    """The archives that one command asks. Nothing is fetched before it is needed.

    ``declared`` are the bases of the workflow: what a base's name does not say, its mirror, is taken from there.
    """

    def __init__(self, engine: Engine, declared: Iterable[ArchiveBase] = ()) -> None:
        self._engine = engine
        self._mirrors = {base.name: base.mirror for base in declared if base.mirror}
        self._sources: dict[str, ArchiveSource] = {}
        self._fetched: dict[str, Indexes] = {}

    def source(self, base: ArchiveBase) -> ArchiveSource:
        """Return the base's mirrors and keyring; LockError where none are known.

        A host without the archive's keyring takes it from the archive, for the keys that are known here.
        """
        from repro.environment.resolvers.keyring import NoKeyringError, fetch_keyring  # noqa: PLC0415 - only to lock
        from repro.environment.resolvers.source import find_source  # noqa: PLC0415

        engine, environ = self._engine, self._engine.host.environ
        if base.name not in self._sources:
            try:
                found = find_source(self._placed(base), environ=environ)
            except NoKeyringError:
                found = find_source(self._placed(base), environ=environ, signed=False)
                if not found.distribution.keys:
                    raise
                get = engine.transports.get
                found = replace(found, keyring=fetch_keyring(found, engine.downloads, get, sink=engine.sink))
            self._sources[base.name] = found
        return self._sources[base.name]

    def source_or_none(self, base: ArchiveBase, releases: Iterable[Release] = ()) -> ArchiveSource | None:
        """Return the source, or None where none is known: what is in the downloads may be enough.

        A keyring is not asked for: what is fetched is known by its digest. ``releases`` are the suites as they were
        locked: where the mirrors have moved on, snapshots of that time are asked (`source.find_source`).
        """
        from repro.environment.resolvers.source import NoMirrorError, find_source  # noqa: PLC0415 - only to download

        try:
            environ = self._engine.host.environ
            return find_source(self._placed(base), environ=environ, signed=False, releases=releases)
        except NoMirrorError:
            return None

    def of_image(self, image_id: Digest, where: Location | None = None) -> ArchiveBase:
        """Return the archive that the packages of an image of the store are from; LockError as `archive_of`."""
        from repro.environment.resolvers.os_release import archive_of  # noqa: PLC0415 - only to lock
        from repro.oci.view import View  # noqa: PLC0415

        store = self._engine.store
        return archive_of(View(store.image_layers(image_id), store.form), where)

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
            source=self.source_or_none(base, entry.releases),
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
        from repro.environment.resolvers.source import find_source  # noqa: PLC0415
        from repro.runtime.spec import Bind  # noqa: PLC0415

        if not name.startswith(PREFIX):
            return Extras()
        try:
            base = self._placed(archive_base(name))
            found = self._sources.get(base.name) or find_source(base, environ=self._engine.host.environ)
        except LockError:  # no mirror, or no keyring for apt to check it with: the command may not need apt
            return Extras()
        binds, env = apt_network_config(found, room / "apt.d", environ=self._engine.host.environ)
        return Extras(tuple(Bind(path, target) for path, target in binds), env)

    def _placed(self, base: ArchiveBase) -> ArchiveBase:
        """Return ``base`` with the mirror that it is declared with."""
        return base if base.mirror else replace(base, mirror=self._mirrors.get(base.name))


def archive_base(name: str, where: Location | None = None) -> ArchiveBase:
    """Return the base that ``archive:debian/bookworm+contrib+main@20260131T000000Z`` names (`ArchiveBase.name`).

    Components and the moment of a snapshot may be left out. UsageError for another spelling.
    """
    from repro.workflow.model import ArchiveBase  # noqa: PLC0415 - a build whose base is in the store needs no workflow

    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None or not _is_moment(match["snapshot"]):
        raise UsageError(f"not an archive base: {name!r}", where=where, hint="write it as archive:debian/bookworm")
    components = {"main", *match["components"].split("+")} - {""}
    return ArchiveBase(
        match["archive"], match["suite"], components=tuple(sorted(components)), snapshot=match["snapshot"]
    )


def _is_moment(snapshot: str | None) -> bool:
    try:
        return snapshot is None or bool(datetime.strptime(snapshot, "%Y%m%dT%H%M%SZ"))  # noqa: DTZ007 - only looked at
    except ValueError:
        return False


def archive_of_label(label: str) -> ArchiveBase:
    """Return the archive whose suite, or whose updates, a lock's ``label`` names (`Package.archive`)."""
    from repro.environment.resolvers.distributions import DISTRIBUTIONS  # noqa: PLC0415 - only to download
    from repro.workflow.model import ArchiveBase  # noqa: PLC0415

    root, _, suite = label.partition("/")
    archive = next((known.name for known in DISTRIBUTIONS.values() if root == known.security), root)
    return ArchiveBase(archive, suite.removesuffix("-security").removesuffix("-updates"))


def archives_in(dockerfile: str) -> tuple[ArchiveBase, ...]:
    """Return the archive bases that a Dockerfile's text names, each once."""
    return tuple(archive_base(name) for name in dict.fromkeys(_NAMES.findall(dockerfile)))
