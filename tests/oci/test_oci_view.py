"""The merged view: what the kernel's own overlay shows of the same layers, and links that stay inside."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oci_trees import Node, make

from repro.errors import DataError
from repro.files import remove_tree
from repro.oci.view import View

_name = st.sampled_from([b"a", b"b", b"c"])
_leaf = st.one_of(
    st.builds(Node, kind=st.just("file"), content=st.binary(max_size=3), mode=st.sampled_from([0o644, 0])),
    st.builds(Node, kind=st.just("whiteout")),
    st.builds(Node, kind=st.just("link"), content=st.sampled_from([b"a", b"/b", b"../c", b"/a/b", b"b/../..", b"."])),
)


def _folder(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        kind=st.just("folder"),
        mode=st.sampled_from([0o755, 0o700]),
        opaque=st.booleans(),
        children=st.dictionaries(_name, children, max_size=3),
    )


_layers = st.lists(_folder(st.recursive(_leaf, _folder, max_leaves=10)), min_size=2, max_size=4)


def merged(view: View, path: str = "/") -> dict[str, tuple[str, object]]:
    """Return everything that the view shows."""
    shown: dict[str, tuple[str, object]] = {}
    for name in view.listdir(path):
        child = f"{path.rstrip('/')}/{name}"
        entry = view.entry(child)
        assert entry is not None
        assert child == entry.path
        if entry.kind == "folder":
            shown[child] = ("folder", stat.S_IMODE(entry.stat.st_mode))
            shown.update(merged(view, child))
        else:
            shown[child] = (entry.kind, entry.target if entry.kind == "link" else view.read(child))
    return shown


def on_disk(top: Path) -> dict[str, tuple[str, object]]:
    """Return the same of a mounted folder."""
    shown: dict[str, tuple[str, object]] = {}
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = Path(folder) / name
            if not os.path.lexists(path):
                continue  # overlay lists a whiteout that hides nothing, though it cannot be looked up
            key = f"/{path.relative_to(top)}"
            if path.is_symlink():
                shown[key] = ("link", os.readlink(path))
            elif path.is_dir():
                shown[key] = ("folder", stat.S_IMODE(path.stat().st_mode))
            else:
                shown[key] = ("file", path.read_bytes())
    return shown


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay on the host is root's")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers=_layers)
def test_the_view_is_what_overlay_shows(layers: list[Node], fresh) -> None:
    """For any stack of layers the view lists, types and reads what the kernel's overlay mount does.

    overlay is given what is above an opaque root, as `Store.layer_stack` does (test_oci_opaque).
    """
    top = fresh()
    for number, layer in enumerate(layers):
        make(top / str(number), layer, "real")
    mounted, empty = top / "m", top / "empty"  # overlay wants two folders at least
    mounted.mkdir()
    empty.mkdir()
    lowest = max((number for number, layer in enumerate(layers) if layer.opaque), default=0)
    lowers = ":".join([*(str(top / str(number)) for number in reversed(range(lowest, len(layers)))), str(empty)])
    mount = ["mount", "-t", "overlay", "overlay", "-o", f"ro,userxattr,lowerdir={lowers}", str(mounted)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        expected = on_disk(mounted)
    finally:
        subprocess.run(["umount", str(mounted)], check=True)

    assert expected == merged(View([top / str(number) for number in range(len(layers))], "real"))
    remove_tree(top)


@pytest.fixture
def view(tmp_path: Path, form: str) -> View:
    """Two layers with links of every kind."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "usr" / "bin").mkdir(parents=True)
    (lower / "usr" / "bin" / "bash").write_bytes(b"#!")
    (lower / "bin").symlink_to("usr/bin")
    (lower / "etc").mkdir()
    (lower / "etc" / "passwd").write_bytes(b"root")
    (lower / "etc" / "out").symlink_to("../../../../etc/passwd")
    (lower / "etc" / "abs").symlink_to("/bin/bash")
    (lower / "loop").symlink_to("pool")
    (lower / "pool").symlink_to("loop")
    (upper / "usr" / "bin").mkdir(parents=True)
    (upper / "usr" / "bin" / "tool").write_bytes(b"t")
    (upper / "here").symlink_to("usr")
    return View([lower, upper], form)


def test_links_are_resolved_within_the_image(view: View) -> None:
    """Absolute and climbing links lead to the image's own files, never to the host's."""
    assert "/usr/bin/bash" == view.resolve("/bin/bash") == view.resolve("etc/abs")
    assert "/etc/passwd" == view.resolve("/etc/out")
    assert b"root" == view.read("/etc/out")
    assert "/usr/bin/new/file" == view.resolve("/here/bin/new/file")
    assert "/" == view.resolve("/../..") == view.resolve("")
    assert ["bash", "tool"] == view.listdir("/bin")


def test_an_entry_is_the_link_itself(view: View) -> None:
    """entry() resolves the parents of a path and not its last component."""
    link = view.entry("/bin")
    below = view.entry("/bin/bash")

    assert link is not None
    assert below is not None
    assert ("link", "usr/bin") == (link.kind, link.target)
    assert ("file", "/usr/bin/bash", b"#!") == (below.kind, below.path, below.host.read_bytes())
    assert view.entry("/bin/zsh") is None
    assert view.entry("/etc/passwd/x") is None
    root = view.entry("/")
    assert root is not None
    assert ("folder", "/") == (root.kind, root.path)


def test_a_loop_of_links_is_an_error(view: View) -> None:
    """Links that lead to each other end as an error that names the path."""
    with pytest.raises(DataError, match="/loop"):
        view.resolve("/loop/x")


def test_reading_what_is_no_file_is_an_error(view: View) -> None:
    """A folder, or nothing, cannot be read; nor can a file be listed."""
    with pytest.raises(DataError, match="is a folder"):
        view.read("/etc")
    with pytest.raises(DataError, match="not there"):
        view.read("/none")
    with pytest.raises(DataError, match="no folder"):
        view.listdir("/etc/passwd")


def test_an_image_without_layers_is_empty(form: str) -> None:
    """FROM scratch shows an empty root."""
    assert ([], None) == (View([], form).listdir("/"), View([], form).entry("/x"))


def test_wished_owners_are_told(tmp_path: Path) -> None:
    """In form one an entry's owner is the one that was wished for, whoever owns the inode."""
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "g").write_bytes(b"")
    os.setxattr(tmp_path / "f", "user.repro.owner", b"101:102")
    os.chmod(tmp_path / "f", 0)

    view = View([tmp_path], "one")
    f, g = view.entry("f"), view.entry("g")

    assert f is not None
    assert g is not None
    assert ((101, 102), (0, 0)) == ((f.uid, f.gid), (g.uid, g.gid))
    assert 0 == stat.S_IMODE(os.stat(tmp_path / "f").st_mode)


def test_what_modes_hide_from_its_owner_is_shown(tmp_path: Path, form: str) -> None:
    """A layer's closed folders and files are its owner's to read; their modes are as before afterwards."""
    closed = tmp_path / "closed" / "inner"
    closed.mkdir(parents=True)
    (closed / "f").write_bytes(b"secret")
    os.chmod(closed / "f", 0)
    os.chmod(closed, 0o111)
    os.chmod(closed.parent, 0)
    view = View([tmp_path], form)

    assert b"secret" == view.read("/closed/inner/f")
    assert ["f"] == view.listdir("/closed/inner")
    assert 0o40000 == os.lstat(closed.parent).st_mode
    remove_tree(closed.parent)
