"""The suites of an archive as verified files, and the packages that they list."""

from __future__ import annotations

import lzma
from concurrent.futures import ThreadPoolExecutor
from functools import cmp_to_key
from typing import TYPE_CHECKING

from repro.data.answers import NotThereError
from repro.data.cache import Wanted
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.model import Package, Release
from repro.environment.resolvers.control import Relation, parse_relations, parse_stanza, required
from repro.environment.resolvers.release import ReleaseFile, read_release
from repro.environment.resolvers.version import compare
from repro.errors import DataError, FetchError, LockError
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from repro.data.cache import Downloads
    from repro.environment.resolvers.source import ArchiveSource
    from repro.events import Sink


@dataclass(frozen=True, slots=True)
class IndexFile:
    """The Packages file of one component; ``path`` is below the suite's folder, as the InRelease lists it."""

    component: str
    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class SuiteIndex:
    """A suite's verified InRelease (``release.digest``) and its Packages files, all in the downloads cache."""

    release: Release
    files: tuple[IndexFile, ...]

    @property
    def label(self) -> str:
        """The suite's host-free name, ``debian/bookworm``."""
        return self.release.label


@dataclass(frozen=True, slots=True)
class Indexes:
    """All suites that a base is resolved against, the main one first."""

    architecture: str
    suites: tuple[SuiteIndex, ...]

    @property
    def releases(self) -> tuple[Release, ...]:
        """What a lock records of the suites."""
        return tuple(suite.release for suite in self.suites)


def fetch_indexes(
    source: ArchiveSource, downloads: Downloads, get: Callable[[str], bytes], *, now: datetime, sink: Sink
) -> Indexes:
    """Return the suites of ``source``, each verified from its signature down; ``downloads`` has their bytes.

    Args:
        source: the mirrors and the keyring.
        downloads: takes InRelease and Packages files.
        get: returns the bytes at a URL (`Transports.get`).
        now: the time against which Valid-Until is held.
        sink: hears which suite a mirror lacks.

    Raises:
        LockError: a signature, suite or date is not right.
        FetchError: a file could not be had from any mirror.
    """
    found: list[SuiteIndex] = []
    wanted: list[Wanted] = []
    for suite in source.suites():
        fetched = _fetch_release(source, suite, get, now)
        if fetched is not None:
            base, data, release = fetched
            downloads.add_bytes(data)
            files = _packages_files(source, release)
            found.append(SuiteIndex(_locked(source, release), files))
            wanted += [_wanted(base, release, file) for file in files]
    for suite in source.family()[1:]:
        if not any(index.release.suite == suite for index in found):
            sink(Notice("warning", f"{suite} is not available: the packages come without its updates"))
    downloads.fetch(wanted, sink=sink, what=f"indexes of {source.archive}/{source.suite}")
    return Indexes(source.architecture, tuple(found))


def _fetch_release(
    source: ArchiveSource, suite: str, get: Callable[[str], bytes], now: datetime
) -> tuple[str, bytes, ReleaseFile] | None:
    """Return the first mirror with the suite, its InRelease and what that says; None: an optional suite."""
    failure: FetchError | None = None
    for base in source.bases(suite):
        try:
            data = get(f"{base}/dists/{suite}/InRelease")
        except NotThereError as error:
            failure = failure or error
        except FetchError as error:
            failure = error  # worse than "not there": the suite may exist
        else:
            release = read_release(data, suite=suite, keyring=source.keyring, now=now, moment=source.moment)
            return base, data, release
    if failure is None or (suite in source.optional and isinstance(failure, NotThereError)):
        return None
    raise failure


def packages_path(component: str, architecture: str) -> str:
    """Return where a component's index lies below its suite's folder."""
    return f"{component}/binary-{architecture}/Packages.xz"


def _packages_files(source: ArchiveSource, release: ReleaseFile) -> tuple[IndexFile, ...]:
    """Return the index of each component as the InRelease lists it; updates need not have all of them.

    LockError where the suite has nothing for the architecture, or the main suite lacks a component.
    """
    files = []
    for component in source.components:
        path = packages_path(component, source.architecture)
        if path in release.files:
            files.append(IndexFile(component, path, *release.files[path]))
        elif release.suite == source.suite:
            raise _lacking(source, release, component)
    return tuple(files)


def _lacking(source: ArchiveSource, release: ReleaseFile, component: str) -> LockError:
    end = packages_path("", source.architecture)
    known = sorted(path.removesuffix(end) for path in release.files if path.endswith(end))
    if not known:
        return LockError(f"{source.suite} has no packages for {source.architecture}")
    return LockError(f"{source.suite} has no component {component!r}", hint=f"it has {', '.join(known)}")


def _locked(source: ArchiveSource, release: ReleaseFile) -> Release:
    """Return what a lock records of the suite."""
    date = release.date.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Release(source.label(release.suite), release.suite, release.codename, date, release.digest)


def _wanted(base: str, release: ReleaseFile, file: IndexFile) -> Wanted:
    """Return how to fetch a component's index from the mirror that gave the InRelease."""
    folder = f"{base}/dists/{release.suite}"
    urls = [f"{folder}/{file.path}"]
    if release.by_hash:  # survives the mirror's update between the two downloads (repository format, "by-hash")
        urls.insert(0, f"{folder}/{file.path.rpartition('/')[0]}/by-hash/SHA256/{file.digest.hex}")
    return Wanted(f"{file.path} of {release.suite}", file.digest, file.size, tuple(urls))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package as an index lists it, with what resolving needs."""

    package: Package
    depends: tuple[tuple[Relation, ...], ...]  # Pre-Depends, then Depends
    provides: tuple[Relation, ...]


class PackageIndex:
    """The packages of several suites by name; a stanza is parsed when it is asked for.

    Packages for another architecture than ``architecture`` and ``all`` are not in it. Splitting the 63,440 stanzas
    of bookworm takes 0.3 CPU s, parsing them all would take ten.
    """

    def __init__(self, architecture: str) -> None:
        self._architectures = (architecture.encode(), b"all")
        self._stanzas: dict[str, list[tuple[str, bytes]]] = {}
        self._providers: dict[str, set[str]] = {}  # provided name: names of packages
        self._essential: set[str] = set()
        self._parsed: dict[str, tuple[Candidate, ...]] = {}

    @classmethod
    def load(cls, indexes: Indexes, downloads: Downloads) -> PackageIndex:
        """Return the index of all suites; CorruptError where a cached file is damaged."""
        index = cls(indexes.architecture)
        files = [(suite.label, file) for suite in indexes.suites for file in suite.files]
        with ThreadPoolExecutor() as pool:  # xz is unpacked with the interpreter lock released
            texts = pool.map(lambda named: lzma.decompress(downloads.read(named[1].digest)), files)
            for (label, _), text in zip(files, texts, strict=True):
                index.add(label, text)
        return index

    def add(self, label: str, text: bytes) -> None:
        """Add a Packages file under the label of its suite."""
        for stanza in text.split(b"\n\n"):
            if not stanza.strip():
                continue
            name = _field(stanza, b"Package").decode()
            if not name:
                raise DataError(f"a stanza of the Packages file of {label} has no field Package")
            if _field(stanza, b"Architecture") not in self._architectures:
                continue
            self._stanzas.setdefault(name, []).append((label, stanza))
            if b"\nEssential: yes" in stanza or b"\nPriority: required" in stanza:
                self._essential.add(name)
            if b"\nProvides:" in stanza:
                for group in parse_relations(_field(stanza, b"Provides").decode()):
                    self._providers.setdefault(group[0].name, set()).add(name)

    def names(self) -> Iterator[str]:
        """Return the names of all packages."""
        return iter(self._stanzas)

    def candidates(self, name: str) -> tuple[Candidate, ...]:
        """Return all versions of a package, the highest first; of equal ones, the suite added first."""
        if name not in self._parsed:
            found = [_candidate(label, stanza) for label, stanza in self._stanzas.get(name, ())]
            found.sort(key=cmp_to_key(_newest_first))
            self._parsed[name] = tuple(found)
        return self._parsed[name]

    def newest(self, name: str) -> Candidate | None:
        """Return the highest version of a package, or None where no suite has it."""
        return next(iter(self.candidates(name)), None)

    def providers(self, name: str) -> tuple[Candidate, ...]:
        """Return the highest versions of the packages that provide ``name``, by their names."""
        newest = (self.newest(provider) for provider in sorted(self._providers.get(name, ())))
        return tuple(
            candidate
            for candidate in newest
            if candidate is not None and any(provided.name == name for provided in candidate.provides)
        )

    def required(self) -> tuple[str, ...]:
        """Return the names of the packages that are essential or of priority required, in order."""
        return tuple(sorted(self._essential))


def _field(stanza: bytes, name: bytes) -> bytes:
    """Return a one-line field's value, empty where there is none."""
    start = 0 if stanza.startswith(name + b":") else stanza.find(b"\n" + name + b":") + 1
    if start == 0 and not stanza.startswith(name + b":"):
        return b""
    end = stanza.find(b"\n", start)
    return stanza[start + len(name) + 1 : end if end >= 0 else len(stanza)].strip()


def _newest_first(one: Candidate, other: Candidate) -> int:
    return compare(other.package.version, one.package.version)


def _candidate(label: str, stanza: bytes) -> Candidate:
    fields = parse_stanza(stanza.decode("utf-8", "replace"))
    what = f"{fields.get('Package', 'a package')} in {label}"
    path = required(fields, "Filename", what)
    if path.startswith("/") or ".." in path.split("/"):
        raise DataError(f"{what} lies outside the archive: {path!r}")
    try:
        size = int(required(fields, "Size", what))
    except ValueError as error:
        raise DataError(f"{what} has a size that is not a number") from error
    package = Package(
        name=required(fields, "Package", what),
        version=required(fields, "Version", what),
        architecture=required(fields, "Architecture", what),
        digest=Digest(required(fields, "SHA256", what)),
        size=size,
        path=path.removeprefix("./"),
        archive=label,
    )
    depends = parse_relations(f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}")
    provides = tuple(group[0] for group in parse_relations(fields.get("Provides", "")))
    return Candidate(package, depends, provides)
