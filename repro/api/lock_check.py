"""`repro lock --check`: of every file and image that a lock names, whether it can still be had, and from where."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from repro.api.bases import parsed
from repro.api.engine import opened
from repro.api.locked_files import LockedFiles
from repro.api.lockfile import LockFile
from repro.api.project import open_project
from repro.api.resolving import declared
from repro.data.answers import UnreachableError
from repro.data.cache import Wanted, vendored
from repro.dataclass import dataclass
from repro.errors import DataError, FetchError, LockError, ReproError
from repro.events import Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.locked_files import Files
    from repro.api.project import Project
    from repro.data.model import InputLock
    from repro.data.pinning import Pinner
    from repro.environment.model import Lock
    from repro.events import Sink
    from repro.workflow.model import DataSource

_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Availability:
    """A file or an image of a lock: ``places`` are among ``cache``, ``store``, ``vendor``, ``origin``; none: gone.

    ``doubt`` says why an origin could not be asked; it is empty where all were.
    """

    entry: str
    name: str
    places: tuple[str, ...]
    doubt: str = ""

    @property
    def gone(self) -> bool:
        """Whether it is nowhere, as far as could be asked."""
        return not self.places


def check_lock(host: Host, named: str | None, *, sink: Sink) -> tuple[Availability, ...]:
    """Return where each file and image of workflow.lock can be had; nothing is fetched or written.

    Raises:
        LockError: there is no lock, or a damaged one.
    """
    project = open_project(host, named)
    with opened(host, sink) as engine:
        lock_file = LockFile(project, engine, may_add=False)
        lock, files = lock_file.content, LockedFiles(engine, lock_file)
        if not lock.archives and not lock.environments and not lock.inputs:
            raise LockError(f"{project.lock_file.name} has nothing in it", hint="run `repro lock`")
        checker = _Checker(engine)
        found: list[Availability] = []
        for entry, group in _groups(project, lock, files):
            found += checker.files(entry, group)
        for entry, image in _images(lock):
            found.append(checker.image(entry, image))
        if project.workflow.inputs:
            engine.enter()  # before others are asked: that takes threads
            found += _inputs(lock_file, checker)
        return tuple(found)


def _groups(project: Project, lock: Lock, files: LockedFiles) -> Iterator[tuple[str, Files]]:
    """Yield the groups of files of all entries that are still declared, each with its entry's name."""
    for name, archive in lock.archives.items():
        yield name, files.archive(archive)
    for name, locked in lock.environments.items():
        if name in project.workflow.environments:
            for group in files.of(declared(project.workflow.environments[name], project), locked):
                yield name, group


def _images(lock: Lock) -> Iterator[tuple[str, str]]:
    """Yield the images of registries that environments are made of, each with the environment's name."""
    for name, locked in lock.environments.items():
        for pinned in (locked.base, *locked.froms.values()):
            if "@sha256:" in pinned:
                yield name, pinned


def _inputs(lock: LockFile, checker: _Checker) -> Iterator[Availability]:
    """Yield where the files of the inputs are; one that is bound in place as a whole counts as one file."""
    for path, source in lock.project.workflow.inputs.items():
        entry = lock.content.inputs.get(path)
        if entry is None:
            continue
        at_origin, doubt = _at_origin(lock.pinner, source, entry)
        if not entry.files:
            yield Availability(path, entry.uri, ("origin",) if at_origin is None else (), doubt)
        for file in entry.files:
            there = at_origin is None or file.name in at_origin
            yield checker.input(path, Wanted(f"{path}{file.name}", file.digest, file.size, ()), doubt, there=there)


def _at_origin(pinner: Pinner, source: DataSource, entry: InputLock) -> tuple[frozenset[str] | None, str]:
    """Return the names of files that the source has as locked, as it tells them; None: all of them. And any doubt."""
    try:
        if pinner.local(source) is not None:
            digest = pinner.digest(source)[0]
            return (None, "") if digest == entry.digest else (frozenset(), "it is not what was locked")
        return frozenset(pinner.there(source, entry)), ""
    except ReproError as error:
        return frozenset(), error.why or error.message


class _Checker:
    """Asks caches, vendor folders and origins. An origin that does not answer is not asked again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._silent: dict[str, str] = {}  # hosts that did not answer, and what happened

    def files(self, entry: str, group: Files) -> list[Availability]:
        """Return where the files of a group are."""
        wanted = list(group.wanted)
        doubt = ""
        if group.locate is not None:
            try:
                located = {item.digest: item for item in group.locate(wanted)}
            except ReproError as error:
                located, doubt = {}, error.why or error.message
            wanted = [located.get(item.digest, item) for item in wanted]
        found: list[Availability] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
            for one in pool.map(lambda item: self._file(entry, item, doubt), wanted):
                found.append(one)
                self._engine.sink(Progress(f"checking {group.what}", len(found), len(wanted), "files"))
        return found

    def input(self, entry: str, item: Wanted, doubt: str, *, there: bool) -> Availability:
        """Return where a file of an input is; ``there``: at its origin."""
        found = self._file(entry, item, doubt)
        places = (*found.places, "origin") if there else found.places
        return Availability(entry, item.name, places, "" if there else found.doubt)

    def image(self, entry: str, pinned: str) -> Availability:
        """Return where an image is, by its name and digest."""
        from repro.errors import Location  # noqa: PLC0415 - a place that no message shows

        reference = parsed(pinned, Location("", 1))
        assert reference.digest is not None  # only such are asked for
        store = self._engine.store
        known = store.refs().get(str(reference))
        places = ["store"] if known is not None and store.has_image(known) else []
        addresses = [vendored(vendor, reference.digest) for vendor in self._engine.host.vendors]
        if any(self._has(address)[0] for address in addresses):
            places.append("vendor")
        doubt = ""
        try:
            from repro.api.registries import open_registry  # noqa: PLC0415 - only to reach one

            registry = open_registry(self._engine.host, reference.domain)
            if registry.head_manifest(reference.path, reference.digest) is not None:
                places.append("origin")
        except (FetchError, DataError) as error:
            doubt = error.why or error.message
        return Availability(entry, pinned, tuple(places), doubt)

    def _file(self, entry: str, item: Wanted, doubt: str) -> Availability:
        places = ["cache"] if self._engine.downloads.find(item.digest) is not None else []
        vendors = [vendored(vendor, item.digest) for vendor in self._engine.host.vendors]
        for place, urls in (("vendor", vendors), ("origin", item.urls)):
            there, reason = self._any(urls)
            doubt = doubt or reason
            if there:
                places.append(place)
        return Availability(entry, item.name, tuple(places), "" if "origin" in places else doubt)

    def _any(self, urls: Sequence[str]) -> tuple[bool, str]:
        doubts = []
        for url in urls:
            there, doubt = self._has(url)
            if there:
                return True, ""
            doubts.append(doubt)
        return False, next((doubt for doubt in doubts if doubt), "")

    def _has(self, url: str) -> tuple[bool, str]:
        """Return whether a file is at ``url``, and why that cannot be said."""
        host = urlsplit(url).netloc
        if host in self._silent:
            return False, self._silent[host]
        try:
            return self._engine.transports.has(url), ""
        except UnreachableError as error:
            self._silent[host] = error.why or error.message
            self._engine.sink(Notice("warning", f"{urlsplit(url).hostname} does not answer: {self._silent[host]}"))
            return False, self._silent[host]
        except FetchError as error:
            return False, error.why or error.message
