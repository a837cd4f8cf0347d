"""The smallest image that a registry takes."""

from __future__ import annotations

import io

from repro.digest import Digest
from repro.oci.model import Descriptor, Manifest, MediaTypes

CONFIG = b"{}"


def upload_blob(registry, path, data):
    """Upload bytes; return their digest."""
    digest = Digest.of(data)
    registry.upload(path, digest, len(data), io.BytesIO(data))
    return digest


def push_small(registry, path, tag, layer=b"a layer"):
    """Push an image of one layer; return its manifest and the digest of that."""
    config, content = upload_blob(registry, path, CONFIG), upload_blob(registry, path, layer)
    manifest = Manifest(
        Descriptor(MediaTypes.CONFIG, config, len(CONFIG)), (Descriptor(MediaTypes.LAYER, content, len(layer)),)
    ).to_json()
    return manifest, registry.put_manifest(path, tag, manifest, MediaTypes.MANIFEST)
