"""What is known of an image outside the store: its manifests there, and the blobs that hold its layers.

A layer is known by its diffID, that of its plain tar; in registries and archives it is a compressed blob with another
digest. What is noted here was seen: the blob's bytes were verified, and unpacked to that layer. So a push can name
blobs that a registry has already, and an image leaves with the manifest that it came with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.errors import DataError, StoreError
from repro.files import fsync_folder
from repro.oci.compression import decompressed
from repro.oci.fields import Fields
from repro.oci.model import Descriptor, ImageConfig, Manifest, MediaTypes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from repro.digest import Source
    from repro.oci.store import Store

_BLOB = "layer-blob"  # kinds of facts: diffID -> descriptor of a blob
_MANIFESTS = "manifests"  # image ID -> {repository: digest of its manifest there}
_PLACES = "blob-places"  # digest of a blob -> repositories
_MOST_PLACES = 5
_LAYERS = (*MediaTypes.LAYERS, MediaTypes.LAYER_ZSTD)


def note_blob(store: Store, diff_id: Digest, blob: Descriptor) -> None:
    """Remember that ``blob`` holds the layer."""
    store.remember(_BLOB, diff_id, Descriptor(blob.media_type, blob.digest, blob.size).as_json())


def blob_of(store: Store, diff_id: Digest) -> Descriptor | None:
    """Return the blob that is known to hold the layer; its bytes need not be in the store."""
    value = store.recall(_BLOB, diff_id)
    try:
        return None if value is None else Descriptor.from_fields(Fields(value, "descriptor"))
    except DataError:  # a damaged memory is as good as none
        return None


def note_manifest(store: Store, image_id: Digest, repository: str, data: bytes) -> Digest:
    """Keep the manifest that an image has in a repository (``docker.io/library/debian``); return its digest."""
    digest = store.put_blob(data)
    known = {name: str(one) for name, one in manifests_of(store, image_id).items()}
    store.remember(_MANIFESTS, image_id, {**known, repository: str(digest)})
    return digest


def manifests_of(store: Store, image_id: Digest) -> dict[str, Digest]:
    """Return the digests of the image's manifests by repository, sorted; those whose bytes are in the store."""
    value = store.recall(_MANIFESTS, image_id)
    if not isinstance(value, dict):
        return {}
    found = {}
    for repository, text in sorted(value.items()):
        try:
            digest = Digest.parse(str(text))
        except DataError:
            continue
        if store.has_blob(digest):
            found[repository] = digest
    return found


def seen_manifests(
    store: Store, image_id: Digest, repositories: Iterable[str] = ()
) -> Iterator[tuple[Manifest, bytes]]:
    """Yield the image's manifests, those of ``repositories`` first, whose blobs were seen to be its layers.

    One that came may name blobs for layers that were here already, which nobody looked into: it is left out, and so is
    a damaged one (`repro store check` says so).
    """
    diff_ids = store.config(image_id).diff_ids
    known = manifests_of(store, image_id)
    preferred = [known[name] for name in repositories if name in known]
    for digest in dict.fromkeys((*preferred, *known.values())):
        try:
            data = store.read_blob(digest)
            manifest = Manifest.from_json(data)
        except (DataError, StoreError):
            continue
        agrees = manifest.config.digest == image_id and len(manifest.layers) == len(diff_ids)
        if agrees and all(_seen(store, *pair) for pair in zip(manifest.layers, diff_ids, strict=True)):
            yield manifest, data


def _seen(store: Store, blob: Descriptor, diff_id: Digest) -> bool:
    noted = blob_of(store, diff_id)
    return blob.digest == diff_id or (noted is not None and noted.digest == blob.digest)


def read_image(manifest: bytes, config: bytes) -> tuple[Manifest, ImageConfig]:
    """Return an image from outside, checked as far as it can be before its layers are there.

    Raises:
        DataError: the two are no image, do not agree, or a layer has a type that cannot be read.
    """
    outer, inner = Manifest.from_json(manifest), ImageConfig.from_json(config)
    if Digest.of(config) != outer.config.digest or len(config) != outer.config.size:
        raise DataError(f"the bytes of config {outer.config.digest} are not its own")
    if len(outer.layers) != len(inner.diff_ids):
        raise DataError(
            "the image does not agree with itself",
            why=f"its config has {len(inner.diff_ids)} layers, its manifest {len(outer.layers)}",
        )
    for layer in outer.layers:
        if layer.media_type not in _LAYERS:
            raise DataError(f"layer {layer.digest} has a type that cannot be read: {layer.media_type}")
    return outer, inner


def intact_blob(store: Store, digest: Digest) -> bool:
    """Whether the blob is there with its bytes, all of which are read; a damaged one is removed."""
    path = store.blob_path(digest)
    try:
        if Digest.of_file(path) == digest:
            return True
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return False


def adopt_blob(store: Store, file: Path, digest: Digest) -> None:
    """Move a file of the store's file system, whose bytes were verified and fsynced, to where the blob belongs."""
    os.chmod(file, 0o600)
    os.rename(file, store.blob_path(digest))
    fsync_folder(store.blob_path(digest).parent)


def keep_layer(store: Store, blob: Path, descriptor: Descriptor, diff_id: Digest) -> None:
    """Have the layer that ``blob`` holds, whose bytes were verified, and note it.

    Raises:
        DataError: it is hostile, or its tar is not the one of the diffID.
    """
    if store.has_layer(diff_id):
        with open(blob, "rb", buffering=0) as file:
            check_digest(decompressed(file, store.limits.swelling), diff_id)
        note_blob(store, diff_id, descriptor)
    else:
        store.add_layer(blob, diff_id=diff_id, seen=lambda: note_blob(store, diff_id, descriptor))


def check_digest(tar: Source, diff_id: Digest) -> None:
    """Read a plain tar to its end; DataError unless it is that of the diffID."""
    found = Digest.of_stream(tar)
    if found != diff_id:
        raise DataError(f"the bytes of layer {diff_id} are not its own", why=f"their digest is {found.hex}")


def note_place(store: Store, blob: Digest, repository: str) -> None:
    """Remember that a repository (``docker.io/library/debian``) has the blob."""
    places = places_of(store, blob)
    if repository not in places:
        store.remember(_PLACES, blob, [*places[-_MOST_PLACES + 1 :], repository])


def places_of(store: Store, blob: Digest) -> list[str]:
    """Return the repositories that had the blob when it was last sent to or taken from them, the latest last."""
    value = store.recall(_PLACES, blob)
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
