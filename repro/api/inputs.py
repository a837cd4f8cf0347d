"""The ``inputs:`` of a workflow: pinned by its lock, checked where they lie here, fetched where they do not."""

from __future__ import annotations

import os
import threading
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from repro.data.checksum import signature, tree_digest
from repro.data.keeping import in_use, mark
from repro.dataclass import dataclass
from repro.errors import DataError, Interrupted, LockError
from repro.events import FileRecord, InputUsed
from repro.workflow.pinned import around
from repro.workflow.project import FolderProject, PinnedInput, PinnedProject

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.lockfile import LockFile
    from repro.api.project import Project
    from repro.data.checksum import Stamp
    from repro.data.model import InputFile, InputLock
    from repro.data.pinning import Pinner
    from repro.data.trees import Trees
    from repro.digest import Digest
    from repro.execution.assess import Checked
    from repro.workflow.model import DataSource


@dataclass(slots=True)
class _Known:
    """What this process knows of an input: its entry, and where it lies on this machine (None: nowhere).

    ``checked`` is what was seen of it as a whole, ``stamps`` those of the files in it then, by name.
    """

    source: DataSource
    entry: InputLock
    place: Path | None
    guard: threading.Lock = field(default_factory=threading.Lock)
    checked: Checked | None = None
    stamps: dict[str, Stamp] = field(default_factory=dict)
    _named: dict[str, InputFile] = field(default_factory=dict)

    def below(self, name: str) -> list[InputFile]:
        """Return the locked files that ``name`` means: all for nothing, one, or those of a folder in it."""
        if not name:
            return list(self.entry.files)
        if name.endswith("/"):
            return [file for file in self.entry.files if file.name.startswith(name)]
        if not self._named:
            self._named = {file.name: file for file in self.entry.files}
        return [self._named[name]] if name in self._named else []

    def stamps_of(self, name: str) -> dict[str, Stamp]:
        """Return the stamps that a file of the folder had, or all files in a folder of it."""
        if not name.endswith("/"):
            return {name: self.stamps[name]} if name in self.stamps else {}
        return {below: one for below, one in self.stamps.items() if below.startswith(name)}


class Inputs:
    """The pinned inputs of ``project``, as `repro.execution.pinned.Pinned` has them; safe from many threads.

    ``offline``: nothing is fetched; what would have to be is an error.
    """

    def __init__(self, project: Project, engine: Engine, lock: LockFile, *, offline: bool = False) -> None:
        self.project = project
        self._engine = engine
        self._lock = lock
        self._offline = offline
        self._sources = project.workflow.inputs
        self._placing: dict[str, threading.Lock] = {}
        self._placed: dict[str, Path] = {}
        self._inputs: dict[str, _Known] = {}
        self._guard = threading.Lock()
        self._stopped = False
        self._fetching: set[threading.Event] = set()  # set, each ends a fetch that is under way

    def pin(self) -> None:
        """Have every input in the lock; LockError when one may not be added."""
        stale = [path for path in self._sources if self._lock.current_input(path) is None]
        if stale:
            self._engine.enter()  # before anything is fetched: that takes threads
        for path in self._sources:
            self._lock.input(path)

    def in_use(self) -> AbstractContextManager[None]:
        """Keep what was fetched in the cache while the block runs."""
        return in_use(self._engine.downloads.root)

    # ---- what planning sees

    def files(self) -> PinnedProject:
        """Return the project's files together with the pinned ones, as far as they are known."""
        pinned = {path: PinnedInput(path, self._names(path), self._read) for path in self._sources}
        return PinnedProject(FolderProject(self.project.root), pinned)

    def _names(self, path: str) -> frozenset[str] | None:
        source = self._sources[path]
        if not source.folder:
            return frozenset()
        place = self.local(source)
        if place is not None and place.is_dir():
            return frozenset(_names_below(place))
        entry = self._lock.current_input(path)
        return None if entry is None else frozenset(file.name for file in entry.files)

    def _read(self, path: str) -> bytes:
        return self.place(path).read_bytes()

    # ---- the port of the executor

    def has(self, path: str) -> bool:
        """Return whether ``path`` is a declared input, or lies in one that is a folder."""
        return self._owner(path) is not None

    def check(self, path: str) -> Checked:
        """Return record and stamps of ``path``; what is not on this machine has the lock's word for it.

        Raises:
            LockError: it is not locked, or its declaration has changed since.
            DataError: what lies here is not what was locked.
        """
        source, name = self._split(path)
        known = self._known(source)
        if known.place is None:
            return self._promised(path, known, name), ()
        return self._part(path, known, name) if name else self._whole(known)

    def place(self, path: str) -> Path:
        """Return the host's path of ``path``, verified; fetched where it is not here yet."""
        source, name = self._split(path)
        known = self._known(source)
        if known.place is not None:
            self.check(path)
            return known.place / name if name else known.place
        with self._guard:
            lock = self._placing.setdefault(path, threading.Lock())
        with lock:
            if path not in self._placed:
                self._placed[path] = self._fetch(path, known, name)
            return self._placed[path]

    def stop(self) -> None:
        """End what is being fetched soon, and fetch nothing more."""
        self._stopped = True
        for event in list(self._fetching):
            event.set()

    def used(self, paths: Iterable[str]) -> tuple[InputUsed, ...]:
        """Return where the declared inputs come from that ``paths`` are of or lie in, each once, sorted by path."""
        owners = {source.path for path in paths if (source := self._owner(path)) is not None}
        told = []
        for owner in sorted(owners):
            entry = self._lock.input(owner)
            version = entry.files[0].version if len(entry.files) == 1 else ""
            told.append(InputUsed(owner, entry.uri, version, entry.digest, entry.size, entry.count, entry.fingerprint))
        return tuple(told)

    # ---- on this machine

    def local(self, source: DataSource) -> Path | None:
        """Return where a source lies on this machine; None where it has to be fetched."""
        return self._pinner.local(source)

    def _found(self, source: DataSource, entry: InputLock) -> Path | None:
        """Return where a source lies on this machine; None where its bytes are to be had by their digests instead.

        So are those of a file that another machine has at this path, where a vendor folder or the cache has them.
        """
        place = self.local(source)
        if place is None or place.exists() or not entry.files or not entry.proven:
            return place
        known = self._engine.host.vendors or all(self._engine.downloads.has(file.digest) for file in entry.files)
        return None if known else place

    def _known(self, source: DataSource) -> _Known:
        """Return what this process knows of an input; its entry is resolved where it is missing."""
        with self._guard:
            known = self._inputs.get(source.path)
        if known is None:
            entry = self._lock.input(source.path)
            known = _Known(source, entry, self._found(source, entry))
            with self._guard:
                known = self._inputs.setdefault(source.path, known)
        return known

    def _whole(self, known: _Known) -> Checked:
        """Return the record of a whole input on this machine; DataError where it is not what was locked."""
        source, entry, place = known.source, known.entry, known.place
        assert place is not None, "only asked of what is on this machine"
        with known.guard:
            # A label stands for whatever is there: nobody looks at a folder for it.
            looked_at = _exists(place, source) and not (source.folder and entry.fingerprint == "label")
            stamps = signature(place, folder=source.folder) if looked_at else ()
            if known.checked is not None and known.checked[1] == stamps:
                return known.checked
            digest, size = self._pinner.digest(source)
            if digest != entry.digest:
                raise self._pinner.drift(entry, digest)
            asserted = "" if entry.proven else entry.fingerprint
            known.stamps = dict(stamps)
            known.checked = FileRecord(source.path, digest, size, source.folder, asserted), stamps
            return known.checked

    def _part(self, path: str, known: _Known, name: str) -> Checked:
        """Return the record of something in a folder on this machine, all of which is as locked.

        The folder is looked at as a whole once; then only what this is about, until that has changed.
        """
        entry, place = known.entry, known.place
        assert place is not None, "only asked of what is on this machine"
        folder = path.endswith("/")
        if known.checked is None:
            self._whole(known)
        stamps = signature(place / name, folder=folder)
        if entry.fingerprint != "label" and known.stamps_of(name) != {f"{name}{below}": one for below, one in stamps}:
            self._whole(known)
        if entry.files:
            return self._promised(path, known, name), stamps
        if entry.proven:
            found = self._lock.cache.record(place, name)
            return FileRecord(path, found.digest, found.size, folder), stamps
        size = sum(stamp[2] for _, stamp in stamps)
        return FileRecord(path, self._pinner.part(entry, name), size, folder, entry.fingerprint), stamps

    # ---- elsewhere

    def _promised(self, path: str, known: _Known, name: str) -> FileRecord:
        """Return what the lock says of ``path``."""
        entry = known.entry
        if not name:
            return FileRecord(path, entry.digest, entry.size, entry.folder)
        files = known.below(name)
        if not files:
            raise DataError(f"input {path} is missing", why=f"the lock has no such file in {entry.path}")
        size = sum(file.size for file in files)
        if not path.endswith("/"):
            return FileRecord(path, files[0].digest, size)
        return FileRecord(path, _digest_below(files, name), size, folder=True)

    def _fetch(self, path: str, known: _Known, name: str) -> Path:
        """Have the bytes of ``path`` in the cache, and return where."""
        files = known.below(name)
        missing = [file for file in files if not self._pinner.intact(file)]
        if missing and self._offline:
            raise DataError(f"{path} is not here yet", hint=f"fetch it with `repro data get {path}`")
        if missing:
            self._engine.enter()  # before anything is fetched: that takes threads
            self._bring(known, missing)
        downloads = self._engine.downloads
        for file in files:
            mark(downloads.root, file.digest)
        if not path.endswith("/"):
            return downloads.path(files[0].digest)
        digest = known.entry.digest if not name else _digest_below(files, name)
        return self._trees.build(_relative(files, name), digest)

    def _bring(self, known: _Known, files: list[InputFile]) -> None:
        stop = threading.Event()
        self._fetching.add(stop)
        try:
            if self._stopped:
                raise Interrupted("nothing more is fetched")
            self._pinner.fetch(known.source, known.entry, files, stop)
        finally:
            self._fetching.discard(stop)

    def listed(self, path: str) -> bool:
        """Return whether the input that ``path`` is, or lies in, is locked file by file, as servers list them."""
        return bool(self._known(self._split(path)[0]).entry.files)

    def cached(self, path: str) -> bool:
        """Return whether all files of the input ``path`` are in the cache; their bytes are not looked at."""
        return all(self._engine.downloads.has(file.digest) for file in self._lock.input(path).files)

    def damaged(self, path: str) -> list[str]:
        """Return the names of the input's files whose cached bytes are not the right ones; these are removed."""
        downloads = self._engine.downloads
        there = [file for file in self._lock.input(path).files if downloads.has(file.digest)]
        return [file.name or path for file in there if downloads.find(file.digest) is None]

    # ---- parts

    @cached_property
    def _pinner(self) -> Pinner:
        return self._lock.pinner

    @cached_property
    def _trees(self) -> Trees:
        from repro.data.trees import Trees  # noqa: PLC0415 - only where a folder is fetched

        return Trees(self._engine.downloads)

    def _owner(self, path: str) -> DataSource | None:
        found = around(self._sources, path)
        return None if found is None else self._sources[found]

    def _split(self, path: str) -> tuple[DataSource, str]:
        """Return the declared input that ``path`` is or lies in, and what of it is meant: nothing for the whole."""
        source = self._owner(path)
        if source is None:
            raise LockError(f"{path} is not among the inputs of the workflow")
        name = "" if path.rstrip("/") == source.path.rstrip("/") else path[len(source.path) :]
        return source, name


def _exists(place: Path, source: DataSource) -> bool:
    return place.is_dir() if source.folder else place.is_file()


def _relative(files: Iterable[InputFile], name: str) -> list[InputFile]:
    """Return the files with their names in the folder ``name``."""
    return [replace(file, name=file.name[len(name) :]) for file in files] if name else list(files)


def _digest_below(files: Iterable[InputFile], name: str) -> Digest:
    return tree_digest((file.name[len(name) :], file.digest) for file in files)


def _names_below(folder: Path) -> Iterable[str]:
    """Yield the names of all files below a folder; links to folders are not followed."""
    top = os.fspath(folder)
    for place, _, names in os.walk(top):
        prefix = "" if place == top else f"{place[len(top) + 1 :]}/"
        for name in names:
            yield prefix + name
