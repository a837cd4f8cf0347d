"""Images in one file, for other tools: an OCI layout in a tar, and what `docker load` reads.

Everything is written straight from the store. Equal images under equal names give equal bytes.
"""

from __future__ import annotations

import tarfile
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.digest import canonical_json
from repro.oci.archive import LAYOUT_VERSION, named_entries
from repro.oci.model import ImageConfig, Index
from repro.oci.outgoing import outgoing, write_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repro.digest import Digest, Json
    from repro.names import Reference
    from repro.oci.store import Store
    from repro.oci.tar import Output

_BLOCK: Final = 512


def write_oci_archive(store: Store, images: Mapping[Digest, Sequence[Reference]], out: BinaryIO) -> None:
    """Write images, each with its names, as an OCI image layout in a tar (image-spec image-layout.md).

    Raises:
        CorruptError: something in the store is damaged; what was written then is no image.
        StoreError: a layer is not in the store.
    """
    leaving = {
        image_id: outgoing(store, image_id, [name.repository for name in names]) for image_id, names in images.items()
    }
    folder = "blobs/sha256"
    tar = _Tar(out)
    tar.folder("blobs")
    tar.folder(folder)
    blobs = {digest: blob for image in leaving.values() for digest, blob in image.blobs().items()}
    for digest, (descriptor, diff_id) in blobs.items():
        tar.stream(f"{folder}/{digest.hex}", descriptor.size, partial(write_blob, store, descriptor, diff_id))
    documents: dict[Digest, bytes] = {}
    for image in leaving.values():
        documents |= {image.image_id: image.config, image.descriptor.digest: image.manifest}
    for digest, data in documents.items():
        if digest not in blobs:
            tar.file(f"{folder}/{digest.hex}", data)
    tar.file("oci-layout", LAYOUT_VERSION)
    entries = named_entries([(image.descriptor, images[image_id]) for image_id, image in leaving.items()])
    tar.file("index.json", Index(entries).to_json())
    tar.end()


def write_docker_archive(store: Store, images: Mapping[Digest, Sequence[Reference]], out: BinaryIO) -> None:
    """Write images as `docker save` does: configs and layers, and ``manifest.json``, which gives them their names.

    Layers are uncompressed, each there once. `docker load` makes the same image IDs of it. Names are in full: docker
    reads them like short ones, and podman takes short ones for names of its own. Raises as `write_oci_archive`.
    """
    tar = _Tar(out)
    written: set[Digest] = set()
    entries: list[Json] = []
    for image_id, names in images.items():
        config = store.read_blob(image_id)
        diff_ids = ImageConfig.from_json(config).diff_ids
        for diff_id in dict.fromkeys(diff_ids):
            if diff_id not in written:
                written.add(diff_id)
                tar.folder(diff_id.hex)
                size = store.layer_info(diff_id).size
                tar.stream(f"{diff_id.hex}/layer.tar", size, partial(store.write_layer, diff_id))
        tar.file(f"{image_id.hex}.json", config)
        entries.append(
            {
                "Config": f"{image_id.hex}.json",
                "RepoTags": [str(name) for name in names if name.tag is not None],
                "Layers": [f"{diff_id.hex}/layer.tar" for diff_id in diff_ids],
            }
        )
    tar.file("manifest.json", canonical_json(entries))
    tar.end()


class _Tar:
    """A tar being written to a stream that cannot seek; all times and owners are 0."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def folder(self, name: str) -> None:
        info = tarfile.TarInfo(f"{name}/")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._head(info)

    def file(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._head(info)
        self._out.write(data)
        self._pad(len(data))

    def stream(self, name: str, size: int, write: Callable[[Output], object]) -> None:
        """Add a member whose bytes ``write`` writes; there are ``size`` of them."""
        info = tarfile.TarInfo(name)
        info.size = size
        self._head(info)
        write(self._out)
        self._pad(size)

    def end(self) -> None:
        self._out.write(bytes(2 * _BLOCK))

    def _head(self, info: tarfile.TarInfo) -> None:
        self._out.write(info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % _BLOCK))
