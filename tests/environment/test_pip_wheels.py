"""Interpreters, the choice among wheels, and the folder that pip installs from."""

from __future__ import annotations

import os
import stat
import sys

import packaging.tags
import pytest

from repro.data.cache import Downloads
from repro.digest import Digest
from repro.environment.model import Wheel
from repro.environment.resolvers.python import Interpreter
from repro.environment.resolvers.wheels import Candidate, choose, pip_folder
from repro.errors import DataError
from tests.environment.small_index import wheel

BOOKWORM = Interpreter.parse("cpython-3.11.2-manylinux_2_36-x86_64")


@pytest.mark.parametrize("text", ["cpython-3.11.2-manylinux_2_36-x86_64", "cpython-3.14.0-musllinux_1_2-aarch64"])
def test_an_interpreter_is_its_text(text):
    """Parse and print are inverses."""
    assert text == str(Interpreter.parse(text))


@pytest.mark.parametrize("text", ["", "cpython-3.11-manylinux_2_36-x86_64", "cpython-3.11.2-linux-x86_64", "a b"])
def test_what_is_no_interpreter(text):
    """The error shows what one looks like."""
    with pytest.raises(DataError, match=r"is not an interpreter\n  fix: as in cpython-"):
        Interpreter.parse(text)


def test_tags_are_those_that_packaging_finds_for_this_python():
    """The same tags in the same order as on the interpreter itself, from its description alone."""
    if sys.implementation.name != "cpython":
        pytest.skip("tags of CPython")
    libc = os.confstr("CS_GNU_LIBC_VERSION").split()[1].replace(".", "_")
    version = "{}.{}.{}".format(*sys.version_info[:3])
    here = Interpreter.parse(f"cpython-{version}-manylinux_{libc}-{os.uname().machine}")
    expected, tags = list(packaging.tags.sys_tags()), list(here.tags())
    assert set(expected) == set(tags)
    ordered = [[tag for tag in each if not tag.platform.startswith("linux_")] for each in (expected, tags)]
    assert ordered[0] == ordered[1]  # where linux_ stands, releases of packaging differ


def test_tags_for_musl():
    """Its own family, and what fits any platform."""
    tags = [str(tag) for tag in Interpreter.parse("cpython-3.12.1-musllinux_1_2-x86_64").tags()]
    own = [tag for tag in tags if tag.startswith("cp312-cp312-musl")]
    assert [f"cp312-cp312-musllinux_1_{minor}_x86_64" for minor in (2, 1, 0)] == own
    assert "py3-none-any" in tags
    assert [] == [tag for tag in tags if "manylinux" in tag]


def test_markers_are_those_of_the_image():
    """The full version too: some dependencies turn on it."""
    markers = BOOKWORM.markers()
    assert ("3.11", "3.11.2", "linux") == (
        markers["python_version"],
        markers["python_full_version"],
        markers["sys_platform"],
    )


def candidate(tail: str, digest: Digest | None = None) -> Candidate:
    """Return a wheel ``x-1-…`` of an index."""
    return Candidate(f"https://host.invalid/x-1-{tail}.whl", digest)


def test_the_best_tag_wins_then_the_highest_build():
    """In any order of the page; what is no wheel's name is passed over."""
    offers = [
        candidate("py3-none-any"),
        candidate("2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"),
        candidate("10-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"),
        candidate("cp311-cp311-manylinux_2_12_x86_64"),
        candidate("cp311-cp311-macosx_11_0_arm64"),
        Candidate("https://host.invalid/odd.whl"),
    ]
    for order in (offers, offers[::-1]):
        assert offers[2] == choose(order, BOOKWORM.tags())
    assert choose(offers[4:], BOOKWORM.tags()) is None


def test_what_was_locked_or_is_allowed_goes_before_the_best_tag():
    """Sums that a file gives rule out all others; a wheel locked before stays."""
    one, two = Digest.of(b"1"), Digest.of(b"2")
    offers = [candidate("py3-none-any", one), candidate("cp311-cp311-manylinux_2_17_x86_64", two)]
    assert offers[1] == choose(offers, BOOKWORM.tags())
    assert offers[0] == choose(offers, BOOKWORM.tags(), keep={one})
    assert offers[0] == choose(offers, BOOKWORM.tags(), allowed={one.hex})
    assert choose(offers, BOOKWORM.tags(), allowed={"0" * 64}) is None


def locked(downloads, name: str, version: str) -> Wheel:
    """Return a locked wheel that is in the downloads."""
    data = wheel(name, version)
    return Wheel(name, version, f"{name}-{version}-py3-none-any.whl", downloads.add_bytes(data), len(data))


def test_the_folder_depends_on_the_lock_alone(tmp_path):
    """Lists with sums, sorted; times and modes fixed; a wheel of both lists lies there once."""
    downloads = Downloads(tmp_path / "cache")
    wheels = [locked(downloads, "zeta", "1"), locked(downloads, "alpha", "2.0")]
    tools = [locked(downloads, "pip", "99.0"), wheels[1]]
    os.umask(os.umask(0o022))
    pip_folder(wheels, tools, downloads, tmp_path / "one")
    pip_folder(wheels[::-1], tools[::-1], downloads, tmp_path / "two")

    def seen(folder):
        return {
            path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime)
            for path in folder.iterdir()
        }

    one = seen(tmp_path / "one")
    assert one == seen(tmp_path / "two")
    lines = one["requirements.txt"][0].decode().splitlines()
    assert [
        f"alpha==2.0 --hash=sha256:{wheels[1].digest.hex}",
        f"zeta==1 --hash=sha256:{wheels[0].digest.hex}",
    ] == lines
    assert {"requirements.txt", "tools.txt", *(each.file for each in (*wheels, *tools))} == set(one)
    assert {0.0} == {time for _, _, time in one.values()}


@pytest.mark.parametrize(
    "file", ["../evil-1-py3-none-any.whl", "zeta-2-py3-none-any.whl", "other-1-py3-none-any.whl", "x"]
)
def test_a_file_name_that_is_not_the_wheels_is_refused(tmp_path, file):
    """A lock cannot write elsewhere, or pass one project's wheel off as another's."""
    downloads = Downloads(tmp_path / "cache")
    one = locked(downloads, "zeta", "1")
    with pytest.raises(DataError, match="is not the name of a wheel of zeta 1"):
        pip_folder([Wheel("zeta", "1", file, one.digest, one.size)], [], downloads, tmp_path / "folder")
