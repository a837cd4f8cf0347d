"""A layer whose root is opaque hides all below it: for the kernel's overlay, our readers, and umoci alike."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from test_oci_archive import tool

from repro.files import remove_tree
from repro.oci import flatten
from repro.oci.archive import write_layout
from repro.oci.inode import down_to_opaque
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from repro.oci.view import View

if TYPE_CHECKING:
    from pathlib import Path

    from repro.digest import Digest

OPAQUE = ".wh..wh..opq"


def add(store: Store, *names: str, mode: int = 0o755) -> Digest:
    """Add a layer from outside, whose tar begins with its root and holds these empty files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        root = tarfile.TarInfo("./")
        root.type, root.mode = tarfile.DIRTYPE, mode
        archive.addfile(root)
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with store.workspace() as work:
        (work / "tar").write_bytes(tar.getvalue())
        return store.add_layer(work / "tar").diff_id


@pytest.fixture
def stack(store: Store) -> list[Digest]:
    """Three layers; the root of the middle one is opaque."""
    return [add(store, "hidden", "usr/hidden"), add(store, OPAQUE, "kept", "usr/kept"), add(store, "top")]


def names(top: Path) -> list[str]:
    """Return all names below a folder."""
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


EXPECTED = ["kept", "top", "usr", "usr/kept"]


def test_our_readers_show_nothing_of_what_is_below(store: Store, stack: list[Digest]) -> None:
    """Neither a view nor a merge, whether they are given the whole stack or what the store makes of it."""
    every = [store.layer_path(diff_id) for diff_id in stack]
    for layers in (every, store.layer_stack(stack)):
        view = View(layers, store.form)
        assert (["kept", "top", "usr"], ["kept"]) == (view.listdir("/"), view.listdir("/usr"))
        assert view.entry("/hidden") is None
        assert EXPECTED == [found.path.decode() for found in flatten.merged(layers) if not found.leaving]
    assert tuple(every[1:]) == store.layer_stack(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay on the host is root's")
def test_the_kernel_is_given_what_shows(store: Store, stack: list[Digest], tmp_path: Path) -> None:
    """overlay asks no layer's root for the mark: the store's stack ends where everything below is hidden."""
    mounted = tmp_path / "m"
    mounted.mkdir()
    lowers = ":".join(map(str, reversed(store.layer_stack(stack))))
    mount = ["mount", "-t", "overlay", "overlay", "-o", f"ro,userxattr,lowerdir={lowers}", str(mounted)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        assert EXPECTED == names(mounted)
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="umoci unpacks owners as root")
def test_umoci_understands_it_as_we_do(store: Store, stack: list[Digest], tmp_path: Path) -> None:
    """The same image, unpacked by another's reader of the specification, has the same names."""
    write_layout(store, store.put_image(ImageConfig("amd64", diff_ids=tuple(stack))), tmp_path / "layout", "v1")
    tool("umoci", "unpack", "--image", f"{tmp_path}/layout:v1", tmp_path / "bundle")
    assert EXPECTED == names(tmp_path / "bundle" / "rootfs")


def test_layers_below_are_not_even_unpacked(store: Store, stack: list[Digest]) -> None:
    """What nothing shows of is not asked for: a stack whose lowest layer has lost its folder works."""
    store.drop_layer(stack[0])
    assert 2 == len(store.layer_stack(stack))
    assert not store.unpacked(stack[0])


def test_a_closed_root_is_asked_as_well(store: Store) -> None:
    """A root that its owner may not read says that it is opaque, and has its mode afterwards."""
    lower, upper = add(store, "hidden"), add(store, OPAQUE, "kept", mode=0o111)
    assert 1 == len(store.layer_stack([lower, upper]))
    assert 0o111 == os.stat(store.layer_path(upper)).st_mode & 0o777
    remove_tree(store.layer_path(upper))


def test_the_search_ends_at_the_mark(tmp_path: Path) -> None:
    """No layer below an opaque one is looked at, nor need it be there."""
    os.setxattr(tmp_path, "user.overlay.opaque", b"y")
    assert [tmp_path] == down_to_opaque(iter([tmp_path, tmp_path / "gone"]))
