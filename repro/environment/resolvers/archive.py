"""A base image from the distribution's own signed archive: locked per ``.deb``, made without its tools.

The procedure, each part in its module:

1. `source.find_source`: the mirrors and the keyring.
2. `index.fetch_indexes`: InRelease verified by signature, suite and age; Packages verified by its digest.
3. `lock_base`: the essential packages' closure (`closure`), each ``.deb`` fetched and verified.
4. `build_base`: the files unpacked into a tree with a merged /usr (`deb`, `unpack`), dpkg's database written
   (`dpkg`), the packages' scripts run by dpkg in a container without network (`configure`), the tree
   committed.

One lock gives one image ID, whoever builds it and when: as root or with a single ID.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from repro.data.cache import Wanted
from repro.digest import Digest, record_digest
from repro.environment.model import ArchiveLock
from repro.environment.resolvers.closure import essential_closure
from repro.environment.resolvers.configure import PATH, clean, configure
from repro.environment.resolvers.deb import newest_mtime, read_deb
from repro.environment.resolvers.dpkg import read_package, write_database
from repro.environment.resolvers.index import Indexes, PackageIndex, fetch_indexes
from repro.environment.resolvers.source import ArchiveSource, debian_architecture, find_source
from repro.environment.resolvers.unpack import Tree
from repro.errors import LockError
from repro.events import Progress, as_json
from repro.oci.model import History, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package
    from repro.environment.resolvers.deb import Deb
    from repro.environment.resolvers.dpkg import Unpacked
    from repro.events import Sink
    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.workflow.model import ArchiveBase

__all__ = [
    "ArchiveSource",
    "Indexes",
    "build_base",
    "fetch_indexes",
    "fetch_packages",
    "find_source",
    "lock_base",
]

_PROCEDURE = "archive-base/1"  # changes when the same packages come to give another image
_AHEAD = 3  # packages unpacked from their compression before they are needed
_GOARCH = {"armhf": "arm", "i386": "386", "ppc64el": "ppc64le", "mips64el": "mips64le"}  # else as Debian says


def lock_base(
    base: ArchiveBase, source: ArchiveSource, indexes: Indexes, *, downloads: Downloads, sink: Sink
) -> ArchiveLock:
    """Return what ``base`` consists of today; its ``.deb`` files are in ``downloads`` afterwards.

    They are fetched because the base's epoch is the time at which the newest of them was made.

    Raises:
        LockError: the archive's dependencies do not close.
        FetchError: a ``.deb`` could not be had.
    """
    packages = essential_closure(PackageIndex.load(indexes, downloads))
    fetch_packages(packages, source=source, downloads=downloads, sink=sink, what=f"packages of {base.name}")
    epoch = max(newest_mtime(downloads.path(item.digest), item.file_name) for item in packages)
    return ArchiveLock(base.name, epoch, indexes.releases, packages)


def fetch_packages(
    packages: Sequence[Package], *, source: ArchiveSource | None, downloads: Downloads, sink: Sink, what: str
) -> None:
    """Have every package's ``.deb`` in ``downloads``, verified; without a ``source`` from the cache alone.

    FetchError names every file that could not be had, and why.
    """
    wanted = [
        Wanted(
            item.file_name,
            item.digest,
            item.size,
            source.urls(item.archive, item.path) if source is not None else (),
        )
        for item in packages
    ]
    downloads.fetch(wanted, sink=sink, what=what, offline=source is None)


def build_base(
    lock: ArchiveLock,
    *,
    source: ArchiveSource | None,
    downloads: Downloads,
    store: Store,
    launcher: Launcher,
    sink: Sink,
) -> Digest:
    """Return the ID of the image that ``lock`` stands for, made where the store lacks it; tagged by its name.

    Args:
        lock: the packages; nothing else decides the image.
        source: where missing ``.deb`` files can be had; None: in ``downloads`` alone.
        downloads: where the ``.deb`` files are kept.
        store: where the image goes.
        launcher: runs the packages' scripts; its mode must be the store's form.
        sink: hears progress.

    Raises:
        FetchError: a ``.deb`` could not be had.
        LockError: the lock is for another architecture.
        BuildError: a package's script failed.
    """
    key = record_digest(_PROCEDURE, as_json((lock.name, lock.epoch, lock.packages)))
    known = store.recall("archive-base", key)
    if isinstance(known, str) and store.has_image(Digest.parse(known)):
        image_id = Digest.parse(known)
    else:
        _check_architecture(lock)
        fetch_packages(lock.packages, source=source, downloads=downloads, sink=sink, what=f"packages of {lock.name}")
        image_id = _build(lock, downloads, store, launcher, sink)
        store.remember("archive-base", key, str(image_id))
    store.tag(lock.name, image_id)
    return image_id


def _check_architecture(lock: ArchiveLock) -> None:
    """LockError where this host cannot run the lock's packages."""
    found = {package.architecture for package in lock.packages} - {"all"}
    here = debian_architecture()
    if found != {here}:
        raise LockError(
            f"{lock.name} is locked for another architecture than this host's",
            why=f"its packages are for {', '.join(sorted(found)) or 'none'}, the host is {here}",
            hint="build on a host of that architecture, or lock again on this one",
        )


def _build(lock: ArchiveLock, downloads: Downloads, store: Store, launcher: Launcher, sink: Sink) -> Digest:
    """Unpack, configure, commit."""
    architecture = debian_architecture()
    with store.workspace() as workspace:
        tree, work = workspace / "tree", workspace / "work"
        tree.mkdir(mode=0o755)
        work.mkdir(mode=0o700)
        packages = _unpack(lock, tree, downloads, store.form, sink)
        configure(tree, work, packages, epoch=lock.epoch, launcher=launcher, what=lock.name)
        clean(tree, store.form)
        layer = store.commit_layer(tree, epoch=lock.epoch)
    created = datetime.fromtimestamp(lock.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    history = History(created=created, created_by=f"{lock.name}, {len(packages)} packages")
    return store.put_image(
        ImageConfig(
            architecture=_GOARCH.get(architecture, architecture),
            os="linux",
            created=created,
            env=(f"PATH={PATH}",),
            cmd=("bash",),
            diff_ids=(layer.diff_id,),
            history=(history,),
        )
    )


def _unpack(lock: ArchiveLock, tree: Path, downloads: Downloads, form: str, sink: Sink) -> tuple[Unpacked, ...]:
    """Unpack all packages into ``tree``, base-files first: it has the folders that the others share."""
    order = sorted(lock.packages, key=lambda package: (package.name != "base-files", package.name))
    unpacked: list[Unpacked] = []
    with Tree(tree, form) as root:
        for deb in _read_ahead(order, downloads):
            unpacked.append(read_package(deb, root.unpack(deb)))
            sink(Progress(f"unpacking {lock.name}", len(unpacked), len(order), "packages"))
        write_database(tree, unpacked)
        root.finish()
    return tuple(unpacked)


def _read_ahead(packages: Sequence[Package], downloads: Downloads) -> Iterator[Deb]:
    """Yield the packages in order; the next few are unpacked from their compression in the meantime."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting = iter(packages)
        running = deque(pool.submit(_load, item, downloads) for item in islice(waiting, _AHEAD))
        while running:
            deb = running.popleft().result()
            running.extend(pool.submit(_load, item, downloads) for item in islice(waiting, 1))
            yield deb


def _load(package: Package, downloads: Downloads) -> Deb:
    return read_deb(downloads.path(package.digest), package.file_name)
