"""A base is locked and fetched by hash: what came out otherwise than signed is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.environment.resolvers.archive import build_base, fetch_indexes, fetch_packages, lock_base
from repro.errors import FetchError, LockError
from repro.events import ignore
from repro.oci.store import Store
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import MTIME, Item, control, deb

BASE = ArchiveBase("debian", "bookworm")


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.0))


@pytest.fixture
def files(small_archive):
    """An archive of two packages, and their files in its pool."""
    made = []
    for name, mtime in (("apt", MTIME), ("base-files", MTIME + 7)):
        stanza = control(name, Essential="yes")
        made.append(small_archive.add(stanza, deb(stanza, Item("./f"), mtime=mtime)))
    small_archive.publish()
    return made


def _lock(archive, cache):
    source = archive.source()
    get = Transports({}, pause=0.0).get
    indexes = fetch_indexes(source, cache, get, now=datetime(2026, 11, 24, tzinfo=UTC), sink=ignore)
    return lock_base(BASE, source, indexes, downloads=cache, sink=ignore)


def test_lock(small_archive, files, cache):
    """The lock has each package by hash, the suite's date, the newest .deb's time as epoch, and no host."""
    lock = _lock(small_archive, cache)
    assert ("archive:debian/bookworm", MTIME + 7) == (lock.name, lock.epoch)
    assert [("apt", "debian/bookworm"), ("base-files", "debian/bookworm")] == [
        (package.name, package.archive) for package in lock.packages
    ]
    assert [file.read_bytes() for file in files] == [cache.read(package.digest) for package in lock.packages]
    assert ["2026-07-11T10:16:37Z"] == [release.date for release in lock.releases]
    assert small_archive.url not in repr(lock)


def test_altered_package(small_archive, files, cache):
    """A .deb with one changed byte is refused by its digest, and named."""
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    files[0].write_bytes(data)
    with pytest.raises(FetchError, match=rf"(?s){files[0].name}.*other bytes"):
        _lock(small_archive, cache)


@pytest.mark.parametrize("change", [b"", b"more"])
def test_package_of_another_size(small_archive, files, cache, change):
    """A .deb that is longer or shorter than signed is refused, and named."""
    files[1].write_bytes(files[1].read_bytes() + change if change else b"!<arch>\n")
    with pytest.raises(FetchError, match=files[1].name):
        _lock(small_archive, cache)


def test_all_missing_packages_are_named(small_archive, files, cache, tmp_path):
    """Offline, every .deb that the cache lacks is named at once."""
    lock = _lock(small_archive, cache)
    empty = Downloads(tmp_path / "empty")
    with pytest.raises(FetchError) as caught:
        fetch_packages(lock.packages, source=None, downloads=empty, sink=ignore, what="packages")
    assert [True, True] == [file.name in str(caught.value) for file in files]
    fetch_packages(lock.packages, source=None, downloads=cache, sink=ignore, what="packages")


def test_lock_of_another_architecture(small_archive, files, cache, tmp_path):
    """A lock for another architecture is refused before anything is fetched or run."""
    lock = _lock(small_archive, cache)
    foreign = replace(lock, packages=tuple(replace(package, architecture="m68k") for package in lock.packages))
    store = Store(tmp_path / "store", "one")
    with pytest.raises(LockError, match="locked for another architecture") as caught:
        build_base(foreign, source=None, downloads=cache, store=store, launcher=None, sink=ignore)
    assert "m68k" in (caught.value.why or "")
