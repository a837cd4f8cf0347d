"""The ground: files that are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from repro.errors import BusyError
from repro.files import locked, remove_tree, write_atomic


def test_remove_tree_copes_with_any_depth(tmp_path):
    """A tree deeper than Python's stack and than the limit of open files is removed."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(top)
    assert [] == os.listdir(tmp_path)


def test_remove_tree_enters_closed_folders_and_follows_no_link(tmp_path):
    """Folders without any permission go, what links point to stays."""
    kept = tmp_path / "kept"
    kept.write_text("kept")
    top = tmp_path / "top"
    (top / "closed" / "in").mkdir(parents=True)
    (top / "link").symlink_to(tmp_path)
    (top / "closed").chmod(0)
    remove_tree(top)
    assert ["kept"] == os.listdir(tmp_path)


def test_write_atomic_replaces_whole_files(tmp_path):
    """A file is replaced as a whole and nothing temporary stays."""
    target = tmp_path / "new" / "file"
    write_atomic(target, b"one")
    write_atomic(target, b"two")
    assert b"two" == target.read_bytes()
    assert ["file"] == os.listdir(target.parent)


def test_lock_names_its_owner_and_goes_with_its_process(tmp_path):
    """Whoever finds a lock held is told by whom; a killed holder holds it no more."""
    path = tmp_path / "lock"
    program = (
        "import sys, time; from pathlib import Path; from repro.files import Lock; lock = Lock(Path(sys.argv[1]), owner='me');"
        "lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert "held\n" == holder.stdout.readline()
    with pytest.raises(BusyError) as caught, locked(path, wait=False):
        pass
    assert "held by me" == caught.value.why
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locked(path, wait=False):
        assert path.exists()
