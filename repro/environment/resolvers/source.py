"""Where an archive is: its mirrors and its keyring, from the workflow, the environment or the host's apt."""

from __future__ import annotations

import os
from dataclasses import field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from repro.dataclass import dataclass
from repro.environment.resolvers.distributions import Distribution, distribution_of
from repro.environment.resolvers.host_sources import SCHEMES, HostSource, host_sources
from repro.environment.resolvers.keyring import KEYRING, host_keyring
from repro.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from repro.environment.model import Release
    from repro.workflow.model import ArchiveBase

MIRROR = "REPRO_APT_MIRROR"  # environment variable: base URLs, separated by blanks
SNAPSHOT = "REPRO_APT_SNAPSHOT"  # environment variable: the same, with {archive} and {timestamp} in them
KEYRINGS = Path("/usr/share/keyrings")
_TIME = "{timestamp}"
_STAMP = "%Y%m%dT%H%M%SZ"  # how snapshot archives name a moment
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
        components: the parts of each suite that are used.
        moment: the time whose archive the mirrors serve; None: today's.
        older: base URLs of an archive as it was, each with its suite: asked last for a package, never for an index.
    """

    archive: str
    suite: str
    mirrors: tuple[tuple[str, tuple[str, ...]], ...]
    keyring: bytes = field(repr=False)
    optional: frozenset[str] = frozenset()
    architecture: str = "amd64"
    components: tuple[str, ...] = ("main",)
    moment: datetime | None = None
    older: tuple[tuple[str, str], ...] = ()

    @property
    def distribution(self) -> Distribution:
        """The distribution whose archive it is."""
        return distribution_of(self.archive)

    def label(self, suite: str) -> str:
        """Return what a lock calls a suite: ``debian/bookworm``, ``debian-security/bookworm-security``."""
        return f"{self.distribution.root(suite)}/{suite}"

    def family(self) -> tuple[str, ...]:
        """Return the suite and those with its updates, whether some mirror serves them or not."""
        return self.distribution.family(self.suite)

    def suites(self) -> tuple[str, ...]:
        """Return the suites of this archive that some mirror serves, the main one first."""
        served = {suite for _, suites in self.mirrors for suite in suites}
        return tuple(suite for suite in self.family() if suite in served)

    def bases(self, suite: str) -> tuple[str, ...]:
        """Return the base URLs that serve ``suite``, the preferred one first."""
        return tuple(base for base, suites in self.mirrors if suite in suites)

    def urls(self, label: str, path: str) -> tuple[str, ...]:
        """Return where the file ``path`` (from the archive's root) of the suite ``label`` can be had.

        The mirrors come first, then the archive as it was.
        """
        suite = label.rpartition("/")[2]
        if label != self.label(suite):
            return ()
        older = (base for base, served in self.older if served == suite)
        place = quote(path, safe="/+~:@=,!")  # names may hold percent signs: epochs are written so in some archives
        return tuple(f"{base}/{place}" for base in dict.fromkeys((*self.bases(suite), *older)))


def find_source(
    base: ArchiveBase,
    *,
    environ: Mapping[str, str],
    signed: bool = True,
    releases: Iterable[Release] = (),
    apt_sources: Path = Path("/etc/apt"),
    keyrings: Path = KEYRINGS,
) -> ArchiveSource:
    """Return where ``base`` can be had: its ``mirror``, else $REPRO_APT_MIRROR, else the host's apt sources.

    A base with a snapshot comes from $REPRO_APT_SNAPSHOT, or from a ``mirror`` with ``{timestamp}`` in it.

    Args:
        base: the declaration.
        environ: environment variables.
        signed: whether a keyring is needed; to fetch what a lock names by digest, none is.
        releases: suites as they stood when they were locked. Where snapshots are known, those of that time are
            the last resort for a package.
        apt_sources: the folder with apt's configuration.
        keyrings: the folder with the keyrings.

    Raises:
        NoMirrorError: no mirror is known; the hint says how to give one.
        NoKeyringError: this host has no keyring of the archive.
        LockError: a keyring cannot be read, or a mirror is not a URL.
    """
    distribution = distribution_of(base.archive)
    family = distribution.family(base.suite)
    snapshots = _snapshots(base, environ)
    optional: frozenset[str] = frozenset()
    own = [url for url in (base.mirror or "").split() if _TIME not in url]
    given = snapshots if base.snapshot else own or environ.get(MIRROR, "").split()
    if given or base.snapshot:
        mirrors = tuple(_given_mirrors(given, distribution, base.suite, base.snapshot or ""))
        optional = frozenset(family[1:])
    else:
        mirrors = _host_mirrors(base, distribution, list(host_sources(apt_sources)))
    older = () if base.snapshot else tuple(_older(snapshots, releases, distribution))
    if not older and not any(base.suite in suites for _, suites in mirrors):
        raise _no_mirror(base, apt_sources)
    trusted = apt_sources / "trusted.gpg.d"
    named = Path(environ[KEYRING]) if environ.get(KEYRING) else None
    keyring = host_keyring(distribution, named, keyrings, trusted) if signed else b""
    return ArchiveSource(
        base.archive,
        base.suite,
        mirrors,
        keyring,
        optional,
        debian_architecture(),
        base.components,
        moment_of(base),
        older,
    )


def debian_architecture(machine: str | None = None) -> str:
    """Return what Debian calls this host's architecture (or that of the ``uname -m`` given)."""
    return _ARCHITECTURES.get(machine or os.uname().machine, machine or os.uname().machine)


def moment_of(base: ArchiveBase) -> datetime | None:
    """Return the time of the base's snapshot; None for the archive as it is today."""
    return datetime.strptime(base.snapshot, _STAMP).replace(tzinfo=UTC) if base.snapshot else None


def _snapshots(base: ArchiveBase, environ: Mapping[str, str]) -> list[str]:
    """Return the addresses of snapshot archives, with their placeholders."""
    own = [url for url in (base.mirror or "").split() if _TIME in url]
    return own or environ.get(SNAPSHOT, "").split()


def _no_mirror(base: ArchiveBase, apt_sources: Path) -> NoMirrorError:
    if base.snapshot:
        return NoMirrorError(
            f"no snapshots of the {base.archive} archive are known, and {base.name} is one",
            why=f"${SNAPSHOT} is not set, and mirror: has no {{timestamp}}",
            hint=f"set {SNAPSHOT}=https://HOST/{{archive}}/{{timestamp}}, or write such an address as mirror:",
        )
    return NoMirrorError(
        f"no mirror of the {base.archive} archive is known for {base.suite}",
        why=f"neither mirror: nor ${MIRROR} is set, and {apt_sources} has no source for {base.suite}",
        hint=f"set {MIRROR}=<URL of a {base.archive} mirror>, or base the environment on an image",
    )


def _given_mirrors(
    urls: Iterable[str], distribution: Distribution, suite: str, timestamp: str = ""
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the mirrors for URLs that the user gave; a security archive of its own lies beside the main one."""
    for url in urls:
        roots: dict[str, list[str]] = {}
        for member in distribution.family(suite):
            archive = distribution.root(member)
            roots.setdefault(_root(url, distribution, archive, timestamp), []).append(member)
        yield from ((root, tuple(suites)) for root, suites in roots.items())


def _root(url: str, distribution: Distribution, archive: str, timestamp: str = "") -> str:
    """Return the URL of ``archive`` by an address that names it by a placeholder, or names the main archive."""
    plain = url.rstrip("/")
    if urlsplit(plain).scheme not in SCHEMES:
        raise LockError(f"not the URL of a mirror: {url!r}", hint="http:, https: and file: are understood")
    if "{archive}" not in plain:
        plain += archive.removeprefix(distribution.name)
    return plain.replace("{archive}", archive).replace(_TIME, timestamp)


def _older(
    snapshots: Iterable[str], releases: Iterable[Release], distribution: Distribution
) -> Iterator[tuple[str, str]]:
    """Yield the snapshots of the releases' dates, and of a day later: they are taken some time after each update."""
    for release in releases:
        archive = release.label.partition("/")[0]
        date = datetime.fromisoformat(release.date)
        for url in snapshots:
            for time in (date, date + timedelta(days=1)):
                yield _root(url, distribution, archive, time.strftime(_STAMP)), release.suite


def _host_mirrors(
    base: ArchiveBase, distribution: Distribution, sources: list[HostSource]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the host's sources for the base's suites; those under the archive's own name come first.

    Others may serve suites of that name.
    """
    own = {distribution.name, distribution.security, f"{distribution.name}-ports"}
    mirrors: list[tuple[str, tuple[str, ...]]] = []
    for source in sorted(sources, key=lambda source: not own & source.folders()):
        suites = tuple(suite for suite in distribution.family(base.suite) if suite in source.suites)
        if suites and "main" in source.components and (source.base, suites) not in mirrors:
            mirrors.append((source.base, suites))
    return tuple(mirrors)
