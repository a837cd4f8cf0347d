"""A base of a moment: its archive is found by address and date, held against that date, and the last resort of a lock."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.model import Release
from repro.environment.resolvers.archive import fetch_indexes, fetch_packages, lock_base
from repro.environment.resolvers.network import apt_network_config
from repro.environment.resolvers.source import NoMirrorError, find_source
from repro.errors import FetchError, LockError
from repro.events import ignore
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import Item, SmallArchive, certificate, control, deb

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MOMENT = "20260712T000000Z"  # half a day after the small archive's date
BASE = ArchiveBase("debian", "bookworm", snapshot=MOMENT)


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.0))


@pytest.fixture
def snapshots(tmp_path):
    """A snapshot archive with one moment, and its address with the placeholders."""
    archive = SmallArchive(tmp_path / "snapshots" / "debian" / MOMENT)
    stanza = control("apt", Essential="yes")
    archive.add(stanza, deb(stanza, Item("./f")))
    archive.publish(Valid_Until="Sat, 18 Jul 2026 10:16:37 UTC")
    return archive, f"{(tmp_path / 'snapshots').as_uri()}/{{archive}}/{{timestamp}}"


def _find(tmp_path, base=BASE, *, releases=(), **environ):
    """Return the source on a host with a keyring and no apt sources."""
    (tmp_path / "keyrings").mkdir(exist_ok=True)
    (tmp_path / "keyrings" / "debian-archive-keyring.gpg").write_bytes(certificate())
    paths = {"apt_sources": tmp_path / "apt", "keyrings": tmp_path / "keyrings"}
    return find_source(base, environ=environ, releases=releases, **paths)


def _fetch(source, cache):
    return fetch_indexes(source, cache, Transports({}, pause=0.0).get, now=NOW, sink=ignore)


def test_addresses_of_a_moment(tmp_path):
    """Both archives are there under their names, with the moment as snapshot archives write it."""
    source = _find(tmp_path, REPRO_APT_SNAPSHOT="http://s.invalid/{archive}/{timestamp}/", REPRO_APT_MIRROR="x")
    main, security = f"http://s.invalid/debian/{MOMENT}", f"http://s.invalid/debian-security/{MOMENT}"
    assert ((main, ("bookworm", "bookworm-updates")), (security, ("bookworm-security",))) == source.mirrors
    assert datetime(2026, 7, 12, tzinfo=UTC) == source.moment


def test_a_mirror_with_the_moment_in_its_address(tmp_path):
    """The workflow can say where its snapshots are; without {archive} the security archive lies beside the main one."""
    base = replace(BASE, mirror="http://own.invalid/{timestamp}/debian")
    source = _find(tmp_path, base, REPRO_APT_SNAPSHOT="http://s.invalid/{archive}/{timestamp}")
    roots = [f"http://own.invalid/{MOMENT}/debian", f"http://own.invalid/{MOMENT}/debian-security"]
    assert roots == [root for root, _ in source.mirrors]


def test_ubuntus_suites_are_in_one_archive(tmp_path):
    """Ubuntu's snapshots have one folder for all suites."""
    (tmp_path / "keyrings").mkdir()
    (tmp_path / "keyrings" / "ubuntu-archive-keyring.gpg").write_bytes(certificate())
    base = ArchiveBase("ubuntu", "noble", snapshot=MOMENT)
    source = _find(tmp_path, base, REPRO_APT_SNAPSHOT="http://s.invalid/{archive}/{timestamp}")
    suites = ("noble", "noble-updates", "noble-security")
    assert ((f"http://s.invalid/ubuntu/{MOMENT}", suites),) == source.mirrors


@pytest.mark.parametrize("mirror", [None, "http://m.invalid/debian"])
def test_no_address_is_known(tmp_path, mirror):
    """Today's mirror is no snapshot: the error says what to set."""
    with pytest.raises(NoMirrorError, match="no snapshots of the debian archive are known") as caught:
        _find(tmp_path, replace(BASE, mirror=mirror), REPRO_APT_MIRROR="http://m.invalid/debian")
    assert "REPRO_APT_SNAPSHOT" in (caught.value.hint or "")


def test_valid_until_is_held_against_the_moment(tmp_path, snapshots, cache):
    """An index that was valid then is good today; one that was out of date then is not."""
    archive, address = snapshots
    source = _find(tmp_path, REPRO_APT_SNAPSHOT=address)
    lock = lock_base(BASE, source, _fetch(source, cache), downloads=cache, sink=ignore)
    assert (f"archive:debian/bookworm@{MOMENT}", ["apt"]) == (lock.name, [item.name for item in lock.packages])
    archive.publish(Valid_Until="Sat, 11 Jul 2026 20:00:00 UTC")
    with pytest.raises(LockError, match="out of date"):
        _fetch(source, cache)


def test_an_index_of_a_later_date_is_no_snapshot(tmp_path, snapshots, cache):
    """An address that serves today's archive whatever the moment is found out."""
    archive, address = snapshots
    archive.publish(Date="Sun, 12 Jul 2026 00:00:01 UTC")
    with pytest.raises(LockError, match="snapshot of 2026-07-12 serves bookworm of a later date"):
        _fetch(_find(tmp_path, REPRO_APT_SNAPSHOT=address), cache)


def test_snapshots_are_the_last_resort_of_a_lock(tmp_path, snapshots, cache):
    """A mirror that has moved on is asked first, then the archive at the release's date, then a day later."""
    archive, address = snapshots
    source = _find(tmp_path, REPRO_APT_SNAPSHOT=address)
    lock = lock_base(BASE, source, _fetch(source, cache), downloads=cache, sink=ignore)
    os.rename(archive.root, archive.root.parent / "20260712T101637Z")  # taken a while after the release's date
    mirror = SmallArchive(tmp_path / "mirror" / "debian")
    plain = ArchiveBase("debian", "bookworm", mirror=mirror.url)
    empty = Downloads(tmp_path / "empty", Transports({}, pause=0.0))
    with pytest.raises(FetchError, match=lock.packages[0].file_name):
        fetch_packages(lock.packages, source=_find(tmp_path, plain), downloads=empty, sink=ignore, what="tests")
    older = _find(tmp_path, plain, releases=lock.releases, REPRO_APT_SNAPSHOT=address)
    package = lock.packages[0]
    roots = [url.removesuffix(f"/{package.path}") for url in older.urls(package.archive, package.path)]
    folder = archive.root.parent.as_uri()
    assert [mirror.url, f"{folder}/20260711T101637Z", f"{folder}/20260712T101637Z"] == roots
    fetch_packages(lock.packages, source=older, downloads=empty, sink=ignore, what="tests")
    assert empty.has(package.digest)


def test_only_a_lock_asks_snapshots_for_a_base_of_today(tmp_path):
    """With no mirror, a lock's packages can still be had from snapshots; to lock anew, today's archive is needed."""
    address = {"REPRO_APT_SNAPSHOT": "http://s.invalid/{archive}/{timestamp}"}
    plain = ArchiveBase("debian", "bookworm")
    release = Release("debian/bookworm", "bookworm", "bookworm", "2026-07-11T10:16:37Z", Digest.of(b""))
    source = _find(tmp_path, plain, releases=[release], **address)
    assert ((), 2) == (source.suites(), len(source.urls("debian/bookworm", "pool/x.deb")))
    with pytest.raises(NoMirrorError, match="no mirror of the debian archive"):
        _find(tmp_path, plain, **address)


def test_a_networked_run_takes_what_was_valid_then(tmp_path):
    """apt in a container asks the snapshot too, and holds no index of then against today's date."""
    source = _find(tmp_path, REPRO_APT_SNAPSHOT="http://s.invalid/{archive}/{timestamp}")
    apt_network_config(source, tmp_path / "apt.d", environ={})
    assert 'Acquire::Check-Valid-Until "false";' in (tmp_path / "apt.d" / "apt.conf").read_text()
    assert MOMENT in (tmp_path / "apt.d" / "mirrors-debian-bookworm.txt").read_text()
    shutil.rmtree(tmp_path / "apt.d")
    apt_network_config(replace(source, moment=None), tmp_path / "apt.d", environ={})
    assert "Valid-Until" not in (tmp_path / "apt.d" / "apt.conf").read_text()
