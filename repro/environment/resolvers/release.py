"""A suite's InRelease file: verified, then read (Debian repository format, "Release" files)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.resolvers.control import parse_stanza, required
from repro.errors import DataError, LockError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """What a verified InRelease says.

    ``files`` maps paths below the suite's folder to digest and size, ``text`` is what was signed, no more.
    """

    suite: str
    codename: str
    date: datetime
    by_hash: bool
    files: Mapping[str, tuple[Digest, int]]
    digest: Digest  # of the InRelease file as served
    text: bytes


def read_release(data: bytes, *, suite: str, keyring: bytes, now: datetime) -> ReleaseFile:
    """Return what the InRelease file ``data`` says, once its signature, its suite and its age are checked.

    Args:
        data: the file as served.
        suite: what was asked for; it must be the file's codename or its suite.
        keyring: OpenPGP certificates, one of which must have signed it.
        now: the time against which Valid-Until is held.

    Raises:
        LockError: the signature is not good, the suite is another, or the file is past its Valid-Until.
        DataError: the file is signed but not in the format.
    """
    text = _verified(data, keyring, suite)
    fields = parse_stanza(text.decode("utf-8", "replace"))
    codename = required(fields, "Codename", f"the InRelease of {suite}")
    if suite not in (codename, fields.get("Suite")):
        raise LockError(
            f"the archive serves {codename} where {suite} was asked for",
            hint=f"write suite: {codename}, or correct the mirror",
        )
    _check_age(fields, suite, now)
    return ReleaseFile(
        suite=suite,
        codename=codename,
        date=_date(required(fields, "Date", f"the InRelease of {suite}")),
        by_hash=fields.get("Acquire-By-Hash", "no") == "yes",
        files=_files(required(fields, "SHA256", f"the InRelease of {suite}")),
        digest=Digest.of(data),
        text=text,
    )


def _verified(data: bytes, keyring: bytes, suite: str) -> bytes:
    """Return the signed text. What stands around the signed block in ``data`` is not in it."""
    import pysequoia  # noqa: PLC0415 - a megabyte of code that only locking needs

    try:
        certificates = pysequoia.Cert.split_bytes(keyring)
        verified = pysequoia.verify(data, lambda _issuers: certificates)
    except RuntimeError as error:  # pysequoia has no error class of its own
        raise LockError(
            f"the signature on the InRelease of {suite} is not good",
            why=str(error).split("\n", 1)[0],
            hint="it is damaged, or signed with a key that the keyring lacks: try again, or another mirror",
        ) from error
    if verified.bytes is None or not verified.valid_sigs:
        raise LockError(f"the InRelease of {suite} is not signed")
    return bytes(verified.bytes)


def _check_age(fields: Mapping[str, str], suite: str, now: datetime) -> None:
    until = fields.get("Valid-Until")
    if until is not None and _date(until) < now:
        raise LockError(
            f"the InRelease of {suite} is out of date: it was valid until {until}",
            why="a mirror that has stopped, or somebody who holds back security updates, serves such a file",
            hint="use another mirror, or check this host's clock",
        )


def _date(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except ValueError as error:
        raise DataError(f"not a date: {text!r}") from error


def _files(field: str) -> dict[str, tuple[Digest, int]]:
    """Return the table of a checksum field: lines of digest, size and path."""
    files: dict[str, tuple[Digest, int]] = {}
    for line in field.splitlines():
        if line.strip():
            try:
                digest, size, path = line.split()
                files[path] = (Digest(digest), int(size))
            except ValueError as error:
                raise DataError(f"not a line of a checksum field: {line!r}") from error
    return files
