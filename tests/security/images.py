"""Images as OCI layouts, whole or spoilt in one place."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from repro.digest import Digest
from repro.oci.model import MediaTypes

CONFIG = {"User": "1:1", "Env": ["PATH=/bin"], "WorkingDir": "/w", "Cmd": ["true"]}


@dataclass
class Image:
    """The documents and blobs of a layout; a test spoils them before `write`."""

    config: dict
    manifest: dict
    index: dict
    blobs: dict[str, bytes] = field(default_factory=dict)

    def seal(self) -> Image:
        """Put config and manifest among the blobs, and their digests where they belong."""
        config = json.dumps(self.config).encode()
        return self.seal_with(config)

    def seal_with(self, config: bytes) -> Image:
        """The same with a config of any bytes."""
        self.manifest["config"] = self.add(config, MediaTypes.CONFIG)
        self.index["manifests"] = [self.add(json.dumps(self.manifest).encode(), MediaTypes.MANIFEST)]
        return self

    def add(self, data: bytes, media_type: str) -> dict:
        """Add a blob; return its descriptor."""
        digest = Digest.of(data)
        self.blobs[digest.hex] = data
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}


def image(*layers: bytes) -> Image:
    """Return a sound image of layers, each a tar or a gzipped one."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(CONFIG),
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(_plain(layer))) for layer in layers]},
    }
    made = Image(config, {"schemaVersion": 2, "mediaType": MediaTypes.MANIFEST}, {"schemaVersion": 2})
    made.manifest["layers"] = [
        made.add(layer, MediaTypes.LAYER_GZIP if layer[:2] == b"\x1f\x8b" else MediaTypes.LAYER) for layer in layers
    ]
    return made.seal()


def _plain(layer: bytes) -> bytes:
    """Return a layer's tar, as far as it can be had."""
    if layer[:2] != b"\x1f\x8b":
        return layer
    out, rest = b"", layer
    while rest[:2] == b"\x1f\x8b":
        engine = zlib.decompressobj(wbits=31)
        try:
            out += engine.decompress(rest)
        except zlib.error:
            break
        rest = engine.unused_data
    return out


def write(folder: Path, made: Image) -> None:
    """Write the layout."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for name, data in made.blobs.items():
        (blobs / name).write_bytes(data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps(made.index))
