"""Unpacking: what we wrote comes back as it was, what others wrote is understood, what is hostile is refused."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oci_trees import FORMS, Node, make, read, trees

from repro.errors import DataError, HostError, ReproError
from repro.files import remove_tree
from repro.oci.layer import Limits, apply_tar, measure, write_tar

EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", **more: object
) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member for `archive`; ``content`` among ``more`` is its data, the rest are TarInfo's fields."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    content = more.pop("content", b"")
    assert isinstance(content, bytes)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], style: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar as Python writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def unpack(data: bytes, folder: Path, form: str, limits: Limits | None = None) -> object:
    """Unpack into ``folder``, made if need be."""
    folder.mkdir(exist_ok=True)
    return apply_tar(io.BytesIO(data), folder, form=form, limits=limits or Limits())


@EXAMPLES
@given(tree=trees)
@pytest.mark.parametrize("form", FORMS)
def test_a_layer_written_and_unpacked_is_the_same_layer(form: str, tree: Node, fresh) -> None:
    """Any tree, written and unpacked, has the same inodes and the same diffID; gzipped or not."""
    first, second = fresh(), fresh()
    make(first, tree, form)
    out = io.BytesIO()
    write_tar(first, out, form=form)

    info = unpack(gzip.compress(out.getvalue(), 1), second, form)

    assert measure(first, form=form) == info
    assert measure(second, form=form) == info
    assert read(first, form) == read(second, form)
    remove_tree(first)
    remove_tree(second)


@pytest.mark.skipif(os.geteuid() != 0, reason="form real is root's")
@EXAMPLES
@given(tree=trees)
def test_a_layer_goes_from_root_to_an_ordinary_user_and_back(tree: Node, fresh) -> None:
    """A layer made as root has the same diffID unpacked for one ID; owners of links and devices aside."""
    _plain_links(tree)
    real, one = fresh(), fresh()
    make(real, tree, "real")
    out = io.BytesIO()
    write_tar(real, out, form="real")

    info = unpack(out.getvalue(), one, "one")

    assert measure(one, form="one") == info
    remove_tree(real)
    remove_tree(one)


def _plain_links(tree: Node) -> None:
    for node in tree.children.values():
        if node.kind == "link":
            node.owner = (0, 0)
        _plain_links(node)


HOSTILE = {
    "absolute name": ([entry("/etc/passwd")], "absolute"),
    "name upwards": ([entry("../evil")], "upwards"),
    "name upwards inside": ([entry("a", tarfile.DIRTYPE), entry("a/../../evil")], "upwards"),
    "through a link to outside": ([entry("d", tarfile.SYMTYPE, target="/"), entry("d/evil")], "symbolic link"),
    "through a link inside": (
        [entry("r", tarfile.DIRTYPE), entry("d", tarfile.SYMTYPE, target="r"), entry("d/x")],
        "symbolic link",
    ),
    "through a chain of links": (
        [entry("a", tarfile.SYMTYPE, target=".."), entry("b", tarfile.SYMTYPE, target="a"), entry("b/c/d")],
        "symbolic link",
    ),
    "below a file": ([entry("f"), entry("f/x")], "no folder"),
    "hard link to outside": ([entry("l", tarfile.LNKTYPE, target="/etc/passwd")], "absolute"),
    "hard link upwards": ([entry("l", tarfile.LNKTYPE, target="../../etc/passwd")], "upwards"),
    "hard link to nothing": ([entry("l", tarfile.LNKTYPE, target="missing")], "no regular file"),
    "hard link to a link": (
        [entry("s", tarfile.SYMTYPE, target="/etc/passwd"), entry("l", tarfile.LNKTYPE, target="s")],
        "no regular file",
    ),
    "hard link through a link": (
        [entry("s", tarfile.SYMTYPE, target="/etc"), entry("l", tarfile.LNKTYPE, target="s/passwd")],
        "no regular file",
    ),
    "hard link to a folder": (
        [entry("d", tarfile.DIRTYPE), entry("l", tarfile.LNKTYPE, target="d")],
        "no regular file",
    ),
    "a file twice": ([entry("f"), entry("f")], "second entry"),
    "a link replaced by a file": ([entry("f", tarfile.SYMTYPE, target="/etc/x"), entry("f")], "second entry"),
    "a folder replaced by a link": (
        [entry("d", tarfile.DIRTYPE), entry("d", tarfile.SYMTYPE, target="/")],
        "second entry",
    ),
    "a file replaced by a folder": ([entry("f"), entry("f", tarfile.DIRTYPE)], "second entry"),
    "a device that is a whiteout": ([entry("w", tarfile.CHRTYPE, devmajor=0, devminor=0)], "whiteout"),
    "a whiteout of nothing": ([entry("d/.wh.")], "whiteout of nothing"),
    "a whiteout of the folder above": ([entry("d/.wh...")], "whiteout of nothing"),
    "an entry below a whiteout": ([entry(".wh.d/x")], "below a whiteout"),
    "a sparse file": ([entry("s", pax_headers={"GNU.sparse.major": "1"})], "sparse"),
    "an unknown type": ([entry("v", b"V")], "unknown type"),
    "the root as a link": ([entry("./", tarfile.SYMTYPE, target="/")], "root of a layer"),
    "a name of 300 bytes": ([entry("n" * 300)], "longer than"),
    "301 folders deep": ([entry("d/" * 301 + "f")], "folders deep"),
    "a spoilt time": ([entry("f", pax_headers={"mtime": "nan"})], "not a time"),
    "a spoilt owner": ([entry("f", pax_headers={"uid": "-1"})], "not a number"),
    "a zero byte in a link": ([entry("l", tarfile.SYMTYPE, target="x", pax_headers={"linkpath": "a\0b"})], "zero byte"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tars_are_refused_and_reach_nothing(case: str, tmp_path: Path, form: str) -> None:
    """Each trick is a DataError that names the entry, and nothing appears outside the folder."""
    members, message = HOSTILE[case]
    folder = tmp_path / "in" / "layer"
    folder.parent.mkdir()

    with pytest.raises(DataError, match=message) as caught:
        unpack(archive(*members), folder, form)

    last = os.path.basename(members[-1][0].name.rstrip("/")) or "./"
    assert last[:20] in str(caught.value)
    assert ["in"] == os.listdir(tmp_path)
    assert ["layer"] == os.listdir(tmp_path / "in")
    remove_tree(tmp_path / "in")


GOOD = archive(entry("d", tarfile.DIRTYPE, mode=0o755), entry("d/f", content=b"x" * 700, mode=0o644))
BROKEN = {
    "nothing": b"",
    "cut in a header": GOOD[:700],
    "cut in the data": GOOD[:1700],
    "cut before the end": GOOD[:2048],
    "a flipped bit": GOOD[:3] + b"!" + GOOD[4:],
    "something behind the end": GOOD + b"x",
    "no tar": b"#!/bin/sh\n" * 200,
    "a cut gzip": gzip.compress(GOOD)[:-20],
    "a spoilt gzip": gzip.compress(GOOD)[:30] + b"\0\0\0\0" + gzip.compress(GOOD)[34:],
    "something behind a gzip": gzip.compress(GOOD) + b"x",
    "zstd": b"\x28\xb5\x2f\xfd" + b"x" * 600,
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_streams_are_refused(case: str, tmp_path: Path, form: str) -> None:
    """A stream that is cut, spoilt, or goes on is a DataError, never half a layer taken for a whole."""
    wrong = HostError if case == "zstd" and importlib.util.find_spec("zstandard") is None else DataError
    with pytest.raises(wrong):
        unpack(BROKEN[case], tmp_path / "layer", form)


@EXAMPLES
@given(data=st.data())
def test_no_bytes_crash_the_reader(data: st.DataObject, fresh) -> None:
    """Any damage to a good tar is either harmless or an error of ours."""
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 2600))] = data.draw(st.integers(0, 255))
    folder = fresh()
    with contextlib.suppress(ReproError):
        apply_tar(io.BytesIO(bytes(damaged)), folder, form="one")
    remove_tree(folder)


@pytest.mark.parametrize("limits", [Limits(entries=2), Limits(size=2000), Limits(names=2)])
def test_more_than_the_limits_is_refused(limits: Limits, tmp_path: Path, form: str) -> None:
    """A layer with too many entries or bytes stops before it fills the disk."""
    data = archive(*(entry(name, content=b"12345") for name in "abc"))

    with pytest.raises(DataError, match="more than"):
        unpack(data, tmp_path / "layer", form, limits)


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_formats_of_other_writers_are_read(style: int, tmp_path: Path, form: str) -> None:
    """Long names and targets in ustar, GNU and pax come out the same; parents that are only implied are made."""
    long = "/".join(["folder" * 8] * 4) + "/file"
    members = [entry(long, content=b"1", mode=0o640, uid=0, gid=0, mtime=77)]
    if style != tarfile.USTAR_FORMAT:
        members.append(entry("l", tarfile.SYMTYPE, target="t" * 200, uid=0, gid=0))
        members.append(entry("big", content=b"2", mtime=2**34 if style == tarfile.GNU_FORMAT else 3))

    folder = tmp_path / "layer"
    unpack(archive(*members, style=style), folder, form)

    status = os.lstat(folder / long)
    assert (0o100640, 77) == (status.st_mode, int(status.st_mtime))
    assert 0o40755 == os.lstat(folder / ("folder" * 8)).st_mode
    if style != tarfile.USTAR_FORMAT:
        assert "t" * 200 == os.readlink(folder / "l")


@pytest.mark.parametrize("style", ["gnu", "pax", "ustar", "v7"])
def test_tars_of_gnu_tar_are_read(style: str, tmp_path: Path, form: str) -> None:
    """What GNU tar writes in each of its formats unpacks to the same names, modes and bytes."""
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_bytes(b"hello")
    os.link(source / "d" / "f", source / "d" / "g")
    (source / "s").symlink_to("d/f")
    os.chmod(source / "d", 0o2750)
    data = subprocess.run(["tar", f"--format={style}", "-C", source, "-cf", "-", "."], check=True, capture_output=True)

    folder = tmp_path / "layer"
    unpack(data.stdout, folder, form)

    assert b"hello" == (folder / "s").read_bytes()
    assert 0o42750 == os.lstat(folder / "d").st_mode
    assert os.lstat(folder / "d" / "f").st_ino == os.lstat(folder / "d" / "g").st_ino


def test_whiteouts_become_what_overlay_understands(tmp_path: Path, form: str) -> None:
    """A whiteout is a device 0:0, an opaque mark an attribute; deleted and made again is an opaque folder."""
    folder = tmp_path / "layer"
    data = archive(
        entry("gone/", tarfile.DIRTYPE, mode=0o755),
        entry("gone/.wh.file"),
        entry("full/.wh..wh..opq"),
        entry(".wh.again"),
        entry("again/", tarfile.DIRTYPE, mode=0o711),
        entry("again/new"),
        entry(".wh.replaced"),
        entry("replaced", content=b"n"),
        entry("late/x"),
        entry(".wh.late"),
        entry(".wh..wh.plnk/1.2"),
    )

    unpack(data, folder, form)

    status = os.lstat(folder / "gone" / "file")
    assert (True, 0) == (stat.S_ISCHR(status.st_mode), status.st_rdev)
    opaque = [name for name in sorted(os.listdir(folder)) if "user.overlay.opaque" in os.listxattr(folder / name)]
    assert ["again", "full", "late"] == opaque
    assert b"n" == (folder / "replaced").read_bytes()
    assert ["again", "full", "gone", "late", "replaced"] == sorted(os.listdir(folder))


def test_overlays_and_our_own_attributes_do_not_come_in(tmp_path: Path, form: str) -> None:
    """A tar cannot set the marks by which overlay redirects names or by which we keep owners."""
    headers = {
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.user.repro.owner": "1:1",
        "SCHILY.xattr.user.fine": "1",
    }
    folder = tmp_path / "layer"

    unpack(archive(entry("d", tarfile.DIRTYPE, pax_headers=headers)), folder, form)

    assert ["user.fine"] == os.listxattr(folder / "d")


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, form: str) -> None:
    """A sticky, world-writable /tmp stays one, whatever the caller's umask."""
    folder = tmp_path / "layer"
    old = os.umask(0o077)
    try:
        unpack(archive(entry("tmp", tarfile.DIRTYPE, mode=0o1777), entry("f", mode=0o666)), folder, form)
    finally:
        os.umask(old)

    assert 0o41777 == os.lstat(folder / "tmp").st_mode
    assert 0o100666 == os.lstat(folder / "f").st_mode


def test_devices_are_roots_to_make(tmp_path: Path) -> None:
    """With one ID a device node is left out, and everything else of the layer is there."""
    folder = tmp_path / "layer"

    unpack(archive(entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3), entry("f")), folder, "one")

    assert ["f"] == os.listdir(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and gives files away")
def test_root_makes_devices_and_keeps_set_id_bits(tmp_path: Path) -> None:
    """In form real a device has its numbers, and a set-id file of another owner keeps the bits."""
    folder = tmp_path / "layer"
    data = archive(
        entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("su", content=b"1", mode=0o6755, uid=7, gid=8),
    )

    unpack(data, folder, "real")

    assert os.makedev(1, 3) == os.lstat(folder / "null").st_rdev
    status = os.lstat(folder / "su")
    assert (0o106755, 7, 8) == (status.st_mode, status.st_uid, status.st_gid)
