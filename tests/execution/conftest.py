"""Fixtures for execution: a root file system, and projects of root and of an ordinary user."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from repro.files import remove_tree
from tests.execution.driver import Pipeline
from tests.execution.rootfs import make_rootfs


@pytest.fixture(scope="session")
def rootfs():
    """A folder that every user can read, used as an image's only layer."""
    folder = Path(tempfile.mkdtemp(prefix="repro-rootfs-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield make_rootfs(folder)
    remove_tree(folder)


@pytest.fixture
def pipeline(tmp_path, rootfs):
    """An empty project of the user that runs the tests."""
    root = tmp_path / "project"
    root.mkdir()
    return Pipeline(root, rootfs)
