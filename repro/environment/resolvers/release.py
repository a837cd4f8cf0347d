"""A suite's InRelease file: verified, then read (Debian repository format, "Release" files)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.resolvers.control import parse_stanza, required
from repro.errors import DataError, LockError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pysequoia


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


def read_release(
    data: bytes, *, suite: str, keyring: bytes, now: datetime, moment: datetime | None = None
) -> ReleaseFile:
    """Return what the InRelease file ``data`` says, once its signature, its suite and its age are checked.

    Args:
        data: the file as served.
        suite: what was asked for; it must be the file's codename or its suite.
        keyring: OpenPGP certificates, one of which must have signed it.
        now: the time against which Valid-Until is held.
        moment: the time whose snapshot was asked for: against it Valid-Until is held then.

    Raises:
        LockError: the signature is not good, the suite is another, the file is past its Valid-Until, or younger
            than ``moment``.
        DataError: the file is signed but not in the format.
    """
    text = _verified(data, keyring, suite)
    fields = parse_stanza(text.decode("utf-8", "replace"))
    codename = required(fields, "Codename", f"the InRelease of {suite}")
    named = fields.get("Suite", codename)
    names = {named} if named.startswith(f"{codename}-") else {codename, named}  # Ubuntu's updates have its codename
    if suite not in names:
        raise LockError(
            f"the archive serves {named if len(names) == 1 else codename} where {suite} was asked for",
            hint=f"write suite: {codename}, or correct the mirror",
        )
    _check_age(fields, suite, moment or now)
    date = _date(required(fields, "Date", f"the InRelease of {suite}"))
    if moment is not None and date > moment:
        raise LockError(
            f"the snapshot of {moment:%Y-%m-%d} serves {suite} of a later date, {date:%Y-%m-%d}",
            hint="correct the address of the snapshots: it must be that of a fixed moment",
        )
    return ReleaseFile(
        suite=suite,
        codename=codename,
        date=date,
        by_hash=fields.get("Acquire-By-Hash", "no") == "yes",
        files=_files(required(fields, "SHA256", f"the InRelease of {suite}")),
        digest=Digest.of(data),
        text=text,
    )


def unverified_files(data: bytes, suite: str) -> Mapping[str, tuple[Digest, int]]:
    """Return the files that an InRelease lists, whoever signed it: to find the keys that it is checked with.

    DataError where there is no list in it.
    """
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    _, _, body = text.partition("\n\n")  # behind the armor's headers (RFC 4880, 7)
    fields = parse_stanza(body.partition("\n-----BEGIN PGP SIGNATURE-----")[0])
    return _files(required(fields, "SHA256", f"the InRelease of {suite}"))


def _verified(data: bytes, keyring: bytes, suite: str) -> bytes:
    """Return the signed text. What stands around the signed block in ``data`` is not in it."""
    import pysequoia  # noqa: PLC0415 - a megabyte of code that only locking needs

    issuers: list[str] = []

    def certificates(asked: list[str]) -> list[pysequoia.Cert]:
        issuers.extend(asked)
        return known

    try:
        known = pysequoia.Cert.split_bytes(keyring)
        verified = pysequoia.verify(data, certificates)
    except RuntimeError as error:  # pysequoia has no error class of its own
        raise LockError(
            f"the signature on the InRelease of {suite} is not good",
            why="\n       ".join(_reasons(keyring, issuers)) or str(error).split("\n", 1)[0],
            hint="try again, or another mirror; a newer keyring may have a newer key (REPRO_APT_KEYRING)",
        ) from error
    if verified.bytes is None or not verified.valid_sigs:
        raise LockError(f"the InRelease of {suite} is not signed")
    return bytes(verified.bytes)


def _reasons(keyring: bytes, issuers: Sequence[str]) -> list[str]:
    """Return a line for each key that signed, by its ID or fingerprint: what is wrong with it."""
    import pysequoia  # noqa: PLC0415

    owners: dict[str, pysequoia.Cert] = {}
    for certificate in pysequoia.Cert.split_bytes(keyring):
        for packet in pysequoia.packet.PacketPile.from_bytes(bytes(certificate)):
            for name in filter(None, (packet.fingerprint, packet.key_id)):
                owners[name.upper()] = certificate
    return [_reason(issuer.upper(), owners.get(issuer.upper())) for issuer in dict.fromkeys(issuers)]


def _reason(issuer: str, owner: pysequoia.Cert | None) -> str:
    if owner is None:
        return f"the keyring lacks the key {issuer}"
    if owner.is_revoked:
        return f"the key {issuer} is revoked"
    if owner.expiration is not None and owner.expiration < datetime.now(UTC):
        return f"the key {issuer} expired on {owner.expiration:%Y-%m-%d}, and the signature is not from before"
    return f"the signature by the key {issuer} does not match: the file is damaged or altered"


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
