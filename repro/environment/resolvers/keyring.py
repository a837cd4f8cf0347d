"""Who signs an archive: the host's keyring of it, else the archive's own keyring package, held against known keys.

A key that the host does not vouch for is believed by its fingerprint: those in `distributions` are part of this
program. What else a fetched keyring holds is left out of it.
"""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

from repro.data.cache import Wanted
from repro.environment.resolvers.deb import read_deb
from repro.environment.resolvers.index import PackageIndex, packages_path
from repro.environment.resolvers.release import unverified_files
from repro.errors import DataError, FetchError, LockError
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package
    from repro.environment.resolvers.distributions import Distribution
    from repro.environment.resolvers.index import Candidate
    from repro.environment.resolvers.source import ArchiveSource
    from repro.events import Sink

_LARGEST = 1 << 30  # bytes of an index: ten times those of Debian
KEYRING = "REPRO_APT_KEYRING"  # environment variable: an OpenPGP keyring file


class NoKeyringError(LockError):
    """The host has no keyring of the archive."""


def host_keyring(distribution: Distribution, given: Path | None, shared: Path, trusted: Path) -> bytes:
    """Return the certificates that may sign the archive, in binary form one after the other.

    Args:
        distribution: whose.
        given: a file that the user names; then no other is looked at.
        shared: the folder of keyrings, ``/usr/share/keyrings``.
        trusted: apt's own, ``/etc/apt/trusted.gpg.d``.

    Raises:
        NoKeyringError: there is none.
        LockError: a file is no keyring.
    """
    name = distribution.name
    whole = shared / f"{name}-archive-keyring.gpg"
    parts = sorted(path for path in trusted.glob(distribution.parts) if path.suffix in (".asc", ".gpg"))
    shipped = [file for file in (whole, whole.with_suffix(".pgp")) if file.is_file()]  # .pgp since Debian 13
    files = [given] if given else shipped[:1] or parts
    if not files:
        raise NoKeyringError(
            f"no keyring of the {name} archive on this host, so its signature cannot be checked",
            why=f"neither {whole} nor {trusted}/{distribution.parts} exists",
            hint=f"install the package {distribution.keyring}, or set {KEYRING}=<file>",
        )
    return b"".join(certificate for file in files for _, certificate in _certificates(file))


def fetch_keyring(source: ArchiveSource, downloads: Downloads, get: Callable[[str], bytes], *, sink: Sink) -> bytes:
    """Return those certificates of the archive's own keyring package whose keys this program knows.

    Nothing else of what the archive says is believed before its signature is checked with them.

    Args:
        source: the mirrors; its keyring is not looked at.
        downloads: takes the index and the package.
        get: returns the bytes at a URL (`Transports.get`).
        sink: hears whose keys are taken.

    Raises:
        LockError: the archive has no such package, or none of its keys is known.
        FetchError: a file could not be had.
    """
    distribution = source.distribution
    package = _keyring_package(source, downloads, get, sink)
    wanted = Wanted(package.file_name, package.digest, package.size, source.urls(package.archive, package.path))
    downloads.fetch([wanted], sink=sink, what=f"keyring of {distribution.name}")
    found = [
        certificate
        for member in read_deb(downloads.path(package.digest), package.file_name).data
        if member.name.startswith("usr/share/keyrings/") and member.data
        for fingerprint, certificate in _split(member.data, package.file_name)
        if fingerprint in distribution.keys
    ]
    if not found:
        raise LockError(
            f"the archive's own {package.name} has none of the keys that are known to sign {distribution.name}",
            why=f"{package.file_name} came from a mirror and is believed for those keys alone",
            hint=f"set {KEYRING}=<file> to a keyring that you trust, or use another mirror",
        )
    sink(Notice("info", f"this host has no keyring of {distribution.name}: its own is used, for the keys known here"))
    return b"".join(dict.fromkeys(found))


def _keyring_package(source: ArchiveSource, downloads: Downloads, get: Callable[[str], bytes], sink: Sink) -> Package:
    """Return the keyring package as the main suite's index lists it, nothing of which is verified yet."""
    failure: FetchError | DataError | None = None
    path = packages_path("main", source.architecture)
    for base in source.bases(source.suite):
        folder = f"{base}/dists/{source.suite}"
        try:
            digest, size = unverified_files(get(f"{folder}/InRelease"), source.suite)[path]
            downloads.fetch([Wanted(path, digest, size, (f"{folder}/{path}",))], sink=sink, what="index")
            newest = _listed(source, downloads.read(digest))
        except (FetchError, DataError) as error:
            failure = error
            continue
        except KeyError:
            continue
        if newest is not None:
            return newest.package
    if failure is not None:
        raise failure
    raise LockError(
        f"no keyring of the {source.archive} archive on this host, and {source.suite} has none either",
        hint=f"set {KEYRING}=<file>",
    )


def _listed(source: ArchiveSource, data: bytes) -> Candidate | None:
    """Return the newest keyring package in an index that may hold anything; DataError where that cannot be read."""
    index = PackageIndex(source.architecture)
    try:
        index.add(source.label(source.suite), lzma.LZMADecompressor().decompress(data, _LARGEST))
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"the index of {source.suite} cannot be read", why=str(error)) from error
    return index.newest(source.distribution.keyring)


def _certificates(file: Path) -> list[tuple[str, bytes]]:
    try:
        return _split(file.read_bytes(), str(file))
    except (DataError, OSError) as error:
        why = error.why if isinstance(error, DataError) else str(error)
        raise LockError(f"{file} cannot be read as an OpenPGP keyring", why=why) from error


def _split(data: bytes, what: str) -> list[tuple[str, bytes]]:
    """Return each certificate with the fingerprint of its primary key; DataError where ``data`` is no keyring."""
    import pysequoia  # noqa: PLC0415 - a megabyte of code that only locking needs

    try:
        certificates = pysequoia.Cert.split_bytes(data)
    except RuntimeError as error:  # pysequoia has no error class of its own
        why = str(error).split("\n", 1)[0]
        raise DataError(f"{what} cannot be read as an OpenPGP keyring", why=why) from error
    return [(certificate.fingerprint.upper(), bytes(certificate)) for certificate in certificates]
