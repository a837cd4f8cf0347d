"""One file that holds an image, for other tools: an OCI layout in a tar, and what `docker load` reads.

Layers are written uncompressed, straight from the store. Equal images under equal names give equal bytes.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.digest import canonical_json
from repro.oci.archive import LAYOUT_VERSION
from repro.oci.model import REF_NAME, Descriptor, Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.digest import Digest, Json
    from repro.names import Reference
    from repro.oci.store import Store

_BLOCK: Final = 512
_FULL_NAME: Final = "io.containerd.image.name"  # what containerd and Docker's image store name an imported image by


def write_oci_archive(store: Store, image_id: Digest, names: Sequence[Reference], out: BinaryIO) -> None:
    """Write the image as an OCI image layout in a tar (image-spec image-layout.md), an entry for each of ``names``.

    Raises:
        CorruptError: a layer in the store is damaged; what was written then is no image.
    """
    manifest, descriptor = store.manifest(image_id)
    blobs = "blobs/sha256"
    tar = _Tar(out)
    tar.folder("blobs")
    tar.folder(blobs)
    for diff_id in dict.fromkeys(store.config(image_id).diff_ids):
        tar.layer(f"{blobs}/{diff_id.hex}", store, diff_id)
    tar.file(f"{blobs}/{image_id.hex}", store.read_blob(image_id))
    tar.file(f"{blobs}/{descriptor.digest.hex}", manifest)
    tar.file("oci-layout", LAYOUT_VERSION)
    tar.file("index.json", Index(_entries(descriptor, names)).to_json())
    tar.end()


def write_docker_archive(store: Store, image_id: Digest, names: Sequence[Reference], out: BinaryIO) -> None:
    """Write the image as `docker save` does: config and layers, and ``manifest.json``, which gives it ``names``.

    `docker load` makes the same image ID of it. Raises as `write_oci_archive`.
    """
    diff_ids = store.config(image_id).diff_ids
    tar = _Tar(out)
    for diff_id in dict.fromkeys(diff_ids):
        tar.folder(diff_id.hex)
        tar.layer(f"{diff_id.hex}/layer.tar", store, diff_id)
    tar.file(f"{image_id.hex}.json", store.read_blob(image_id))
    entry: dict[str, Json] = {
        "Config": f"{image_id.hex}.json",
        "RepoTags": [name.familiar for name in names if name.tag is not None],
        "Layers": [f"{diff_id.hex}/layer.tar" for diff_id in diff_ids],
    }
    tar.file("manifest.json", canonical_json([entry]))
    tar.end()


def _entries(manifest: Descriptor, names: Sequence[Reference]) -> tuple[Descriptor, ...]:
    """Return the manifest once for each name, or once without a name."""
    if not names:
        return (manifest,)
    return tuple(
        Descriptor(
            manifest.media_type, manifest.digest, manifest.size, {REF_NAME: name.tag or "latest", _FULL_NAME: str(name)}
        )
        for name in names
    )


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

    def layer(self, name: str, store: Store, diff_id: Digest) -> None:
        """Write a layer's tar as a member; its size is known without reading it."""
        info = tarfile.TarInfo(name)
        info.size = store.layer_info(diff_id).size
        self._head(info)
        store.write_layer(diff_id, self._out)
        self._pad(info.size)

    def end(self) -> None:
        self._out.write(bytes(2 * _BLOCK))

    def _head(self, info: tarfile.TarInfo) -> None:
        self._out.write(info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % _BLOCK))
