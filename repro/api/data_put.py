"""`repro data put`: a file or folder of this machine brought to an address, as results are published (ADR 13)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.api.pinning import reach_of
from repro.api.publish_records import PublishedFile
from repro.api.publish_targets import Destination, settle_others
from repro.data.checksum import StatCache, walk
from repro.data.publication import MANIFEST, Item
from repro.data.publishing import publish
from repro.errors import DataError, UsageError
from repro.events import Notice
from repro.files import remove_tree
from repro.workflow.model import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.events import Sink

_STATE = "puts"  # in the cache: what an interrupted put left at a server can be had again from what is here


def put_data(host: Host, path: str, uri: str, *, replace: bool = False, sink: Sink) -> tuple[PublishedFile, ...]:
    """Bring a file, or all files of a folder, to an address, all or none; return how each stands there.

    Args:
        host: the machine and the caller.
        path: of this machine. A file may go to a folder (an address that ends in ``/``), a folder goes to one.
        uri: an address, or a path.
        replace: other files that are there are replaced.
        sink: is told the progress in bytes.

    Raises:
        UsageError, DataError: it cannot be done; a link that leads out of the folder, or nowhere.
        ExistsError, FetchError: as `repro.data.publishing.publish`.
    """
    place = host.cwd / path
    if not place.exists():
        raise UsageError(f"{path} is not there")
    folder = place.is_dir()
    address = uri if not folder or uri.endswith("/") else f"{uri}/"
    if not folder and address.endswith("/"):
        address += place.name
    destination = Destination.of(address, Access(), host.cwd)
    reach, owner = reach_of(host), f"repro data put on {host.name}, process {os.getpid()}"
    destination.target(reach).close()  # what no address can be is refused before anything is hashed or made
    if folder and (place / MANIFEST).is_file():
        sink(Notice("info", f"{place / MANIFEST} is left out: the target gets one of its own"))
    items = _items(place) if folder else _item(place, destination.name)
    if not items:
        raise UsageError(f"{path} has no file in it")
    state = destination.state(host.cache_root / _STATE, "", os.fspath(place.resolve()))
    destination.note(state)
    settle_others(state, reach, owner, sink)
    standing = publish([destination.publication(items, state, reach, owner)], replace=replace, sink=sink)
    remove_tree(state)
    return tuple(
        PublishedFile.of(one, os.path.join(path, one.item.name) if folder else path, destination.address)
        for one in standing
    )


def _item(place: Path, name: str) -> tuple[Item, ...]:
    digest, size = StatCache(Path("unused")).digest_file(place)
    return (Item(name, place, digest, size),)


def _items(folder: Path) -> tuple[Item, ...]:
    """Return all files of a folder; a link to a file in it counts as one, any other link is an error."""
    found = []
    for entry in walk(folder):
        if entry.kind == "link":
            target = os.path.realpath(entry.path)
            if not os.path.isfile(target) or not target.startswith(f"{os.path.realpath(folder)}/"):
                hint = "bring the file itself, or remove the link"
                raise DataError(f"{entry.path} is a link that leads out of the folder, or to no file", hint=hint)
        if entry.kind != "folder" and entry.name != MANIFEST:  # the target gets one of its own
            found.append(entry)
    paths: Sequence[str] = [entry.path for entry in found]
    hashed = StatCache(Path("unused")).digest_files(paths)
    return tuple(Item(entry.name, Path(entry.path), *one) for entry, one in zip(found, hashed, strict=True))
