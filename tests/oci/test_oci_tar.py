"""The tar that is written: read back by Python's tarfile and GNU tar, which know nothing of ours."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from oci_trees import FORMS, Node, further_names, make, trees

from repro.errors import DataError
from repro.files import remove_tree
from repro.oci import tar
from repro.oci.layer import measure, write_tar

EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def written(folder: Path, form: str) -> bytes:
    """Return the tar of a folder, and check that it is measured as it is written."""
    out = io.BytesIO()
    size = write_tar(folder, out, form=form)
    info = measure(folder, form=form)
    assert (hashlib.sha256(out.getvalue()).hexdigest(), len(out.getvalue())) == (info.diff_id.hex, info.size)
    assert len(out.getvalue()) == size
    return out.getvalue()


def expected(tree: Node, form: str, prefix: bytes = b"") -> dict[bytes, tuple[object, ...]]:
    """Return what tarfile should see of ``tree``: name to (type, mode, owner, mtime, content, attributes)."""
    seen: dict[bytes, tuple[object, ...]] = {}
    further = further_names(tree)
    if tree.opaque:
        seen[prefix + b".wh..wh..opq"] = ("file", 0o600, (0, 0), 0, b"", {})
    for name, node in sorted(tree.children.items()):
        path = prefix + name
        if node.kind == "whiteout":
            seen[prefix + b".wh." + name] = ("file", 0o600, (0, 0), 0, b"", {})
            continue
        with_owner = node.kind in {"file", "folder"} or (form == "real" and node.kind == "link")
        owner = node.owner if with_owner else (0, 0)
        if form == "real" and node.kind == "fifo":
            owner = (os.geteuid(), os.getegid())
        mode = 0o777 if node.kind == "link" else node.mode
        found = (node.kind, mode, owner, node.mtime, node.content, node.attributes)
        seen[path] = found
        for other in further[name]:
            seen[prefix + other] = found
        if node.kind == "folder":
            seen.update(expected(node, form, path + b"/"))
    return seen


def seen_by_tarfile(data: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return what tarfile sees, in the same shape; hard links as what they link to. The root entry is left out."""
    kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo"}
    seen: dict[bytes, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive.getmembers():
            name = os.fsencode(member.name)
            if name == b".":
                continue
            if member.islnk():
                seen[name] = seen[os.fsencode(member.linkname)]
                continue
            file = archive.extractfile(member) if member.isfile() else None
            content = file.read() if file else os.fsencode(member.linkname)
            attributes = {
                key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.")
            }
            owner = (member.uid, member.gid)
            seen[name] = (kinds[member.type], member.mode, owner, int(member.mtime), content, attributes)
    return seen


@EXAMPLES
@given(tree=trees)
@pytest.mark.parametrize("form", FORMS)
def test_tarfile_reads_what_the_tree_holds(form: str, tree: Node, fresh) -> None:
    """Python's tarfile sees every inode of any tree with its type, mode, owner, time, bytes and attributes."""
    folder = fresh()
    make(folder, tree, form)

    data = written(folder, form)

    assert expected(tree, form) == seen_by_tarfile(data)
    remove_tree(folder)


@EXAMPLES
@given(tree=trees)
@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_making_leaves_no_trace(form: str, tree: Node, fresh) -> None:
    """Two folders made in opposite orders give the same tar."""
    first, second = fresh(), fresh()
    make(first, tree, form)
    make(second, tree, form, backwards=True)

    assert written(first, form) == written(second, form)
    remove_tree(first)
    remove_tree(second)


def test_the_first_name_in_order_is_the_file_and_later_ones_link_to_it(tmp_path: Path, form: str) -> None:
    """Hard links point to the first name in the tar's order, whichever was made first."""
    (tmp_path / "z").write_bytes(b"1")
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "z", tmp_path / "d" / "y")
    os.link(tmp_path / "z", tmp_path / "b")

    with tarfile.open(fileobj=io.BytesIO(written(tmp_path, form))) as archive:
        members = {member.name: (member.type, member.linkname) for member in archive.getmembers()}

    assert (tarfile.REGTYPE, "") == members["b"]
    assert (tarfile.LNKTYPE, "b") == members["d/y"]
    assert (tarfile.LNKTYPE, "b") == members["z"]


def test_gnu_tar_extracts_the_same_tree(tmp_path: Path, form: str) -> None:
    """GNU tar, another reader, unpacks long and odd names, links and times as they were."""
    tree = Node(
        "folder",
        0o755,
        children={
            b"n" * 200: Node("file", 0o640, (0, 0), 5, b"long"),
            "ü".encode(): Node("file", 0o600, (0, 0), 6, b"utf-8"),
            b"\xff\xfe": Node("file", 0o600, (0, 0), 7, b"raw"),
            b"d": Node("folder", 0o750, (0, 0), 8, children={b"l": Node("link", content=b"t" * 150, mtime=9)}),
        },
    )
    folder, out = tmp_path / "in", tmp_path / "out"
    make(folder, tree, form)
    out.mkdir()

    subprocess.run(["tar", "-xf", "-", "-C", out], input=written(folder, form), check=True)

    def listed(top: Path) -> list[tuple[object, ...]]:
        rows = []
        for path in sorted(os.fsencode(p) for p in top.rglob("*")):
            status = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            rows.append((path.removeprefix(os.fsencode(top)), status.st_mode, int(status.st_mtime), size, target))
        return rows

    assert listed(folder) == listed(out)


def test_a_file_whose_name_means_a_whiteout_is_refused(tmp_path: Path, form: str) -> None:
    """A file named .wh.x cannot be in a layer: it would delete x, so it is refused by name."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / ".wh.x").write_bytes(b"")

    with pytest.raises(DataError, match=r"/etc/\.wh\.x"):
        written(tmp_path, form)


def test_sockets_are_left_out(tmp_path: Path, form: str) -> None:
    """A socket that a daemon left behind is no part of the layer."""
    os.mknod(tmp_path / "s", stat.S_IFSOCK | 0o600)
    os.chmod(tmp_path, 0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    os.utime(empty, (0, 0))

    with tarfile.open(fileobj=io.BytesIO(written(tmp_path, form))) as archive:
        assert ["empty"] == archive.getnames()


def test_an_empty_layer_is_the_empty_tar(tmp_path: Path, form: str) -> None:
    """A layer without changes is two blocks of zeros, whose digest Docker users know."""
    folder = tmp_path / "layer"
    folder.mkdir()
    folder.chmod(0o755)

    assert bytes(1024) == written(folder, form)
    assert "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef" == measure(folder, form=form).diff_id.hex


def test_trees_too_deep_are_refused_by_name(tmp_path: Path, form: str) -> None:
    """Hundreds of folders within each other end as an error that names the place, not as a crash."""
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(350):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)

    with pytest.raises(DataError, match="folders deep"):
        written(deep, form)


def test_a_wished_owner_of_form_one_never_shows_its_mark(tmp_path: Path) -> None:
    """In form one the attribute that keeps the owner becomes the owner, and is not itself in the tar."""
    (tmp_path / "f").write_bytes(b"1")
    os.setxattr(tmp_path / "f", "user.repro.owner", b"42:43")
    os.setxattr(tmp_path / "f", "user.repro.other", b"x")

    data = written(tmp_path, "one")

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert (42, 43) == (archive.getmember("f").uid, archive.getmember("f").gid)
    assert b"user.repro" not in data


def test_a_spoilt_owner_mark_is_an_error(tmp_path: Path) -> None:
    """An owner attribute that is no uid:gid is refused, not taken for 0:0."""
    (tmp_path / "f").write_bytes(b"1")
    os.setxattr(tmp_path / "f", "user.repro.owner", b"root")

    with pytest.raises(DataError, match="uid:gid"):
        written(tmp_path, "one")


@pytest.mark.skipif(os.geteuid() != 0, reason="file capabilities are root's to set")
def test_file_capabilities_are_in_the_tar(tmp_path: Path) -> None:
    """A file's capabilities go into the tar under the name that Docker and umoci use."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
    (tmp_path / "ping").write_bytes(b"1")
    os.setxattr(tmp_path / "ping", "security.capability", capability)

    assert b"SCHILY.xattr.security.capability=" + capability in written(tmp_path, "real")


def test_the_sum_of_a_header_is_exact_for_any_bytes():
    """The largest sum that a header can have is still below the modulus of the checksum that it is taken from."""
    name = b"\xff" * 100
    header = tar._header(name, b"7", 0o7777, uid=8**7 - 1, gid=8**7 - 1, size=8**11 - 1, mtime=8**11 - 1, target=name)
    assert sum(header[:148] + b" " * 8 + header[156:]) == int(header[148:154], 8)
