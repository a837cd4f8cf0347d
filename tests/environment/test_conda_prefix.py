"""Linking a prefix outside of its image: the same each time, for /opt/conda, and safe with hostile packages."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.data.cache import Downloads
from repro.environment.model import CondaPackage
from repro.environment.resolvers.conda_prefix import _in_binary, conda_prefix
from repro.errors import CorruptError, DataError
from tests.environment.conda_channel import PLACEHOLDER, File, Made

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = Made("python", "3.12.4", files=(File("bin/python3.12", b"\x7fELF", 0o755),))
LINK = b'{"noarch": {"type": "python", "entry_points": ["tool = tool.main:App.run"]}, "package_metadata_version": 1}'


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache")


def add(downloads: Downloads, made: Made) -> CondaPackage:
    """Put a package into the cache and return its lock entry."""
    data = made.data()
    name = made.name.lower()
    return CondaPackage(
        name, made.version, made.build, "lab", made.subdir, made.file, downloads.add_bytes(data), len(data)
    )


def link(tmp_path: Path, downloads: Downloads, *packages: Made, name: str = "conda") -> Path:
    """Link packages and return the prefix."""
    conda_prefix([add(downloads, made) for made in packages], downloads, tmp_path / name)
    return tmp_path / name / "prefix"


def picture(folder: Path) -> list[tuple[str, int, int, bytes | str]]:
    """Return every path below ``folder`` with its mode, time and content."""
    found = []
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found.append((str(path.relative_to(folder)), status.st_mode, status.st_mtime_ns, content))
    return found


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_files_and_links_are_installed(tmp_path, downloads, form):
    """Modes are 0755 or 0644 whatever the package says, hard links are files, what paths.json omits stays out."""
    made = Made(
        "a",
        files=(
            File("bin/a", b"#!/bin/sh\n", 0o4750),
            File("share/a", b"data", 0o600),
            File("share/b", link="a"),
            File("bin/c", link="bin/a", hard=True),
            File("unlisted", b"x", listed=False),
        ),
        form=form,
    )
    prefix = link(tmp_path, downloads, made)
    modes = {name: (stat.S_IMODE(mode), content) for name, mode, _, content in picture(prefix)}
    assert (0o755, b"#!/bin/sh\n") == modes["bin/a"] == modes["bin/c"]
    assert (0o644, b"data") == modes["share/a"]
    assert "a" == modes["share/b"][1]
    assert not (prefix / "unlisted").exists()
    assert 1 == (prefix / "bin/a").stat().st_nlink


def test_equal_packages_give_an_equal_folder(tmp_path, downloads):
    """Order, umask and place do not show in names, modes, times or bytes; no path of this machine is in any file."""
    packages = [
        Made("a", files=(File("x/a", b"a"),)),
        Made("b", depends=("a",), files=(File("x/b", link="a"),)),
        PYTHON,
    ]
    link(tmp_path, downloads, *packages)
    old = os.umask(0o077)
    try:
        link(tmp_path, Downloads(tmp_path / "elsewhere"), *reversed(packages), name="again")
    finally:
        os.umask(old)
    first = picture(tmp_path / "conda")
    assert first == picture(tmp_path / "again")
    assert {0} == {time for _, _, time, _ in first}
    assert not [name for name, _, _, content in first if str(tmp_path) in str(content)]
    assert ["finish.sh", "prefix"] == sorted(path.name for path in (tmp_path / "conda").iterdir())


def test_the_builds_prefix_is_replaced(tmp_path, downloads):
    """In text wherever it stands; in binaries in each C string, padded so that what follows keeps its offset."""
    old = PLACEHOLDER.encode()
    binary = b"\x7fELF" + old + b"/lib:" + old + b"/lib64\0" + b"next\0" + old + b"/end"
    made = Made(
        "a",
        files=(
            File("bin/a", b"#!" + old + b"/bin/python\n# " + old + b"\n", 0o755, placeholder="text"),
            File("bin/b", binary, 0o755, placeholder="binary"),
        ),
    )
    prefix = link(tmp_path, downloads, made)
    assert b"#!/opt/conda/bin/python\n# /opt/conda\n" == (prefix / "bin/a").read_bytes()
    found = (prefix / "bin/b").read_bytes()
    assert len(binary) == len(found)
    assert binary.index(b"next\0") == found.index(b"next\0")
    assert [b"\x7fELF/opt/conda/lib:/opt/conda/lib64", b"next", b"/opt/conda/end"] == [
        part for part in found.split(b"\0") if part
    ]


def test_a_package_from_before_paths_json_is_installed(tmp_path, downloads):
    """info/files and info/has_prefix say the same."""
    files = (
        File("bin/a", b"#!/opt/anaconda1anaconda2anaconda3/bin/x\n", 0o755),
        File("lib/b", b"\0/old-prefix-of-it/\0"),
    )
    info = {
        "files": b"bin/a\nlib/b\n",
        "has_prefix": b"bin/a\n/old-prefix-of-it binary lib/b\n",
        "paths.json": b"",
    }
    made = Made("a", files=files, form=".tar.bz2", info=info, omit=("paths.json",))
    prefix = link(tmp_path, downloads, made)
    assert b"#!/opt/conda/bin/x\n" == (prefix / "bin/a").read_bytes()
    assert b"\0/opt/conda/" == (prefix / "lib/b").read_bytes().rstrip(b"\0")


def test_a_noarch_package_goes_where_python_looks(tmp_path, downloads):
    """Modules, scripts and entry points; byte-code is left to the image's Python."""
    made = Made(
        "tool",
        depends=("python",),
        subdir="noarch",
        index={"noarch": "python"},
        files=(File("site-packages/tool/main.py", b"x"), File("python-scripts/old", b"y", 0o755)),
        info={"link.json": LINK},
    )
    prefix = link(tmp_path, downloads, made, PYTHON)
    assert b"x" == (prefix / "lib/python3.12/site-packages/tool/main.py").read_bytes()
    assert b"y" == (prefix / "bin/old").read_bytes()
    program = (prefix / "bin/tool").read_text()
    assert program.startswith("#!/opt/conda/bin/python3.12\n")
    assert "from tool.main import App\n" in program
    assert "sys.exit(App.run())" in program
    assert 0o755 == stat.S_IMODE((prefix / "bin/tool").stat().st_mode)
    script = (tmp_path / "conda/finish.sh").read_text()
    assert '"$PREFIX/bin/python3.12" -m compileall' in script
    with pytest.raises(DataError, match=r"tool-1\.0-h0_0\.conda is a package of Python"):
        link(tmp_path, downloads, made, name="without")


def test_conda_meta_tells_conda_what_is_installed(tmp_path, downloads):
    """Name, version, build, channel and files, as the lock has them; no URL, no cache."""
    prefix = link(tmp_path, downloads, Made("a", depends=("b",), files=(File("share/a", b"x"),)), Made("b"))
    record = json.loads((prefix / "conda-meta/a-1.0-h0_0.json").read_text())
    assert ("a", "1.0", "h0_0", "lab", "linux-64", ["b"], ["share/a"]) == tuple(
        record[key] for key in ("name", "version", "build", "channel", "subdir", "depends", "files")
    )
    assert not {"url", "link", "extracted_package_dir"} & record.keys()
    assert b"" == (prefix / "conda-meta/history").read_bytes()


def test_byte_code_that_is_brought_stays_fresh(tmp_path, downloads):
    """Its source's time becomes 0 with the file's; byte-code that is checked by a hash is left alone."""
    timed = b"\xcb\x0d\r\n" + struct.pack("<III", 0, 1_600_000_000, 7) + b"code"
    hashed = b"\xcb\x0d\r\n" + struct.pack("<IQ", 1, 99) + b"code"
    prefix = link(
        tmp_path, downloads, Made("a", files=(File("t.pyc", timed), File("h.pyc", hashed), File("s.pyc", b"")))
    )
    assert b"\xcb\x0d\r\n" + struct.pack("<III", 0, 0, 7) + b"code" == (prefix / "t.pyc").read_bytes()
    assert hashed == (prefix / "h.pyc").read_bytes()


def test_post_link_scripts_run_in_order_of_dependencies(tmp_path, downloads):
    """The one that others need comes first, and packages in a circle come all the same."""
    script = {name: File(f"bin/.{name}-post-link.sh", b"true\n", 0o755) for name in ("a", "b", "z")}
    packages = [
        Made("a", depends=("z >=1",), files=(script["a"],)),
        Made("b", "2'0", depends=("c",), files=(script["b"],)),
        Made("c", depends=("b",)),
        Made("z", files=(script["z"], File("etc/conda/activate.d/z.sh", b""))),
    ]
    link(tmp_path, downloads, *packages)
    text = (tmp_path / "conda/finish.sh").read_text()
    calls = [line for line in text.splitlines() if line.startswith("post_link ")]
    assert ["post_link z 1.0 0", "post_link a 1.0 0", """post_link b '2'"'"'0' 0"""] == calls
    assert "$CONDA_PREFIX/etc/conda/activate.d/z.sh" in text
    link(tmp_path, downloads, Made("c"), name="plain")
    assert "post_link" not in (tmp_path / "plain/finish.sh").read_text()


def test_of_two_packages_files_the_dependents_stays(tmp_path, downloads):
    """As conda does it; a file and a folder of one name cannot be helped."""
    one = Made("one", depends=("two",), files=(File("share/x", b"one"), File("share/y", link="x")))
    two = Made("two", files=(File("share/x", link="nowhere"), File("share/y", b"two")))
    prefix = link(tmp_path, downloads, two, one)
    assert b"one" == (prefix / "share/x").read_bytes()
    assert "x" == os.readlink(prefix / "share/y")
    three = Made("three", files=(File("share/x/deep", b""),))
    with pytest.raises(DataError, match="cannot be installed"):
        link(tmp_path, downloads, two, one, three, name="other")


def test_a_link_to_a_folder_of_the_prefix_is_followed_inside(tmp_path, downloads):
    """Packages do put files below each other's links, as lib64 to lib."""
    one = Made("one", files=(File("lib/a", b"a"), File("usr/lib64", link="../lib")))
    two = Made("two", depends=("one",), files=(File("usr/lib64/b", b"b"),))
    prefix = link(tmp_path, downloads, one, two)
    assert b"b" == (prefix / "lib/b").read_bytes()


HOSTILE = {
    "a path with ..": (File("../../escaped", b"x"),),
    "a path with .. inside": (File("lib/../../../escaped", b"x"),),
    "an absolute path": (File("/tmp/h/escaped", b"x"),),
    "a file below a link out of the prefix": (File("lib", link="../../.."), File("lib/escaped", b"x")),
    "a file below an absolute link": (File("lib", link="/tmp"), File("lib/escaped", b"x")),
    "a file below links in a circle": (File("a", link="b"), File("b", link="a"), File("b/escaped", b"x")),
    "a hard link to a file outside": (File("passwd", link="/etc/passwd", hard=True),),
    "a hard link upwards": (File("escaped", link="../../etc/passwd", hard=True),),
}


@pytest.mark.parametrize("files", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_a_hostile_package_writes_nothing_outside(tmp_path, downloads, files, form):
    """It is refused by name; beside the context there is nothing new."""
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError) as caught:
        link(tmp_path, downloads, Made("evil", files=files, form=form), name="a/b/conda")
    assert "evil-1.0-h0_0" in str(caught.value)
    assert sorted({*before, "a", "cache"}) == sorted(os.listdir(tmp_path))
    assert not list(tmp_path.rglob("escaped"))


def test_links_of_one_package_do_not_lead_another_out(tmp_path, downloads):
    """Neither does a link that replaces a folder's place later."""
    outside = tmp_path / "outside"
    outside.mkdir()
    lure = Made("lure", files=(File("lib", link=str(outside)),))
    victim = Made("victim", depends=("lure",), files=(File("lib/file", b"x"),))
    with pytest.raises(DataError, match=r"victim-1\.0-h0_0\.conda cannot be installed"):
        link(tmp_path, downloads, lure, victim)
    with pytest.raises(DataError, match=r"lure-1\.0-h0_0\.conda cannot be installed"):
        link(
            tmp_path,
            downloads,
            Made("lure", depends=("victim",), files=lure.files),
            Made("victim", files=victim.files),
            name="2",
        )
    assert [] == list(outside.iterdir())


def test_what_describes_a_package_is_not_trusted(tmp_path, downloads):
    """Paths that are not in it, entry points that are code, another name than the lock's, no description at all."""
    python = {"depends": ("python",), "subdir": "noarch", "index": {"noarch": "python"}}
    points = b'{"noarch": {"type": "python", "entry_points": ["../../evil = a:b"]}}'
    code = b'{"noarch": {"type": "python", "entry_points": ["evil = a:b;import os"]}}'
    wrong = [
        Made("evil", info={"paths.json": b'{"paths": [{"_path": "bin/none", "path_type": "hardlink"}]}'}),
        Made("evil", info={"paths.json": b'{"paths": [{"_path": "../../escaped", "path_type": "directory"}]}'}),
        Made("evil", info={"paths.json": b"{"}),
        Made("evil", info={"link.json": points}, **python),
        Made("evil", info={"link.json": code}, **python),
        Made("evil", index={"name": "good"}),
        Made("evil", omit=("index.json",)),
        Made("evil", index={"depends": "\ud800"}),
        Made("evil", files=(File("bin/" + "long" * 64, b"x"),)),
        Made("evil", info={"paths.json": b"[" * 100_000}),
        Made("evil", index={"name": "../../evil"}),
    ]
    for number, made in enumerate(wrong):
        with pytest.raises(DataError) as caught:
            link(tmp_path, downloads, made, PYTHON, name=str(number))
        assert "evil-1.0-h0_0.conda" in str(caught.value), number


def test_members_of_one_name_do_not_share_bytes(tmp_path, downloads):
    """The later member of a tar counts, and a hard link keeps what it was made of."""
    files = (File("a", b"1"), File("a", b"2"), File("b", link="a", hard=True), File("c", b"3"), File("a", b"4"))
    prefix = link(tmp_path, downloads, Made("a", files=files, index={"depends": [1, "", "lab::b >=1"]}))
    assert [b"4", b"2", b"3"] == [(prefix / name).read_bytes() for name in "abc"]


def test_a_part_that_is_packed_twice_is_refused(tmp_path, downloads):
    """conda's form says that the parts are stored: a bomb inside a bomb would swell unseen."""
    plain, packed = io.BytesIO(Made("a").data()), io.BytesIO()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    data = packed.getvalue()
    entry = CondaPackage("a", "1.0", "h0_0", "lab", "linux-64", "a.conda", downloads.add_bytes(data), len(data))
    with pytest.raises(DataError, match="compressed a second time"):
        conda_prefix([entry], downloads, tmp_path / "conda")


@given(
    parts=st.lists(
        st.sampled_from([b"\0", b"x", PLACEHOLDER.encode(), b"/lib", PLACEHOLDER.encode()[:-1], b"\n"]), max_size=12
    )
)
def test_binary_replacement_keeps_every_offset(parts):
    """Same length, and every C string is the old one with the prefix replaced."""
    old = b"".join(parts)
    new = _in_binary(old, PLACEHOLDER.encode())
    assert len(old) == len(new)
    begin = 0
    for text in old.split(b"\0"):
        changed = text.replace(PLACEHOLDER.encode(), b"/opt/conda")
        assert changed.ljust(len(text), b"\0") == new[begin : begin + len(text)]
        begin += len(text) + 1


def test_a_package_of_other_bytes_is_refused_and_named(tmp_path, downloads):
    """One byte changed in the cache, or a download that is gone."""
    entry = add(downloads, Made("a", files=(File("bin/a", b"x" * 100),)))
    path = downloads.path(entry.digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    for name in ("altered", "gone"):
        with pytest.raises(CorruptError, match=r"a-1\.0-h0_0\.conda is not among the downloads"):
            conda_prefix([entry], downloads, tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", b"x" * 1000])
@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_what_is_no_package_is_said(tmp_path, downloads, data, form):
    """No traceback for bytes that are anything."""
    entry = CondaPackage("a", "1", "0", "lab", "noarch", f"a-1-0{form}", downloads.add_bytes(data), len(data))
    with pytest.raises(DataError, match="a-1-0"):
        conda_prefix([entry], downloads, tmp_path / "conda")
