"""Paths inside a root: the kernel's answer and our own walk agree, and neither leaves the root."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.files import remove_tree
from repro.runtime import rooted

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.sampled_from(["a", "b", "c", "..", "."])
PATHS = st.builds(
    lambda parts, lead: ("/" if lead else "") + "/".join(parts), st.lists(NAMES, max_size=5), st.booleans()
)
ENTRIES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join),
    st.one_of(st.just("folder"), st.just("file"), PATHS.filter(bool).map(lambda path: f"link {path}")),
    max_size=6,
)


def make(root: Path, entries: dict[str, str]) -> None:
    """Make the tree as far as it fits together."""
    for name, kind in sorted(entries.items()):
        path = root / name
        try:
            if kind == "folder":
                path.mkdir()
            elif kind == "file":
                path.touch()
            else:
                path.symlink_to(kind.removeprefix("link "))
        except OSError:
            continue


def outcome(function, *arguments) -> object:
    """Return the file that ``function`` opened, or the errno that it raised."""
    try:
        descriptor = function(*arguments)
    except OSError as error:
        return error.errno
    try:
        found = os.fstat(descriptor)
        return found.st_dev, found.st_ino
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that each example makes anew."""
    return tmp_path_factory.mktemp("rooted") / "root"


@settings(deadline=None)
@given(entries=ENTRIES, path=PATHS)
def test_walk_agrees_with_the_kernel(place, entries, path):
    """Where openat2 is missing, the walk finds the same file or fails with the same errno."""
    remove_tree(place)
    place.mkdir()
    make(place, entries)
    root = os.open(place, os.O_PATH)
    try:
        kernel, own = outcome(rooted.open_path, root, path or "."), outcome(rooted._walk, root, path or ".")
    finally:
        os.close(root)
    assert kernel == own


@settings(deadline=None)
@given(entries=ENTRIES, path=PATHS, folder=st.booleans())
def test_ensure_makes_what_open_then_finds(place, entries, path, folder):
    """`ensure` makes a missing place inside the root, reports what it made, and the second time makes nothing."""
    remove_tree(place)
    place.mkdir()
    make(place, entries)
    before = sorted(place.rglob("*"))
    made: list[str] = []
    root = os.open(place, os.O_PATH)
    try:
        result = outcome(lambda: rooted.ensure(root, path or ".", folder=folder, made=made))
        new = sorted(set(place.rglob("*")) - set(before))
        assert sorted(place / name.lstrip("/") for name in made) == new
        if isinstance(result, int):
            assert result in {errno.ELOOP, errno.ENOTDIR}
        else:
            assert result == outcome(rooted.open_path, root, path or ".")
            assert result == outcome(lambda: rooted.ensure(root, path or ".", folder=folder, made=made))
            assert len(new) == len(made)
    finally:
        os.close(root)


def test_modes_are_whatever_the_umask_is(tmp_path):
    """Folders have mode 755, files 644."""
    root = os.open(tmp_path, os.O_PATH)
    before = os.umask(0o022)
    try:
        os.close(rooted.ensure(root, "/a/b/c", folder=False))
    finally:
        os.umask(before)
        os.close(root)
    modes = [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("a", "a/b", "a/b/c")]
    assert ["0o755", "0o755", "0o644"] == modes


_RENAME = "import os\nopen('one', 'w').close()\nwhile True: os.rename('one', 'two'); os.rename('two', 'one')"


def test_what_others_rename_meanwhile_stands_in_no_way(tmp_path):
    """openat2(2) gives up on ``..`` with EAGAIN while anything on the host is renamed; then the walk answers."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    root = os.open(tmp_path, os.O_PATH)
    with subprocess.Popen([sys.executable, "-c", _RENAME], cwd=tmp_path) as other:
        try:
            while not {"one", "two"} & set(os.listdir(tmp_path)):
                assert other.poll() is None
            for _ in range(5000):
                os.close(rooted.open_path(root, "a/b/../b/../b"))
        finally:
            other.kill()
            os.close(root)
