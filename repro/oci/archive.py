"""Images as OCI image layouts (image-spec image-layout.md): folders that other tools read and write too."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Final

from repro.errors import DataError
from repro.files import fsync_folder, write_atomic
from repro.names import DEFAULT_TAG
from repro.oci.finding import choose_entry, read_entries, read_image
from repro.oci.incoming import take_image
from repro.oci.members import FolderMembers
from repro.oci.model import FULL_NAME, REF_NAME, Descriptor, Index
from repro.oci.outgoing import outgoing, write_blob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from repro.digest import Digest
    from repro.names import Reference
    from repro.oci.store import Store

LAYOUT_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'


def write_layout(
    store: Store, image_id: Digest, folder: Path, tag: str | None = None, names: Sequence[Reference] = ()
) -> Descriptor:
    """Write an image into the layout in ``folder``, made if need be; return the manifest's descriptor.

    Blobs are written as `repro.oci.outgoing` has them, each only if it is not there. ``tag``, or each of ``names``,
    names the image in ``index.json``, in place of one that had the name; other images of the layout stay. A reader
    never sees a part of an image; writers wait for each other.

    Raises:
        CorruptError: something in the store is damaged.
        StoreError: a layer is not in the store.
        DataError: what is in ``folder`` is no layout.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    image = outgoing(store, image_id, [name.repository for name in names])
    for digest, (descriptor, diff_id) in image.blobs().items():
        if not _is_there(blobs / digest.hex, descriptor.size):
            _write_blob(store, descriptor, diff_id, blobs / digest.hex)
    fsync_folder(blobs)
    write_atomic(blobs / image_id.hex, image.config)
    write_atomic(blobs / image.descriptor.digest.hex, image.manifest)
    with _alone(folder):
        write_atomic(folder / "oci-layout", LAYOUT_VERSION)
        bare = image.descriptor
        if tag is not None:
            bare = Descriptor(bare.media_type, bare.digest, bare.size, {REF_NAME: tag})
        before = _entries(folder)
        entries = named_entries([(bare, names)], before)
        write_atomic(folder / "index.json", Index(entries).to_json())
    return entries[-1]


def named_entries(
    images: Sequence[tuple[Descriptor, Sequence[Reference]]], before: Sequence[Descriptor] = ()
) -> tuple[Descriptor, ...]:
    """Return the entries of an index: those of ``before`` that stay, then each image once for each of its names.

    An entry bears the tag, and beside it the full name as containerd and Docker write it. Where two repositories have
    the same tag, the later entry bears its full name in the tag's place, as podman has it, to be chosen by. A new entry
    replaces one of its name.
    """
    entries = list(before)
    for image, names in images:
        for name in names or (None,):
            annotations = dict(image.annotations)
            if name is not None:
                entries = [one for one in entries if one.annotations.get(FULL_NAME) != str(name)]
                tag = name.tag or DEFAULT_TAG
                taken = any(_tag(one) == tag and FULL_NAME in one.annotations for one in entries)
                annotations = {REF_NAME: str(name) if taken else tag, FULL_NAME: str(name)}
            entry = Descriptor(image.media_type, image.digest, image.size, annotations)
            entries = [one for one in entries if one != entry and (_tag(one) is None or _tag(one) != _tag(entry))]
            entries.append(entry)
    return tuple(entries)


def read_layout(folder: Path, store: Store, tag: str | None = None) -> Digest:
    """Take an image from the layout in ``folder`` into the store; return its image ID.

    Every blob is checked against its digest and size, every layer against its diffID. ``tag`` chooses among
    several images. DataError for anything that is missing, wrong or not for one image alone.
    """
    if not (folder / "oci-layout").exists():
        raise DataError(f"{folder} is no OCI image layout", why="it has no file oci-layout")
    members = FolderMembers(folder)
    entries = read_entries(members)
    if tag is not None:
        entries = tuple(entry for entry in entries if _tag(entry) == tag)
    distinct = {entry.digest for entry in entries}
    if len(distinct) != 1:
        tags = ", ".join(sorted(name for name in map(_tag, entries) if name)) or "none has a tag"
        raise DataError(
            f"{folder} holds {len(distinct)} images{f' tagged {tag!r}' if tag else ''}, one is needed",
            why=f"tags: {tags}" if distinct else None,
            hint="give the tag of the one you mean" if distinct else None,
        )
    return take_image(read_image(members, choose_entry(members, entries, arch="")), members, store)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself: a layout has no place for other files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_blob(store: Store, descriptor: Descriptor, diff_id: Digest, path: Path) -> None:
    """Write a layer's blob, checked while it is written, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write_blob(store, descriptor, diff_id, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _entries(folder: Path) -> tuple[Descriptor, ...]:
    """Return what index.json lists; nothing if it is not there yet."""
    try:
        data = (folder / "index.json").read_bytes()
    except FileNotFoundError:
        return ()
    return Index.from_json(data).manifests


def _tag(entry: Descriptor) -> str | None:
    return entry.annotations.get(REF_NAME)
