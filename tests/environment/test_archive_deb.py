"""Packages are read and unpacked without dpkg; damaged and hostile ones are refused by name."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile

import pytest

from repro.environment.resolvers.deb import newest_mtime, read_deb
from repro.environment.resolvers.unpack import Tree
from repro.errors import DataError, HostError
from repro.oci.inode import get_owner
from tests.environment.small_archive import MTIME, PACKERS, Item, ar, control, deb, folder, tar


@pytest.fixture
def unpack(tmp_path):
    """Unpack packages, given as their data members, and return the tree and each package's list of names."""
    root = tmp_path / "root"
    root.mkdir()

    def run(*packages):
        names = []
        with Tree(root, "one") as tree:
            for number, items in enumerate(packages):
                file = tmp_path / f"p{number}.deb"
                file.write_bytes(deb(control(f"p{number}"), *items))
                names.append(tree.unpack(read_deb(file, f"p{number}.deb")))
            tree.finish()
        return root, names

    return run


def _write(tmp_path, data):
    file = tmp_path / "x.deb"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("compression", ["xz", "gz", "zst", ""])
def test_compressions(tmp_path, compression):
    """Members compressed with xz, gzip, zstd or not at all give the same package."""
    file = _write(tmp_path, deb(control("x"), Item("./f", b"data"), compression=compression))
    read = read_deb(file, "x.deb")
    assert [("control", b"Package: x")] == [(member.name, member.data[:10]) for member in read.control]
    assert [("f", b"data")] == [(member.name, member.data) for member in read.data]
    assert newest_mtime(file, "x.deb") == MTIME


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb makes the package")
@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_package_of_dpkg_deb(tmp_path, compression):
    """A package that dpkg-deb made is read, with the epoch that it was made at."""
    (tmp_path / "t" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "t" / "DEBIAN" / "control").write_text(control("x", Maintainer="a <a@example.invalid>"))
    (tmp_path / "t" / "hello").write_text("hello")
    argv = [
        "dpkg-deb",
        "--root-owner-group",
        f"-Z{compression}",
        "--build",
        str(tmp_path / "t"),
        str(tmp_path / "x.deb"),
    ]
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1600000000"})
    assert 1_600_000_000 == newest_mtime(tmp_path / "x.deb", "x.deb")
    names = [(member.name, member.data) for member in read_deb(tmp_path / "x.deb", "x.deb").data]
    assert [("", b""), ("hello", b"hello")] == names


def test_zstd_without_the_means(tmp_path, monkeypatch):
    """A zstd member on a Python that cannot read it says what to install."""
    file = _write(tmp_path, deb(control("x"), compression="zst"))
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HostError, match=r"control\.tar\.zst of x\.deb") as caught:
        read_deb(file, "x.deb")
    assert "zstandard" in (caught.value.hint or "")


@pytest.mark.parametrize("compression", ["xz", "gz", "zst"])
def test_a_package_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, compression):
    """However it is compressed: before all of it is in memory."""
    monkeypatch.setattr("repro.environment.resolvers.deb.LIMIT", 1000)
    file = _write(tmp_path, deb(control("x"), compression=compression))
    with pytest.raises(DataError, match=rf"control\.tar\.{compression} of x\.deb") as caught:
        read_deb(file, "x.deb")
    assert "more than 1000 bytes" in (caught.value.why or "")


@pytest.mark.parametrize("compression", ["xz", "gz", "zst"])
def test_members_of_several_streams_are_read_whole(tmp_path, compression):
    """Streams may follow each other in all three formats."""
    inner = tar(Item("./control", control("x").encode()))
    pack = PACKERS[compression]
    parts = {f"control.tar.{compression}": pack(inner[:700]) + pack(inner[700:]), "data.tar": tar()}
    file = _write(tmp_path, ar(("debian-binary", b"2.0\n"), *parts.items()))
    assert ["control"] == [member.name for member in read_deb(file, "x.deb").control]


@pytest.mark.parametrize("compression", ["xz", "gz"])
@pytest.mark.parametrize("cut", [20, -5])
def test_members_that_are_cut_short_are_refused(tmp_path, compression, cut):
    """In the data or in the checksum behind it: the error names the member."""
    packed = PACKERS[compression](tar(Item("./control", control("x").encode())))
    file = _write(tmp_path, ar(("debian-binary", b"2.0\n"), (f"control.tar.{compression}", packed[:cut])))
    with pytest.raises(DataError, match=rf"control\.tar\.{compression} of x\.deb"):
        read_deb(file, "x.deb")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an ar archive",
        ar(("first", b"")),
        ar(("debian-binary", b"2.0\n")),
        deb(control("x"))[:-40],
        deb(control("x"))[:100],
        ar(("debian-binary", b"2.0\n"), ("control.tar.xz", b"junk"), ("data.tar.xz", b"junk")),
        ar(("debian-binary", b"2.0\n"), ("control.tar.bz9", b"junk"), ("data.tar.xz", b"junk")),
    ],
    ids=["empty", "text", "other ar", "no members", "cut", "cut early", "junk", "unknown compression"],
)
def test_damaged_package(tmp_path, data):
    """Whatever is wrong with the file, the error names it."""
    with pytest.raises(DataError, match=r"x\.deb"):
        read_deb(_write(tmp_path, data), "x.deb")


def test_merged_usr(unpack):
    """bin, sbin, lib and lib64 are links into usr; what packages put there arrives below usr."""
    root, names = unpack(
        [
            folder("./"),
            folder("./bin/"),
            Item("./bin/sh", b"#!", 0o755),
            folder("./lib/"),
            folder("./lib/x/"),
            Item("./lib/x/y"),
        ],
        [
            Item("./bin", kind=tarfile.SYMTYPE, link="usr/bin"),
            folder("./usr/"),
            folder("./usr/bin/"),
            Item("./usr/bin/env"),
        ],
    )
    assert ("usr/bin", "usr/lib64") == (os.readlink(root / "bin"), os.readlink(root / "lib64"))
    assert [b"#!", b""] == [(root / "usr/bin/sh").read_bytes(), (root / "usr/lib/x/y").read_bytes()]
    # dpkg lists what the package says, not where it ended
    assert [
        ["/.", "/bin", "/bin/sh", "/lib", "/lib/x", "/lib/x/y"],
        ["/bin", "/usr", "/usr/bin", "/usr/bin/env"],
    ] == names


def test_only_the_four_folders_are_merged(unpack):
    """lib32 and a file called binary stay where they are."""
    root, _ = unpack([folder("./lib32/"), Item("./lib32/a"), Item("./binary")])
    assert (True, True) == ((root / "lib32/a").is_file(), (root / "binary").is_file())


def test_modes_owners_and_times(unpack):
    """Set-id bits survive the owner, the first package decides a folder, times are the package's."""
    old = os.umask(0o077)
    try:
        root, _ = unpack(
            [
                folder("./", 0o755, mtime=7),
                folder("./var/", 0o2775, gid=50, mtime=1000),
                Item("./var/tool", b"x", 0o2755, gid=42, mtime=2000),
                Item("./var/none", b"", 0, uid=3, gid=4),
            ],
            [folder("./var/", 0o700, mtime=5), Item("./var/link", kind=tarfile.SYMTYPE, link="tool", mtime=3000)],
        )
    finally:
        os.umask(old)
    tool, var, link = root / "var/tool", root / "var", root / "var/link"
    assert (0o2755, 2000, (0, 42)) == (
        stat.S_IMODE(tool.stat().st_mode),
        int(tool.stat().st_mtime),
        get_owner(tool, tool.stat(), "one"),
    )
    assert (0o2775, 1000, (0, 50)) == (
        stat.S_IMODE(var.stat().st_mode),
        int(var.stat().st_mtime),
        get_owner(var, var.stat(), "one"),
    )
    assert (3000, 7) == (int(link.lstat().st_mtime), int(root.stat().st_mtime))
    none = (root / "var/none").lstat()
    assert (0, (3, 4)) == (stat.S_IMODE(none.st_mode), get_owner(root / "var/none", none, "one"))


@pytest.mark.skipif(os.getuid() != 0, reason="root alone gives files away")
def test_owners_as_root(tmp_path):
    """As root owners are real ones, and set-id bits are still there."""
    (tmp_path / "r").mkdir()
    file = _write(tmp_path, deb(control("x"), folder("./d/", 0o3777, gid=12), Item("./d/f", b"x", 0o4755, uid=11)))
    with Tree(tmp_path / "r", "real") as tree:
        tree.unpack(read_deb(file, "x.deb"))
        tree.finish()
    d, f = (tmp_path / "r/d").stat(), (tmp_path / "r/d/f").stat()
    assert (12, 0o3777, 11, 0o4755) == (d.st_gid, stat.S_IMODE(d.st_mode), f.st_uid, stat.S_IMODE(f.st_mode))


def test_hard_links(unpack):
    """A hard link is one, also across a merged folder."""
    root, _ = unpack(
        [
            folder("./bin/"),
            Item("./bin/a", b"x"),
            folder("./usr/"),
            folder("./usr/bin/"),
            Item("./usr/bin/b", kind=tarfile.LNKTYPE, link="./bin/a"),
        ]
    )
    assert (root / "usr/bin/a").stat().st_ino == (root / "usr/bin/b").stat().st_ino


def test_many_folders(unpack):
    """More folders than are kept open at once."""
    items = [folder(f"./d{number}/") for number in range(1200)]
    items += [Item(f"./d{number}/f", b"%d" % number) for number in range(1200)]
    root, _ = unpack(items)
    assert b"700" == (root / "d700/f").read_bytes()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Item("../evil")], "leads outside"),
        ([Item("/evil")], "leads outside"),
        ([Item("./a/../../evil")], "leads outside"),
        ([Item("./a", kind=tarfile.SYMTYPE, link="/tmp"), Item("./a/evil")], "not a folder"),
        ([Item("./a", kind=tarfile.SYMTYPE, link="/tmp"), folder("./a/")], "another package has put there"),
        ([Item("./a", kind=tarfile.LNKTYPE, link="../../etc/passwd")], "leads outside"),
        (
            [Item("./a", kind=tarfile.SYMTYPE, link="/etc"), Item("./b", kind=tarfile.LNKTYPE, link="./a/passwd")],
            "not a folder",
        ),
        ([Item("./a"), Item("./a")], "another package has put there"),
        ([Item("./sda", kind=tarfile.BLKTYPE)], "a device or pipe"),
        ([Item("./no/folder")], "not the folder"),
    ],
)
def test_hostile_package(unpack, tmp_path, items, message):
    """Nothing leaves the root, nothing is replaced, no device appears: each is refused by name."""
    with pytest.raises(DataError, match=message):
        unpack(items)
    assert [] == list(tmp_path.glob("evil"))


def test_file_of_two_packages(unpack):
    """The second package with a file that is there is named."""
    with pytest.raises(DataError, match=r"p1\.deb holds /f, which another package"):
        unpack([Item("./f")], [Item("./f")])
