"""Indexes are verified before use, and give the highest version of a package."""

from __future__ import annotations

import http.server
import threading
from datetime import UTC, datetime
from functools import partial

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.resolvers.index import PackageIndex, fetch_indexes
from repro.environment.resolvers.source import ArchiveSource, debian_architecture
from repro.errors import DataError, FetchError, LockError
from repro.events import Notice
from tests.environment.small_archive import certificate, control, deb

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.0))


def _fetch(source, cache, heard=None):
    sink = (heard if heard is not None else []).append
    return fetch_indexes(source, cache, Transports({}, pause=0.0).get, now=NOW, sink=sink)


def _add(archive, name, version, suite="bookworm"):
    stanza = control(name, version)
    archive.add(stanza, deb(stanza), suite)


def test_highest_version_of_all_suites(small_archive, cache):
    """An update wins over the release, wherever it stands; its label says where it came from."""
    _add(small_archive, "tool", "1.9-1")
    _add(small_archive, "tool", "1.10-1", "bookworm-updates")
    _add(small_archive, "other", "1")
    for suite in ("bookworm", "bookworm-updates"):
        small_archive.publish(suite)
    indexes = _fetch(small_archive.source("bookworm", "bookworm-updates"), cache)
    index = PackageIndex.load(indexes, cache)
    assert {"tool", "other"} == set(index.names())
    newest = index.newest("tool")
    assert newest is not None
    assert ("1.10-1", "debian/bookworm-updates") == (newest.package.version, newest.package.archive)
    assert ["1.10-1", "1.9-1"] == [candidate.package.version for candidate in index.candidates("tool")]
    assert index.newest("absent") is None


def test_files_are_kept_for_apt(small_archive, cache):
    """InRelease and Packages lie in the cache by digest: enough to resolve again without network."""
    release = small_archive.publish()
    indexes = _fetch(small_archive.source(), cache)
    (suite,) = indexes.suites
    assert release.read_bytes() == cache.read(suite.release.digest)
    (packages,) = suite.files
    assert (small_archive.root / "dists/bookworm" / packages.path).read_bytes() == cache.read(packages.digest)
    assert ("2026-07-11T10:16:37Z", debian_architecture()) == (suite.release.date, indexes.architecture)


def test_altered_index(small_archive, cache):
    """A Packages file with one byte changed is refused by its digest."""
    _add(small_archive, "tool", "1")
    small_archive.publish()
    (file,) = small_archive.root.rglob("Packages.xz")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(FetchError, match=r"Packages\.xz of bookworm"):
        _fetch(small_archive.source(), cache)


def test_longer_index(small_archive, cache):
    """A Packages file of another size than the signed one is refused."""
    small_archive.publish()
    (file,) = small_archive.root.rglob("Packages.xz")
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(FetchError, match=r"Packages\.xz of bookworm"):
        _fetch(small_archive.source(), cache)


def test_by_hash_survives_an_update_in_between(small_archive, cache):
    """With Acquire-By-Hash the index is had by its digest, though the plain name holds the next one already."""
    _add(small_archive, "tool", "1")
    small_archive.publish(Acquire_By_Hash="yes")
    (file,) = small_archive.root.rglob("Packages.xz")
    by_hash = file.parent / "by-hash" / "SHA256" / Digest.of_file(file).hex
    by_hash.parent.mkdir(parents=True)
    file.rename(by_hash)
    file.write_bytes(b"the next update")
    index = PackageIndex.load(_fetch(small_archive.source(), cache), cache)
    assert ["tool"] == list(index.names())


def test_suites_that_nobody_promised(small_archive, cache):
    """A mirror without updates and security is used, and the user is told that they are missing."""
    small_archive.publish()
    suites = ("bookworm", "bookworm-updates", "bookworm-security")
    heard = []
    indexes = _fetch(small_archive.source(*suites, optional=frozenset(suites[1:])), cache, heard)
    assert ["debian/bookworm"] == [suite.label for suite in indexes.suites]
    notices = [event.text for event in heard if isinstance(event, Notice)]
    assert ["bookworm-updates", "bookworm-security"] == [text.split()[0] for text in notices]


def test_suites_that_the_host_lists(small_archive, cache):
    """A security suite that the host's sources list must not vanish unnoticed."""
    small_archive.publish()
    with pytest.raises(FetchError, match="bookworm-security/InRelease"):
        _fetch(small_archive.source("bookworm", "bookworm-security"), cache)


def test_second_mirror(small_archive, cache, tmp_path):
    """Where the first mirror lacks the suite the next one is asked, over HTTP as well."""
    small_archive.publish()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(small_archive.root.parent))
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            served = f"http://127.0.0.1:{server.server_port}/debian"
            empty = (tmp_path / "empty").as_uri()
            mirrors = ((empty, ("bookworm",)), (served, ("bookworm",)))
            source = ArchiveSource("debian", "bookworm", mirrors, certificate(), frozenset(), debian_architecture())
            assert ["debian/bookworm"] == [suite.label for suite in _fetch(source, cache).suites]
        finally:
            server.shutdown()
            thread.join()


def test_architecture_that_the_archive_lacks(small_archive, cache):
    """An archive without this architecture is an error that names it."""
    small_archive.publish()
    url = ((small_archive.url, ("bookworm",)),)
    source = ArchiveSource("debian", "bookworm", url, certificate(), frozenset(), "m68k")
    with pytest.raises(LockError, match="bookworm has no packages for m68k"):
        _fetch(source, cache)


def test_pool_path_that_leads_outside():
    """A signed index that names a file outside the archive is not followed."""
    index = PackageIndex(debian_architecture())
    index.add(
        "debian/bookworm",
        b"Package: x\nVersion: 1\nArchitecture: all\nFilename: ../../etc/passwd\nSize: 1\nSHA256: " + b"0" * 64,
    )
    with pytest.raises(DataError, match="outside the archive"):
        index.newest("x")
