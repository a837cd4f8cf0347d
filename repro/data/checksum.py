"""Digests of files and folders, remembered by stat so that unchanged bytes are not read twice.

The cache saves work and decides nothing: an entry stands for the bytes only where the file's times prove that
    it cannot have been written since it was hashed.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass
from repro.digest import Digest, Json, record_digest
from repro.errors import DataError
from repro.events import FileRecord
from repro.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

Stamp: TypeAlias = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
Signature: TypeAlias = tuple[tuple[str, Stamp], ...]

# A write within one tick of the clock that stamps files leaves their times as they were. Ticks: 10 ms at most
# in the kernel, 1 s on older NFS servers, 2 s on FAT.
_RACY_NS = 2_000_000_000
_WORTH_THREADS = 4 << 20  # bytes below which starting threads costs more than it saves
_MOST_ENTRIES = 200_000  # above this, entries that a session did not use are forgotten
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """Something in a folder: ``name`` relative to it, ``kind`` one of ``file``, ``folder``, ``link``."""

    name: str
    path: str
    kind: str
    status: os.stat_result


def walk(folder: Path | str) -> list[TreeEntry]:
    """Return everything below ``folder``, sorted by the bytes of the relative name; links are not followed.

    Raises:
        DataError: something in it is no file, folder or link (a socket, a device), or it cannot be read.
    """
    entries = list(_walk(str(folder)))
    entries.sort(key=lambda entry: os.fsencode(entry.name))
    return entries


def _walk(top: str) -> Iterator[TreeEntry]:
    pending = [(top, "")]  # no recursion: a folder may be deeper than the stack
    while pending:
        folder, prefix = pending.pop()
        try:
            with os.scandir(folder) as scan:
                found = list(scan)
        except OSError as error:
            raise DataError(f"{folder} cannot be read", why=error.strerror) from error
        for item in found:
            name = prefix + item.name
            status = item.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield TreeEntry(name, item.path, "folder", status)
                pending.append((item.path, f"{name}/"))
            elif stat.S_ISREG(status.st_mode):
                yield TreeEntry(name, item.path, "file", status)
            elif stat.S_ISLNK(status.st_mode):
                yield TreeEntry(name, item.path, "link", status)
            else:
                message = f"{item.path} is no file, folder or link"
                raise DataError(message, hint="keep sockets, pipes and devices elsewhere")


def stamp(status: os.stat_result) -> Stamp:
    """Return what tells one state of a file from another without reading it."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def signature(path: Path | str, *, folder: bool) -> Signature:
    """Return the stamps of the file ``path`` leads to, or of all in the folder; DataError if missing.

    A folder's own times count for nothing: only what it holds does.
    """
    if folder:
        return tuple((entry.name, stamp(entry.status)) for entry in walk(path) if entry.kind != "folder")
    try:
        return (("", stamp(os.stat(path))),)
    except OSError as error:
        raise _unreadable(path, error) from error


class StatCache:
    """Digests by path and stamp, kept in one JSON file; safe to use from many threads.

    An entry is kept only if mtime and ctime were clearly older than the moment at which hashing began (git's
    rule against "racy" entries): otherwise a later write could leave the stamp as it was.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._now_ns = now_ns
        self._entries: dict[str, tuple[Stamp, Digest]] = {}
        self._used: set[str] = set()
        self._changed = False

    def load(self) -> None:
        """Read the file; one that is missing, damaged or of another version counts as empty."""
        try:
            document = json.loads(self.path.read_bytes())
            if document["version"] != _VERSION:
                return
            self._entries = {
                path: ((device, inode, size, mtime, ctime), Digest(hexadecimal))
                for path, (device, inode, size, mtime, ctime, hexadecimal) in document["entries"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
            self._entries = {}

    def save(self) -> None:
        """Write the file atomically if anything was learnt; where it cannot be, only time is lost."""
        if not self._changed:
            return
        entries = dict(self._entries)
        if len(entries) > _MOST_ENTRIES:
            entries = {path: entry for path, entry in entries.items() if path in self._used}
        document = {
            "version": _VERSION,
            "entries": {path: [*key, d.hex] for path, (key, d) in entries.items()},
        }
        try:
            write_atomic(self.path, json.dumps(document, separators=(",", ":")).encode(), durable=False)
            self._changed = False
        except OSError as error:
            log.debug("%s was not saved: %s", self.path, error)

    def digest_file(self, path: Path | str) -> tuple[Digest, int]:
        """Return digest and size in bytes of the file that ``path`` leads to.

        Raises:
            DataError: it is missing, unreadable, no regular file, or changed while it was read.
        """
        name = str(path)
        return self._remembered(name) or self._hash(name)

    def digest_files(self, paths: Sequence[str]) -> list[tuple[Digest, int]]:
        """Return `digest_file` of each in order, hashing several at a time."""
        known = [self._remembered(path) for path in paths]
        missing = [index for index, found in enumerate(known) if found is None]
        workers = min(len(missing), len(os.sched_getaffinity(0)))
        if workers > 1 and sum(_size(paths[index]) for index in missing) >= _WORTH_THREADS:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not paid where nothing is hashed

            with ThreadPoolExecutor(workers) as pool:
                hashed = list(pool.map(self._hash, (paths[index] for index in missing)))
        else:
            hashed = [self._hash(paths[index]) for index in missing]
        fresh = dict(zip(missing, hashed, strict=True))
        return [found if found is not None else fresh[index] for index, found in enumerate(known)]

    def digest_folder(self, path: Path | str) -> tuple[Digest, int]:
        """Return a tree's digest and the size in bytes of its files; DataError as `walk` and `digest_file`.

        Names, kinds, executable bits, link targets and contents decide it; owners, other mode bits and times
        do not.
        """
        entries = walk(path)
        files = self.digest_files([entry.path for entry in entries if entry.kind == "file"])
        contents = iter(files)
        lines: list[Json] = []
        for entry in entries:
            name = _text(entry.name)
            if entry.kind == "file":
                lines.append([name, "file", bool(entry.status.st_mode & stat.S_IXUSR), next(contents)[0].hex])
            elif entry.kind == "link":
                lines.append([name, "link", _text(os.readlink(entry.path))])
            else:
                lines.append([name, "folder"])
        return record_digest("tree/1", lines), sum(size for _, size in files)

    def record(self, project: Path, rel: str) -> FileRecord:
        """Return what is known of the project path ``rel``, a folder where it ends in ``/``.

        A symbolic link stands for what it leads to. DataError as `digest_file` and `digest_folder`.
        """
        path = os.path.join(project, rel)
        if rel.endswith("/"):
            digest, size = self.digest_folder(path)
            return FileRecord(rel, digest, size, folder=True)
        digest, size = self.digest_file(path)
        return FileRecord(rel, digest, size)

    def records(self, project: Path, rels: Sequence[str]) -> tuple[FileRecord, ...]:
        """Return `record` of each, in order, hashing files several at a time."""
        single = [rel for rel in rels if not rel.endswith("/")]
        found = self.digest_files([os.path.join(project, rel) for rel in single])
        known = {rel: FileRecord(rel, digest, size) for rel, (digest, size) in zip(single, found, strict=True)}
        return tuple(known[rel] if rel in known else self.record(project, rel) for rel in rels)

    def _remembered(self, path: str) -> tuple[Digest, int] | None:
        entry = self._entries.get(path)
        if entry is None:
            return None
        try:
            status = os.stat(path)
        except OSError:
            return None
        if entry[0] != stamp(status):
            return None
        self._used.add(path)
        return entry[1], status.st_size

    def _hash(self, path: str) -> tuple[Digest, int]:
        moment = self._now_ns()
        try:
            # O_NONBLOCK: opening a named pipe must not wait for a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                _require_file(path, before)
                digest = Digest.of_open_file(descriptor)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(path, error) from error
        if stamp(before) != stamp(after):
            raise DataError(f"{path} changed while it was read", hint="wait until nothing writes to it, then run again")
        if max(before.st_mtime_ns, before.st_ctime_ns) < moment - _RACY_NS:
            self._entries[path] = (stamp(before), digest)
            self._used.add(path)
            self._changed = True
        return digest, before.st_size


def _require_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path} is a folder", hint=f"write it with a slash at its end: {path}/")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is no regular file")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # hashing it says what is wrong


def _text(name: str) -> str:
    """Return the name's bytes as text that any JSON encoder takes: one character a byte."""
    return os.fsencode(name).decode("latin-1")


def _unreadable(path: Path | str, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{path} is missing")
    return DataError(f"{path} cannot be read", why=error.strerror)
