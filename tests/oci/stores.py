"""Stores for tests of what keeps and checks them: layers and images made, pulled ones imitated, all of it written down."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from repro.digest import Digest
from repro.oci.keeping import remove_image
from repro.oci.known import keep_layer, note_manifest
from repro.oci.layer import LayerInfo
from repro.oci.model import Descriptor, ImageConfig, Manifest, MediaTypes
from repro.oci.store import Store

PROJECT = Path(__file__).resolve().parents[2]


def commit(store: Store, files: dict[str, bytes], *, epoch: int = 0) -> LayerInfo:
    """Commit a layer of these files."""
    with store.workspace() as work:
        upper = work / "upper"
        upper.mkdir()
        upper.chmod(0o755)
        for name, content in files.items():
            path = upper / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return store.commit_layer(upper, epoch=epoch)


def image(store: Store, *layers: dict[str, bytes], name: str = "") -> Digest:
    """Put an image of these layers."""
    made = tuple(commit(store, files).diff_id for files in layers)
    image_id = store.put_image(ImageConfig("amd64", diff_ids=made))
    if name:
        store.tag(name, image_id)
    return image_id


def pulled(store: Store, image_id: Digest, source: Store, name: str = "") -> Digest:
    """Take an image from another store as a pull does: compressed blobs kept, the manifest noted."""
    config = source.read_blob(image_id)
    layers = []
    for diff_id in source.config(image_id).diff_ids:
        tar = io.BytesIO()
        source.write_layer(diff_id, tar)
        packed = gzip.compress(tar.getvalue(), 1, mtime=0)
        blob = store.add_blob(io.BytesIO(packed))
        descriptor = Descriptor(MediaTypes.LAYER_GZIP, blob, len(packed))
        keep_layer(store, store.blob_path(blob), descriptor, diff_id)
        layers.append(descriptor)
    assert image_id == store.put_image_bytes(config)
    manifest = Manifest(Descriptor(MediaTypes.CONFIG, image_id, len(config)), tuple(layers))
    note_manifest(store, image_id, "registry.example/tool", manifest.to_json())
    if name:
        store.tag(name, image_id)
    return image_id


def prune(store: Store) -> list[Digest]:
    """Remove the images that have no name, and return them."""
    nameless = sorted(store.images() - set(store.refs().values()))
    for image_id in nameless:
        remove_image(store, image_id)
    return nameless


def contents(store: Store) -> dict[str, tuple[int, bytes]]:
    """Return every file and folder of the store, locks and marks aside, with what it holds."""
    found = {}
    for folder, names, files in os.walk(store.root):
        for name in [*names, *files]:
            path = Path(folder, name)
            relative = str(path.relative_to(store.root))
            if not name.startswith(".") and not name.endswith(".new") and not relative.startswith("leases"):
                found[relative] = (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def process(store: Store, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that has ``store`` open and shares its lease; ``ready()`` tells us and waits for a line."""
    start = f"""
        import os, sys, random
        sys.path.insert(0, {str(PROJECT / "tests" / "oci")!r})
        from pathlib import Path
        from repro.oci.store import Store
        from repro.oci.keeping import *
        from repro.oci.checking import check
        from stores import *
        store = Store(Path({str(store.root)!r}), {store.form!r})
        def ready():
            print("ready", flush=True)
            sys.stdin.readline()
    """
    program = textwrap.dedent(start) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
