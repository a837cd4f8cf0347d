"""What an image is outside the store: its manifest, its config, and the blobs that hold its layers.

An image that came from elsewhere leaves as it came, with the manifest and the compressed blobs that are known of it
(`repro.oci.known`) as long as they are in the store; so that its digest is the same in every archive and registry.
Layers that were built here are written uncompressed, straight from their folders.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import CorruptError
from repro.oci import known
from repro.oci.model import Descriptor, ImageConfig, Manifest, MediaTypes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.oci.store import Store
    from repro.oci.tar import Output


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An image as it is written: ``descriptor`` is of ``manifest``; ``layers``, lowest first, with their diffIDs."""

    image_id: Digest
    manifest: bytes
    descriptor: Descriptor
    config: bytes
    layers: tuple[tuple[Descriptor, Digest], ...]

    def blobs(self) -> dict[Digest, tuple[Descriptor, Digest]]:
        """Return the layers' blobs by digest, each once, with their diffIDs."""
        return {descriptor.digest: (descriptor, diff_id) for descriptor, diff_id in self.layers}


def outgoing(store: Store, image_id: Digest, repositories: Iterable[str] = ()) -> Outgoing:
    """Return the image as it leaves the store; the manifest that it has in one of ``repositories`` is preferred.

    Raises:
        StoreError: a layer is not in the store.
        CorruptError: the config in the store is damaged.
    """
    config = store.read_blob(image_id)
    diff_ids = ImageConfig.from_json(config).diff_ids
    for manifest, data in known.seen_manifests(store, image_id, repositories):
        layers = tuple(zip(manifest.layers, diff_ids, strict=True))
        if all(_there(store, descriptor, diff_id) for descriptor, diff_id in layers):
            descriptor = Descriptor(manifest.media_type, Digest.of(data), len(data))
            return Outgoing(image_id, data, descriptor, config, layers)
    layers = tuple((_descriptor(store, diff_id), diff_id) for diff_id in diff_ids)
    made = Manifest(
        config=Descriptor(MediaTypes.CONFIG, image_id, len(config)),
        layers=tuple(descriptor for descriptor, _ in layers),
    ).to_json()
    return Outgoing(image_id, made, Descriptor(MediaTypes.MANIFEST, Digest.of(made), len(made)), config, layers)


def write_blob(store: Store, descriptor: Descriptor, diff_id: Digest, out: Output) -> None:
    """Write a layer's blob. CorruptError: the store's bytes are not what its digest says; what was written is none."""
    if descriptor.digest == diff_id:
        store.write_layer(diff_id, out)
        return
    hasher = hashlib.sha256()
    path = store.blob_path(descriptor.digest)
    with open(path, "rb", buffering=0) as file:
        while data := file.read(CHUNK):
            hasher.update(data)
            out.write(memoryview(data))
    if hasher.hexdigest() != descriptor.digest.hex:
        raise CorruptError(
            f"blob {descriptor.digest} in the store is damaged",
            where=str(path),
            hint="repair it with `repro store check --repair`, or pull the image again",
        )


def _there(store: Store, descriptor: Descriptor, diff_id: Digest) -> bool:
    """Whether the blob can be written."""
    return store.has_layer(diff_id) if descriptor.digest == diff_id else store.has_blob(descriptor.digest)


def _descriptor(store: Store, diff_id: Digest) -> Descriptor:
    """Return the descriptor of the blob that is known and there, its type under OCI's name; else of the plain tar."""
    noted = known.blob_of(store, diff_id)
    if noted is not None and store.has_blob(noted.digest):
        docker = noted.media_type == MediaTypes.DOCKER_LAYER_GZIP
        return Descriptor(MediaTypes.LAYER_GZIP if docker else noted.media_type, noted.digest, noted.size)
    return Descriptor(MediaTypes.LAYER, diff_id, store.layer_info(diff_id).size)
