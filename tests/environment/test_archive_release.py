"""An InRelease file is believed only when its signature, suite and age are right."""

from __future__ import annotations

from datetime import UTC, datetime

import pysequoia
import pytest

from repro.digest import Digest
from repro.environment.resolvers.release import read_release
from repro.errors import DataError, LockError
from tests.environment.small_archive import certificate, key

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _read(data, *, suite="bookworm", keyring=None, now=NOW):
    return read_release(data, suite=suite, keyring=certificate() if keyring is None else keyring, now=now)


def test_good_release(small_archive):
    """A signed file gives its date, its codename and the digests of its files."""
    data = small_archive.publish(Acquire_By_Hash="yes").read_bytes()
    release = _read(data)
    assert ("bookworm", "2026-07-11T10:16:37+00:00", True) == (
        release.codename,
        release.date.isoformat(),
        release.by_hash,
    )
    assert [Digest.of(file.read_bytes()) for file in small_archive.root.rglob("Packages.xz")] == [
        digest for path, (digest, _) in release.files.items() if path.endswith("Packages.xz")
    ]
    assert Digest.of(data) == release.digest


def test_asked_for_by_the_name_of_its_suite(small_archive):
    """`stable` is as good a name as the codename."""
    assert "bookworm" == _read(small_archive.publish(Suite="stable").read_bytes(), suite="stable").codename


def test_altered_release(small_archive):
    """One changed byte of what was signed is found."""
    data = small_archive.publish().read_bytes().replace(b"Origin: Test", b"Origin: Tess")
    with pytest.raises(LockError, match="signature on the InRelease of bookworm is not good"):
        _read(data)


def test_release_of_a_stranger(small_archive):
    """A good signature of a key outside the keyring counts for nothing."""
    data = small_archive.publish(signer="stranger").read_bytes()
    with pytest.raises(LockError, match="not good") as caught:
        _read(data)
    assert "keyring" in (caught.value.hint or "")
    assert "bookworm" == _read(data, keyring=certificate() + certificate("stranger")).codename


@pytest.mark.parametrize("data", [b"", b"Origin: Test\nCodename: bookworm\n", b"<html>sign in first</html>"])
def test_unsigned_release(data):
    """What carries no signature is refused, a captive portal's page too."""
    with pytest.raises(LockError):
        _read(data)


def test_text_around_the_signed_block(small_archive):
    """Only the signed bytes are read: fields put around them are not there."""
    data = small_archive.publish().read_bytes()
    signed = _read(data)
    around = _read(b"Codename: trixie\n\n" + data + b"\nSHA256:\n junk\n")
    assert (signed.text, signed.codename) == (around.text, around.codename)


def test_other_suite(small_archive):
    """A mirror that serves another suite under this one's name is found out."""
    data = small_archive.publish(Codename="trixie").read_bytes()
    with pytest.raises(LockError, match="serves trixie where bookworm was asked for"):
        _read(data)


def test_expired_release(small_archive):
    """A file past its Valid-Until is refused, as by apt; the same file is good before."""
    data = small_archive.publish(Valid_Until="Sat, 28 Nov 2026 00:53:02 UTC").read_bytes()
    assert "bookworm" == _read(data).codename
    with pytest.raises(LockError, match="out of date: it was valid until Sat, 28 Nov 2026"):
        _read(data, now=datetime(2026, 11, 29, tzinfo=UTC))


@pytest.mark.parametrize("fields", [{"Date": "yesterday"}, {"Valid_Until": "soon"}])
def test_dates_that_are_none(small_archive, fields):
    """A signed file with a date that cannot be read is an error, not one without a date."""
    with pytest.raises(DataError, match="not a date"):
        _read(small_archive.publish(**fields).read_bytes())


def test_release_without_checksums(small_archive):
    """A file without SHA256 sums is refused: weaker ones are not read."""
    text = b"Suite: stable\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 x\n"
    data = pysequoia.sign(key().signer(), text, mode=pysequoia.SignatureMode.CLEAR)
    with pytest.raises(DataError, match="no field SHA256"):
        _read(data)
