"""Fixtures for environments: the Debian archive as this host knows it, and small archives of our own."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.environment.resolvers.archive import fetch_indexes, lock_base
from repro.environment.resolvers.source import find_source
from repro.events import ignore
from repro.files import remove_tree
from repro.oci.store import Store
from repro.runtime.container import Launcher
from repro.runtime.spec import Mode
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import SmallArchive

MODE = Mode.REAL if os.getuid() == 0 else Mode.ONE


@pytest.fixture(scope="session")
def downloads(download_cache):
    """A cache of downloads that outlives the session, so that each .deb crosses the network once."""
    return Downloads(download_cache, Transports(os.environ))


@pytest.fixture(scope="session")
def apt_source():
    """Debian bookworm as this host's apt sources (or REPRO_APT_MIRROR) name it."""
    return find_source(ArchiveBase("debian", "bookworm"), environ=os.environ)


@pytest.fixture(scope="session")
def bookworm_indexes(downloads, apt_source):
    """Today's indexes of it."""
    return fetch_indexes(apt_source, downloads, Transports(os.environ).get, now=datetime.now(UTC), sink=ignore)


@pytest.fixture(scope="session")
def bookworm_lock(downloads, apt_source, bookworm_indexes):
    """Its base, locked; the packages are in ``downloads``."""
    base = ArchiveBase("debian", "bookworm")
    return lock_base(base, apt_source, bookworm_indexes, downloads=downloads, sink=ignore)


@pytest.fixture
def small_archive(tmp_path):
    """An empty archive in a folder, with a key of its own."""
    return SmallArchive(tmp_path / "mirror" / "debian")


@pytest.fixture(scope="module")
def launcher():
    """The launcher of this user's mode."""
    launcher = Launcher(MODE)
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def store():
    """A store on a real file system."""
    root = Path(tempfile.mkdtemp(prefix="repro-store-", dir="/var/tmp"))
    yield Store(root, MODE.value)
    remove_tree(root)
