"""Where an archive is: its mirrors and its keyring, from the workflow, the environment or the host's apt."""

from __future__ import annotations

import os
import re
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from repro.dataclass import dataclass
from repro.environment.resolvers.control import parse_stanzas
from repro.errors import DataError, LockError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from repro.workflow.model import ArchiveBase

MIRROR = "REPRO_APT_MIRROR"  # environment variable: base URLs, separated by blanks
KEYRING = "REPRO_APT_KEYRING"  # environment variable: an OpenPGP keyring file
_ONE_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
_SCHEMES = ("http", "https", "file")
_ARCHITECTURES = {  # uname -m: as Debian says
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "ppc64le": "ppc64el",
}


class NoMirrorError(LockError):
    """Nobody says where the archive can be had."""


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """Where a suite of an archive can be had, and who signs it. It never enters a lock: it names hosts.

    Attributes:
        archive: ``debian``.
        suite: ``bookworm``; its updates and security suites belong to it.
        mirrors: base URLs without a slash at the end, each with the suites it serves, in the order to try.
        keyring: OpenPGP certificates in binary form.
        optional: suites that nobody listed, guessed from a mirror's name: they may be missing.
        architecture: as Debian names it.
    """

    archive: str
    suite: str
    mirrors: tuple[tuple[str, tuple[str, ...]], ...]
    keyring: bytes = field(repr=False)
    optional: frozenset[str] = frozenset()
    architecture: str = "amd64"

    def label(self, suite: str) -> str:
        """Return what a lock calls a suite: ``debian/bookworm``, ``debian-security/bookworm-security``."""
        return f"{self.archive}-security/{suite}" if suite == f"{self.suite}-security" else f"{self.archive}/{suite}"

    def suites(self) -> tuple[str, ...]:
        """Return the suites of this archive that some mirror serves, the main one first."""
        served = {suite for _, suites in self.mirrors for suite in suites}
        return tuple(suite for suite in _family(self.suite) if suite in served)

    def bases(self, suite: str) -> tuple[str, ...]:
        """Return the base URLs that serve ``suite``, the preferred one first."""
        return tuple(base for base, suites in self.mirrors if suite in suites)

    def urls(self, label: str, path: str) -> tuple[str, ...]:
        """Return where the file ``path`` (from the archive's root) of the suite ``label`` can be had."""
        suite = label.rpartition("/")[2]
        return tuple(f"{base}/{path}" for base in self.bases(suite)) if label == self.label(suite) else ()


def _family(suite: str) -> tuple[str, str, str]:
    return (suite, f"{suite}-updates", f"{suite}-security")


def find_source(
    base: ArchiveBase,
    *,
    environ: Mapping[str, str],
    signed: bool = True,
    apt_sources: Path = Path("/etc/apt"),
    keyrings: Path = Path("/usr/share/keyrings"),
) -> ArchiveSource:
    """Return where ``base`` can be had: its ``mirror``, else $REPRO_APT_MIRROR, else the host's apt sources.

    The keyring is $REPRO_APT_KEYRING, else the archive's own among ``keyrings`` or apt's trusted keys. It is empty
    where not ``signed``: to fetch what a lock names by digest, no signature is needed.

    Raises:
        NoMirrorError: no mirror is known; the hint says how to give one.
        LockError: no keyring is known (the hint says how to give one), or a mirror is not a URL.
    """
    given = base.mirror or environ.get(MIRROR, "")
    optional: frozenset[str] = frozenset()
    if given:
        mirrors = tuple(_given_mirrors(given.split(), base))
        optional = frozenset(_family(base.suite)[1:])
    else:
        mirrors = _host_mirrors(base, list(_host_entries(apt_sources)))
    if not any(base.suite in suites for _, suites in mirrors):
        raise NoMirrorError(
            f"no mirror of the {base.archive} archive is known for {base.suite}",
            why=f"neither mirror: nor ${MIRROR} is set, and {apt_sources} has no source for {base.suite}",
            hint=f"set {MIRROR}=<URL of a {base.archive} mirror>, or base the environment on an image",
        )
    folders = keyrings, apt_sources / "trusted.gpg.d"
    keyring = _keyring(base, environ.get(KEYRING), folders) if signed else b""
    return ArchiveSource(base.archive, base.suite, mirrors, keyring, optional, debian_architecture())


def debian_architecture(machine: str | None = None) -> str:
    """Return what Debian calls this host's architecture (or that of the ``uname -m`` given)."""
    return _ARCHITECTURES.get(machine or os.uname().machine, machine or os.uname().machine)


def _given_mirrors(urls: Iterable[str], base: ArchiveBase) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the mirrors for URLs that the user gave: the security archive lies beside the main one."""
    main, updates, security = _family(base.suite)
    for url in urls:
        root = url.rstrip("/")
        if urlsplit(root).scheme not in _SCHEMES:
            raise LockError(f"not the URL of a mirror: {url!r}", hint="http:, https: and file: are understood")
        yield root, (main, updates)
        yield f"{root}-security", (security,)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One URI of one apt source."""

    base: str
    suites: tuple[str, ...]
    components: tuple[str, ...]

    def belongs_to(self, archive: str) -> bool:
        """Return whether a folder of the URI has the archive's name: others may serve suites of that name."""
        return bool({archive, f"{archive}-security"} & set(urlsplit(self.base).path.split("/")))


def _host_mirrors(base: ArchiveBase, entries: list[_Entry]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the host's sources for the base's suites; those under the archive's own name come first."""
    mirrors: list[tuple[str, tuple[str, ...]]] = []
    for entry in sorted(entries, key=lambda entry: not entry.belongs_to(base.archive)):
        suites = tuple(suite for suite in _family(base.suite) if suite in entry.suites)
        if suites and "main" in entry.components and (entry.base, suites) not in mirrors:
            mirrors.append((entry.base, suites))
    return tuple(mirrors)


def _host_entries(folder: Path) -> Iterator[_Entry]:
    """Yield what apt on this host is configured for (sources.list(5)), both forms, in apt's order."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        for entry in _one_line(text) if file.suffix == ".list" else _deb822(text, file):
            if urlsplit(entry.base).scheme in _SCHEMES:
                yield entry


def _one_line(text: str) -> Iterator[_Entry]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is not None:
            yield _Entry(match["uri"].rstrip("/"), (match["suite"],), tuple(match["components"].split()))


def _deb822(text: str, file: Path) -> Iterator[_Entry]:
    try:
        stanzas = parse_stanzas(text)
    except DataError as error:
        raise LockError(f"{file} cannot be read as apt sources", why=error.message) from error
    for fields in stanzas:
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes").lower() not in (
            "no",
            "false",
        ):
            for uri in fields.get("URIs", "").split():
                suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
                yield _Entry(uri.rstrip("/"), tuple(suites), tuple(components))


def _keyring(base: ArchiveBase, given: str | None, folders: tuple[Path, Path]) -> bytes:
    """Return the certificates that may sign the archive, in binary form one after the other."""
    import pysequoia  # noqa: PLC0415 - a megabyte of code that only locking needs

    shared, trusted = folders
    whole = Path(given) if given else shared / f"{base.archive}-archive-keyring.gpg"
    parts = sorted(path for path in trusted.glob(f"{base.archive}-archive-*") if path.suffix in (".asc", ".gpg"))
    files = [whole] if given or whole.is_file() else parts
    if not files:
        raise LockError(
            f"no keyring of the {base.archive} archive on this host, so its signature cannot be checked",
            why=f"neither {whole} nor {trusted}/{base.archive}-archive-* exists",
            hint=f"install the package {base.archive}-archive-keyring, or set {KEYRING}=<file>",
        )
    certificates = bytearray()
    for file in files:
        try:
            for certificate in pysequoia.Cert.split_bytes(file.read_bytes()):
                certificates += bytes(certificate)
        except (RuntimeError, OSError) as error:  # pysequoia has no error class of its own
            why = str(error).split("\n", 1)[0]
            raise LockError(f"{file} cannot be read as an OpenPGP keyring", why=why) from error
    return bytes(certificates)
