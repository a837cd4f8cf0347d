"""Images as OCI image layouts (image-spec image-layout.md): folders that other tools read and write too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.digest import Digest
from repro.errors import DataError
from repro.files import fsync_folder, write_atomic
from repro.oci.model import REF_NAME, Descriptor, ImageConfig, Index, Manifest, MediaTypes

if TYPE_CHECKING:
    from pathlib import Path

    from repro.oci.store import Store

LAYOUT_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'
_LARGEST_DOCUMENT: Final = 4 << 20  # bytes of a manifest, index or config: what registries take


def write_layout(store: Store, image_id: Digest, folder: Path, tag: str | None = None) -> Descriptor:
    """Write an image into the layout in ``folder``, made if need be; return the manifest's descriptor.

    Layers are written uncompressed, each only if it is not there. ``tag`` names the image in ``index.json``,
    in place of one that had the name; other images of the layout stay. A reader never sees a part of an image.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for diff_id in store.config(image_id).diff_ids:
        if not (blobs / diff_id.hex).exists():
            _write_layer(store, diff_id, blobs / diff_id.hex)
    fsync_folder(blobs)
    manifest, descriptor = store.manifest(image_id)
    write_atomic(blobs / image_id.hex, store.read_blob(image_id))
    write_atomic(blobs / descriptor.digest.hex, manifest)
    write_atomic(folder / "oci-layout", LAYOUT_VERSION)
    annotations = {REF_NAME: tag} if tag is not None else {}
    entry = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
    others = [other for other in _entries(folder) if other != entry and (tag is None or _tag(other) != tag)]
    write_atomic(folder / "index.json", Index((*others, entry)).to_json())
    return entry


def read_layout(folder: Path, store: Store, tag: str | None = None) -> Digest:
    """Take an image from the layout in ``folder`` into the store; return its image ID.

    Every blob is checked against its digest and size, every layer against its diffID. ``tag`` chooses among
    several images. DataError for anything that is missing, wrong or not for one image alone.
    """
    if not (folder / "oci-layout").exists():
        raise DataError(f"{folder} is no OCI image layout", why="it has no file oci-layout")
    manifest = Manifest.from_json(_document(folder, _choose(folder, tag)))
    config_bytes = _document(folder, manifest.config)
    config = ImageConfig.from_json(config_bytes)
    if len(config.diff_ids) != len(manifest.layers):
        raise DataError(
            f"the image in {folder} does not agree with itself",
            why=f"its config has {len(config.diff_ids)} layers, its manifest {len(manifest.layers)}",
        )
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        if layer.media_type not in MediaTypes.LAYERS:
            raise DataError(f"layer {layer.digest} has a type that cannot be read: {layer.media_type}")
        if not store.has_layer(diff_id):
            _check(folder, layer)
            store.add_layer(_blob(folder, layer.digest), diff_id=diff_id)
    return store.put_image_bytes(config_bytes)


def _write_layer(store: Store, diff_id: Digest, path: Path) -> None:
    """Write the layer's tar, checked while it is written, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            store.write_layer(diff_id, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _entries(folder: Path) -> tuple[Descriptor, ...]:
    """Return what index.json lists; nothing if it is not there yet."""
    try:
        data = (folder / "index.json").read_bytes()
    except FileNotFoundError:
        return ()
    return Index.from_json(data).manifests


def _tag(entry: Descriptor) -> str | None:
    return entry.annotations.get(REF_NAME)


def _choose(folder: Path, tag: str | None) -> Descriptor:
    """Return the descriptor of the one manifest that is meant, through nested indexes."""
    entries = _entries(folder)
    if tag is not None:
        entries = tuple(entry for entry in entries if _tag(entry) == tag)
    while True:
        distinct = {entry.digest: entry for entry in entries}
        if len(distinct) != 1:
            tags = ", ".join(sorted(name for name in map(_tag, entries) if name)) or "none has a tag"
            raise DataError(
                f"{folder} holds {len(distinct)} images{f' tagged {tag!r}' if tag else ''}, one is needed",
                why=f"tags: {tags}" if distinct else None,
                hint="give the tag of the one you mean" if distinct else None,
            )
        (entry,) = distinct.values()
        if entry.media_type in MediaTypes.MANIFESTS:
            return entry
        if entry.media_type not in MediaTypes.INDEXES:
            raise DataError(f"{entry.digest} is no image but {entry.media_type}")
        entries = Index.from_json(_document(folder, entry)).manifests


def _blob(folder: Path, digest: Digest) -> Path:
    return folder / "blobs" / "sha256" / digest.hex


def _open(folder: Path, descriptor: Descriptor) -> BinaryIO:
    """Open a blob of the size that its descriptor says."""
    path = _blob(folder, descriptor.digest)
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no blob {descriptor.digest}") from error
    size = os.fstat(file.fileno()).st_size
    if size != descriptor.size:
        file.close()
        raise DataError(f"{path} has {size} bytes", why=f"its descriptor says {descriptor.size}")
    return file


def _document(folder: Path, descriptor: Descriptor) -> bytes:
    """Return the bytes of a small blob, checked."""
    if descriptor.size > _LARGEST_DOCUMENT:
        raise DataError(f"a document of {descriptor.size} bytes in {folder}", why="4 MiB is the limit")
    with _open(folder, descriptor) as file:
        data = file.read()
    if Digest.of(data) != descriptor.digest:
        raise DataError(f"blob {descriptor.digest} in {folder} is damaged", why=f"it is {Digest.of(data)}")
    return data


def _check(folder: Path, descriptor: Descriptor) -> None:
    """Read a large blob; DataError if it is not what its descriptor says."""
    with _open(folder, descriptor) as file:
        found = Digest.of_stream(file)
    if found != descriptor.digest:
        raise DataError(f"blob {descriptor.digest} in {folder} is damaged", why=f"it is {found}")
