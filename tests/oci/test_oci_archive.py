"""OCI image layouts: skopeo and umoci, which know nothing of ours, read and write the same images."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from oci_trees import Node, make

from repro.digest import Digest
from repro.errors import DataError
from repro.files import remove_tree
from repro.oci.archive import read_layout, write_layout
from repro.oci.model import History, ImageConfig
from repro.oci.outgoing import outgoing
from repro.oci.store import Store

TREE = Node(
    "folder",
    0o755,
    children={
        b"bin": Node("link", content=b"usr/bin", mtime=3),
        b"closed": Node("folder", 0o700, (0, 0), 9, children={b"f": Node("file", 0, (0, 42), 8, b"x")}),
        b"n" * 130: Node("file", 0o600, (0, 0), 4, b"long name"),
        b"su": Node("file", 0o4755, (0, 7), 5, b"set-id"),
        "ünï".encode(): Node("file", 0o644, (1000, 1000), 6, b"1" * 5000, {"user.note": b"\0\n="}, also=(b"zwei",)),
        b"tmp": Node("folder", 0o1777, (0, 0), 7, {}),
    },
)
SECOND = Node("folder", 0o755, children={b"su": Node("whiteout"), b"tmp": Node("folder", 0o1777, opaque=True, mtime=7)})


def layers(store: Store, *trees: Node) -> tuple[Digest, ...]:
    """Commit these trees as layers."""
    diff_ids = []
    for tree in trees:
        with store.workspace() as work:
            make(work / "upper", tree, store.form)
            diff_ids.append(store.commit_layer(work / "upper", epoch=1_000_000_000).diff_id)
    return tuple(diff_ids)


@pytest.fixture
def image_id(store: Store) -> Digest:
    """An image of two layers; the second deletes a file of the first."""
    created = "1970-01-01T00:00:00Z"
    config = ImageConfig(
        "amd64",
        created=created,
        env=("PATH=/usr/bin",),
        cmd=("bash",),
        labels={"a": "b"},
        diff_ids=layers(store, TREE, SECOND),
        history=(History(created, "one"), History(created, "two")),
    )
    return store.put_image(config)


def tool(*argv: str | Path) -> str:
    """Run skopeo or umoci; skip where it is not installed."""
    if shutil.which(str(argv[0])) is None:
        pytest.skip(f"{argv[0]} is not installed")
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr if done.returncode else "")
    return done.stdout


def test_a_layout_read_into_another_store_is_the_same_image(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Image ID, layers and config come through a layout unchanged, and every layer verifies on the other side."""
    write_layout(store, image_id, tmp_path / "layout", "v1")
    other = Store(tmp_path / "other", store.form)

    assert image_id == read_layout(tmp_path / "layout", other)
    assert store.config(image_id) == other.config(image_id)
    assert all(other.verify_layer(diff_id) for diff_id in other.config(image_id).diff_ids)
    assert outgoing(store, image_id) == outgoing(other, image_id)
    remove_tree(tmp_path / "other")


def test_skopeo_reads_and_copies_the_layout(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Skopeo inspects the image and copies it, verifying each blob; what it wrote is the same image to us."""
    write_layout(store, image_id, tmp_path / "layout", "v1")

    shown = json.loads(tool("skopeo", "inspect", f"oci:{tmp_path}/layout:v1"))
    tool("skopeo", "copy", f"oci:{tmp_path}/layout:v1", f"oci:{tmp_path}/copy:v2")

    assert (["PATH=/usr/bin"], {"a": "b"}, 2) == (shown["Env"], shown["Labels"], len(shown["Layers"]))
    other = Store(tmp_path / "other", store.form)
    assert image_id == read_layout(tmp_path / "copy", other, "v2")
    remove_tree(tmp_path / "other")


def test_a_compressed_docker_image_is_read(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Layers that another tool gzipped are the same layers; the image ID does not depend on compression."""
    write_layout(store, image_id, tmp_path / "layout", "v1")
    tool("skopeo", "copy", "--dest-compress", f"oci:{tmp_path}/layout:v1", f"dir:{tmp_path}/dir")
    tool("skopeo", "copy", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/gz:v1")
    manifest = next(
        path for path in (tmp_path / "gz" / "blobs" / "sha256").iterdir() if b"tar+gzip" in path.read_bytes()
    )
    other = Store(tmp_path / "other", store.form)

    assert manifest.exists()
    assert image_id == read_layout(tmp_path / "gz", other)
    assert all(other.verify_layer(diff_id) for diff_id in other.config(image_id).diff_ids)
    remove_tree(tmp_path / "other")


@pytest.mark.skipif(os.geteuid() != 0, reason="umoci unpacks owners as root")
def test_umoci_unpacks_the_tree_that_was_put_in(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """The root file system that umoci makes has the types, modes, owners, times, bytes, links and attributes of the tree."""
    write_layout(store, image_id, tmp_path / "layout", "v1")
    tool("umoci", "unpack", "--image", f"{tmp_path}/layout:v1", tmp_path / "bundle")
    expected = tmp_path / "expected"
    make(expected, TREE, "real")
    os.unlink(expected / "su")

    def rows(top: Path) -> list[tuple[object, ...]]:
        found = []
        for path in sorted(top.rglob("*")):
            status = os.lstat(path)
            plain = stat.S_ISREG(status.st_mode)
            attributes = {}
            if not stat.S_ISLNK(status.st_mode):
                attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
                attributes.pop("user.overlay.opaque", None)
            found.append(
                (
                    str(path.relative_to(top)),
                    status.st_mode,
                    (status.st_uid, status.st_gid),
                    int(status.st_mtime),
                    status.st_nlink if plain else 0,
                    path.read_bytes() if plain else b"",
                    os.readlink(path) if path.is_symlink() else "",
                    attributes,
                )
            )
        return found

    assert rows(expected) == rows(tmp_path / "bundle" / "rootfs")


def test_an_image_that_umoci_made_is_read(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """A config that umoci changed, with its own writer, comes in under the digest that umoci gave it."""
    write_layout(store, image_id, tmp_path / "layout", "v1")
    tool("umoci", "config", "--image", f"{tmp_path}/layout:v1", "--tag", "v2", "--config.env", "A=1")
    other = Store(tmp_path / "other", store.form)

    changed = read_layout(tmp_path / "layout", other, "v2")

    assert changed != image_id
    assert "A=1" in other.config(changed).env
    assert other.read_blob(changed) == (tmp_path / "layout" / "blobs" / "sha256" / changed.hex).read_bytes()
    remove_tree(tmp_path / "other")


def test_a_layout_holds_several_images_and_a_tag_moves(store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Images are chosen by tag; the same tag again replaces; without a tag one image alone is needed."""
    second = store.put_image(ImageConfig("amd64", diff_ids=store.config(image_id).diff_ids[:1]))
    layout = tmp_path / "layout"
    write_layout(store, image_id, layout, "a")
    write_layout(store, second, layout, "b")

    assert (image_id, second) == (read_layout(layout, store, "a"), read_layout(layout, store, "b"))
    with pytest.raises(DataError, match="2 images"):
        read_layout(layout, store)
    write_layout(store, second, layout, "a")
    assert second == read_layout(layout, store, "a") == read_layout(layout, store)
    with pytest.raises(DataError, match="'c'"):
        read_layout(layout, store, "c")


def damage_layer(layout: Path, layer: Path, config: Path) -> None:
    """Flip a byte of a layer, keeping its size."""
    data = bytearray(layer.read_bytes())
    data[600] ^= 1
    layer.write_bytes(data)


def cut_layer(layout: Path, layer: Path, config: Path) -> None:
    """Cut a layer short."""
    layer.write_bytes(layer.read_bytes()[:-1024])


def remove_layer(layout: Path, layer: Path, config: Path) -> None:
    """Remove a layer."""
    layer.unlink()


def damage_config(layout: Path, layer: Path, config: Path) -> None:
    """Change the config's settings, keeping its size."""
    config.write_bytes(config.read_bytes().replace(b"bash", b"dash"))


def remove_marker(layout: Path, layer: Path, config: Path) -> None:
    """Remove the file that says that it is a layout."""
    (layout / "oci-layout").unlink()


def empty_index(layout: Path, layer: Path, config: Path) -> None:
    """List no image."""
    (layout / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')


@pytest.mark.parametrize("damage", [damage_layer, cut_layer, remove_layer, damage_config, remove_marker, empty_index])
def test_a_damaged_layout_is_refused(damage, store: Store, image_id: Digest, tmp_path: Path) -> None:
    """Anything missing or changed in a layout is a DataError, and no image comes of it."""
    layout = tmp_path / "layout"
    write_layout(store, image_id, layout, "v1")
    blobs = layout / "blobs" / "sha256"
    damage(layout, blobs / store.config(image_id).diff_ids[0].hex, blobs / image_id.hex)
    other = Store(tmp_path / "other", store.form)

    with pytest.raises(DataError):
        read_layout(layout, other)

    assert set() == other.images()
    remove_tree(tmp_path / "other")
