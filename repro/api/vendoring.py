"""All the bytes that a lock names, kept in one folder: to build from it when nothing else has them any more.

The folder is an OCI image layout (image-spec image-layout.md): images are in its ``index.json``, and every file, be it
a layer or a package, is a blob under its digest. ``packages.json`` says which blob is which file, for people.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

from repro.api.bases import found_image, parsed
from repro.api.engine import opened
from repro.api.environments import Environments, built_tag
from repro.api.inputs import Inputs
from repro.api.locked_files import LockedFiles
from repro.api.lockfile import LockFile
from repro.api.project import holding, open_project
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import FetchError, Location, StoreError
from repro.events import Notice
from repro.files import open_atomic, write_atomic
from repro.workflow.model import DockerfileEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.locked_files import Files
    from repro.data.cache import Wanted
    from repro.digest import Json
    from repro.events import Sink
    from repro.names import Reference

_LISTING: Final = "packages.json"
_NOWHERE: Final = Location("workflow.lock", 1)


@dataclass(frozen=True, slots=True)
class Vendored:
    """What a vendor folder has of a lock: ``fresh`` of the ``files`` were not in it before."""

    files: int
    bytes: int
    fresh: int
    images: int


def vendor_lock(host: Host, named: str | None, folder: str, *, sink: Sink) -> Vendored:
    """Keep all the bytes that workflow.lock names in ``folder``, made if need be: packages, images, built images.

    Images of Dockerfiles are kept as they were built, for what their commands fetched is in no lock.

    Raises:
        LockError: the lock lacks something that is declared.
        FetchError: a file or an image cannot be had any more; all others are in the folder then.
        StoreError: the folder cannot be written.
    """
    project = open_project(host, named)
    place = host.cwd / folder
    with holding(host, project, "repro lock --vendor"), opened(host, sink) as engine:
        engine.enter()
        lock = LockFile(project, engine, may_add=False)
        entries = {name: lock.entry(name) for name in project.workflow.environments}
        files = LockedFiles(engine, lock)
        groups = [
            *(files.archive(archive) for archive in lock.content.archives.values()),
            *(group for name, entry in entries.items() for group in files.of(lock.declared(name), entry)),
        ]
        wanted = {item.digest: item for group in groups for item in group.wanted}
        fresh = _fetch_and_keep(groups, files, engine, place)
        pinned = {image for entry in entries.values() for image in (entry.base, *entry.froms.values()) if "@" in image}
        for image in sorted(pinned - lock.content.archives.keys()):
            _keep_image(engine, found_image(engine, image, _NOWHERE), place, names=[parsed(image, _NOWHERE)])
        environments = Environments(project, engine)
        own = [name for name in entries if isinstance(lock.declared(name), DockerfileEnvironment)]
        for name in own:
            _keep_image(engine, environments.image(name).image_id, place, tag=built_tag(name, engine))
        data = _keep_inputs(lock, engine, place)
        fresh += data.fresh
        size = sum(item.size for item in wanted.values()) + data.bytes
        return Vendored(len(wanted) + data.files, size, fresh, len(pinned - lock.content.archives.keys()) + len(own))


def _fetch_and_keep(groups: Sequence[Files], files: LockedFiles, engine: Engine, folder: Path) -> int:
    """Fetch and keep all groups; the first FetchError is raised once the others are kept."""
    fresh = 0
    failed = None
    for group in groups:
        try:
            files.fetch([group])
        except FetchError as error:
            failed = failed or error
        there = [item for item in group.wanted if engine.downloads.has(item.digest)]
        fresh += vendor_files(folder, there, engine.downloads.path)
    if failed is not None:
        raise failed
    return fresh


def _keep_inputs(lock: LockFile, engine: Engine, folder: Path) -> Vendored:
    """Keep the bytes of all inputs that are locked file by file and may leave this site; say of which not."""
    from repro.data.cache import Wanted  # noqa: PLC0415 - only for a workflow with inputs

    inputs = Inputs(lock.project, engine, lock)
    files = size = fresh = 0
    for path, source in lock.project.workflow.inputs.items():
        entry = lock.input(path)
        if source.private or not entry.files:
            why = "it is private" if source.private else "it is bound in place, and not locked file by file"
            engine.sink(Notice("info", f"{path} is not in {folder.name}: {why}"))
            continue
        place = inputs.place(path)
        where = {file.digest: place / file.name if file.name else place for file in entry.files}
        wanted = [Wanted(f"{path}{file.name}", file.digest, file.size, ()) for file in entry.files]
        fresh += vendor_files(folder, wanted, where.__getitem__)
        files, size = files + len(wanted), size + entry.size
    return Vendored(files, size, fresh, 0)


def _keep_image(
    engine: Engine, image_id: Digest, folder: Path, *, tag: str | None = None, names: Sequence[Reference] = ()
) -> None:
    from repro.oci.archive import write_layout  # noqa: PLC0415 - only where there are images

    write_layout(engine.store, image_id, folder, tag, names)


def vendor_files(folder: Path, wanted: Iterable[Wanted], where: Callable[[Digest], Path]) -> int:
    """Keep files, which are at the paths that ``where`` gives, in the folder; return how many it had not yet.

    StoreError where the folder cannot be written.
    """
    blobs = folder / "blobs" / "sha256"
    files = {item.digest: item for item in wanted}
    fresh = 0
    try:
        blobs.mkdir(parents=True, exist_ok=True)
        for digest, item in files.items():
            target = blobs / digest.hex
            if target.exists() and target.stat().st_size == item.size and Digest.of_file(target) == digest:
                continue
            with open(where(digest), "rb") as source, open_atomic(target) as out:
                shutil.copyfileobj(source, out, CHUNK)
            fresh += 1
        _list(folder, files.values())
    except OSError as error:
        raise StoreError(
            f"the vendor folder {folder} cannot be written", why=error.strerror, hint="name another with --vendor"
        ) from error
    return fresh


def _list(folder: Path, wanted: Iterable[Wanted]) -> None:
    """Add files to the folder's listing, one a line, sorted; those of other locks stay."""
    lines = _listed(folder)
    for item in wanted:
        entry: dict[str, Json] = {"file": item.name, "size": item.size, "sha256": item.digest.hex}
        lines.add(json.dumps(entry, ensure_ascii=False))
    write_atomic(folder / _LISTING, ("[\n" + ",\n".join(sorted(lines)) + "\n]\n").encode())


def _listed(folder: Path) -> set[str]:
    """Return the entries of the listing; a damaged one, which nothing but people read, is begun anew."""
    try:
        entries = json.loads((folder / _LISTING).read_bytes())
    except (FileNotFoundError, ValueError):
        return set()
    return {json.dumps(entry, ensure_ascii=False) for entry in entries} if isinstance(entries, list) else set()
