"""Whose signature counts: keys that are missing, revoked or expired, and keys that come from the archive itself."""

from __future__ import annotations

import lzma
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pysequoia
import pytest

from repro.api.archives import Archives
from repro.data.cache import Downloads
from repro.data.transports import Transports
from repro.digest import Digest
from repro.environment.resolvers import source as source_module
from repro.environment.resolvers.distributions import DISTRIBUTIONS, distribution_of
from repro.environment.resolvers.keyring import NoKeyringError, fetch_keyring, host_keyring
from repro.environment.resolvers.release import read_release
from repro.errors import LockError, ReproError
from repro.events import Notice, ignore
from repro.workflow.model import ArchiveBase
from tests.environment.small_archive import Item, certificate, control, deb, key

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FILE = "./usr/share/keyrings/debian-archive-keyring.pgp"


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.0))


@pytest.fixture
def known(monkeypatch):
    """This program knows the small archive's key, and no other."""
    fingerprint = key().extract_certificate().fingerprint.upper()
    distribution = replace(DISTRIBUTIONS["debian"], keys=frozenset({fingerprint}))
    monkeypatch.setitem(DISTRIBUTIONS, "debian", distribution)


def _package(archive, *certificates):
    """Put the keyring package with ``certificates`` into the archive."""
    stanza = control("debian-archive-keyring", "2026.1")
    archive.add(stanza, deb(stanza, Item(FILE, b"".join(certificates)), Item("./usr/share/doc/x", b"x")))
    archive.publish()


def _fetch(archive, cache, sink=ignore):
    return fetch_keyring(archive.source(keyring=b""), cache, Transports({}, pause=0.0).get, sink=sink)


def _why(data, keyring) -> str:
    with pytest.raises(LockError, match="signature on the InRelease of bookworm is not good") as caught:
        read_release(data, suite="bookworm", keyring=keyring, now=NOW)
    return caught.value.why or ""


def test_missing_key(small_archive):
    """The error names the key that signed, so that it can be looked for."""
    data = small_archive.publish(signer="stranger").read_bytes()
    why = _why(data, certificate())
    assert why.startswith("the keyring lacks the key ")
    packets = pysequoia.packet.PacketPile.from_bytes(certificate("stranger"))
    assert why.rpartition(" ")[2].lower() in {packet.fingerprint for packet in packets}


def test_revoked_key(small_archive):
    """A key that its owner has revoked signs nothing any more."""
    data = small_archive.publish().read_bytes()
    owner = key()
    revocation = owner.extract_certificate().revoke(owner.certifier())
    assert _why(data, certificate() + bytes(revocation)).endswith("is revoked")


def test_expired_key(small_archive):
    """A signature from after its key's end is worth nothing; the error says when that was."""
    owner = key("expired")
    data = small_archive.publish(signer="expired").read_bytes()
    end = datetime.now(UTC) - timedelta(seconds=30)  # new keys are dated a minute back
    expired = owner.extract_certificate().set_expiration(end, owner.certifier())
    assert f"expired on {end:%Y-%m-%d}" in _why(data, bytes(expired))


def test_altered_file(small_archive):
    """With the right key at hand, it is the file that is wrong."""
    data = small_archive.publish().read_bytes().replace(b"Origin: Test", b"Origin: Tess")
    assert "does not match" in _why(data, certificate())


def test_updates_in_the_place_of_their_suite(small_archive):
    """Ubuntu's updates have the codename of their suite: they are not taken for it."""
    fields = {"Suite": "noble-updates", "Codename": "noble"}
    data = small_archive.publish("noble", **fields).read_bytes()
    assert "noble" == read_release(data, suite="noble-updates", keyring=certificate(), now=NOW).codename
    with pytest.raises(LockError, match="serves noble-updates where noble was asked for"):
        read_release(data, suite="noble", keyring=certificate(), now=NOW)


def test_keyring_of_the_archive_itself(small_archive, cache, known):
    """Of the archive's own keyring the keys count that this program knows; the user is told."""
    _package(small_archive, certificate("unknown"), certificate())
    heard = []
    assert certificate() == _fetch(small_archive, cache, heard.append)
    assert ["this host has no keyring of debian"] == [
        event.text.partition(":")[0] for event in heard if isinstance(event, Notice)
    ]


def test_keyring_of_a_stranger(small_archive, cache, known):
    """A mirror that signs with a key of its own, and packs that, gets nothing believed."""
    _package(small_archive, certificate("unknown"))
    with pytest.raises(LockError, match="none of the keys that are known to sign debian") as caught:
        _fetch(small_archive, cache)
    assert "REPRO_APT_KEYRING" in (caught.value.hint or "")


def test_archive_without_a_keyring_package(small_archive, cache, known):
    """There is nothing to fetch then."""
    small_archive.publish()
    with pytest.raises(LockError, match="bookworm has none either"):
        _fetch(small_archive, cache)


@pytest.mark.parametrize(
    "data", [b"", b"no xz at all", lzma.compress(b"what is this\n"), lzma.compress(b"Package: \xff\n")]
)
def test_an_index_that_nobody_signed_can_be_anything(small_archive, cache, known, data):
    """What is read before a signature was checked is an error of ours, whatever it is."""
    (packages,) = small_archive.publish().parent.rglob("Packages.xz")
    old = packages.read_bytes()
    packages.write_bytes(data)
    release = small_archive.root / "dists" / "bookworm" / "InRelease"
    text = release.read_text().replace(Digest.of(old).hex, Digest.of(data).hex)
    release.write_text(re.sub(rf" {len(old)} main/", f" {len(data)} main/", text))
    with pytest.raises(ReproError):
        _fetch(small_archive, cache)


def test_a_host_without_a_keyring_can_lock(small_archive, cache, known, monkeypatch):
    """The archives of a command take the archive's own keyring then, once; whose keys nobody knows is refused."""
    asked = []

    def nothing(distribution, *_):
        asked.append(distribution.name)
        raise NoKeyringError("no keyring here")

    monkeypatch.setattr(source_module, "host_keyring", nothing)
    _package(small_archive, certificate())
    host = SimpleNamespace(environ={"REPRO_APT_MIRROR": small_archive.url}, now=lambda: NOW)
    engine = SimpleNamespace(host=host, downloads=cache, transports=Transports({}, pause=0.0), sink=ignore)
    archives = Archives(engine)
    base = ArchiveBase("debian", "bookworm")
    assert [certificate(), certificate()] == [archives.source(base).keyring for _ in range(2)]
    assert (["debian"], ["debian/bookworm"]) == (asked, [suite.label for suite in archives.indexes(base).suites])
    with pytest.raises(NoKeyringError):
        archives.source(ArchiveBase("vendor", "bookworm"))


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_host_without_a_keyring(tmp_path, name):
    """The error names the distribution's own package; strangers' keys with a similar name do not count."""
    (tmp_path / f"{name}-multimedia.gpg").write_bytes(certificate())
    with pytest.raises(NoKeyringError, match=f"no keyring of the {name} archive") as caught:
        host_keyring(DISTRIBUTIONS[name], None, tmp_path, tmp_path)
    assert DISTRIBUTIONS[name].keyring in (caught.value.hint or "")


def test_keyrings_of_newer_hosts(tmp_path):
    """Debian 13 calls the file .pgp."""
    (tmp_path / "debian-archive-keyring.pgp").write_bytes(certificate())
    assert certificate() == host_keyring(distribution_of("debian"), None, tmp_path, tmp_path)


def test_the_known_keys_are_those_of_this_host():
    """Every key of this host's own Debian keyring is among the known ones, so that both say the same."""
    try:
        ring = host_keyring(distribution_of("debian"), None, source_module.KEYRINGS, source_module.KEYRINGS)
    except NoKeyringError:
        pytest.skip("this host has no keyring of Debian")
    found = {certificate.fingerprint.upper() for certificate in pysequoia.Cert.split_bytes(ring)}
    assert set() == found - distribution_of("debian").keys
