"""Images of archives taken into the store.

Nothing of an archive is believed: each document and blob is read whole and compared with digest and size before it is
used, each layer is unpacked as `repro.oci.apply` does it and must give its diffID, and the image is in the store when
all of that went well. What went well before something did not stays as a layer without an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import DataError
from repro.oci import known
from repro.oci.compression import packing
from repro.oci.model import Descriptor, MediaTypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.digest import Source
    from repro.names import Reference
    from repro.oci.members import Members
    from repro.oci.store import Store

_PACKED: Final = {"gzip": MediaTypes.LAYER_GZIP, "zstd": MediaTypes.LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer in an archive: the name of its file, its diffID, and its descriptor where the archive has one."""

    name: str
    diff_id: Digest
    descriptor: Descriptor | None


@dataclass(frozen=True, slots=True)
class Incoming:
    """An image in an archive, as far as it can be known without reading its layers.

    ``names`` are those that the archive gives it. ``manifest`` is the one that it came with; a Docker archive has none.
    """

    names: tuple[Reference, ...]
    config: bytes
    layers: tuple[PackedLayer, ...]
    manifest: bytes | None = None


def take_image(
    image: Incoming, members: Members, store: Store, told: Callable[[int, int], object] | None = None
) -> Digest:
    """Take an image of the archive into the store; return its ID. Names are the caller's to give.

    ``told`` is told how many of the layers are there, and how many there are.

    A layer that comes compressed keeps that blob, and the manifest that the image came with is noted for each
    repository that it has a name in: so that the image leaves as it came.

    Raises:
        DataError: something is missing, hostile, or not what its digest says.
    """
    for count, layer in enumerate(image.layers, 1):
        _take_layer(layer, members, store)
        if told is not None:
            told(count, len(image.layers))
    image_id = store.put_image_bytes(image.config)
    if image.manifest is not None:
        for repository in dict.fromkeys(name.repository for name in image.names):
            known.note_manifest(store, image_id, repository, image.manifest)
    return image_id


def _take_layer(layer: PackedLayer, members: Members, store: Store) -> None:
    """Have a layer in the store, and the blob that it comes as if that is compressed."""
    if layer.descriptor is not None:
        check_size(members, layer.name, layer.descriptor)
    with members.open(layer.name) as file:
        form = packing(read_start(file, 4))
    if form is None:
        _take_plain(layer, members, store)
        return
    digest = layer.descriptor.digest if layer.descriptor is not None else _digest(layer.name, members)
    before = known.blob_of(store, layer.diff_id)
    there = store.has_blob(digest)
    if there and before is not None and before.digest == digest and store.has_layer(layer.diff_id):
        return
    with members.open(layer.name) as file:
        store.add_blob(file, digest=digest)
    path = store.blob_path(digest)
    try:
        descriptor = layer.descriptor
        if descriptor is None or form not in descriptor.media_type:  # it is passed on as what it is
            descriptor = Descriptor(_PACKED[form], digest, path.stat().st_size)
        known.keep_layer(store, path, descriptor, layer.diff_id)
    except DataError:
        if not there:  # hostile, or another layer's: nothing will ever ask for it
            path.unlink(missing_ok=True)
        raise


def _digest(name: str, members: Members) -> Digest:
    with members.open(name) as file:
        return Digest.of_stream(file)


def _take_plain(layer: PackedLayer, members: Members, store: Store) -> None:
    """Have a layer that is not compressed in the store."""
    if layer.descriptor is not None and layer.descriptor.digest != layer.diff_id:
        raise DataError(f"layer {layer.descriptor.digest} in {members.where} is not {layer.diff_id}")
    if store.has_layer(layer.diff_id):
        return
    with store.workspace() as work:
        path = work / "layer.tar"
        with members.open(layer.name) as file, open(path, "wb", buffering=0) as out:
            while data := file.read(CHUNK):
                out.write(data)
        store.add_layer(path, diff_id=layer.diff_id)


def check_size(members: Members, name: str, descriptor: Descriptor) -> None:
    """See that a file is there, and as long as its descriptor says; DataError if not."""
    size = members.size(name)
    if size is None:
        raise DataError(f"{members.where} has no blob {descriptor.digest}", hint="it was not written whole")
    if size != descriptor.size:
        raise DataError(f"{name} in {members.where} has {size} bytes", why=f"its descriptor says {descriptor.size}")


def read_start(file: Source, most: int) -> bytes:
    """Return the first ``most`` bytes, fewer where there are no more."""
    pieces = []
    while most and (piece := file.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
