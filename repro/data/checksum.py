"""Digests of files and folders, remembered by stat so that unchanged bytes are not read twice.

The cache saves work and decides nothing: an entry stands for the bytes only where the file's times prove that it
cannot have been written since it was hashed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import stat
import time
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from repro.data.clocks import Clocks
from repro.data.statfile import NOTHING, Entries
from repro.digest import Digest, Json, record_digest
from repro.errors import DataError
from repro.events import FileRecord
from repro.files import locked, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

Stamp: TypeAlias = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
Signature: TypeAlias = tuple[tuple[str, Stamp], ...]

_Found: TypeAlias = tuple[str, int]  # hex digest and size in bytes

_WORTH_THREAD = 4 << 20  # bytes: handing single small files to threads takes twice what hashing them does
_MOST_IN_GROUP = 2000  # files; more small ones than that are shared between threads, however few bytes they have
# A file of fewer bytes is system calls and Python for the most part, for which threads only wait for each other: 10,000
# of 1 kB took one thread 0.2 s, and two 0.45 s. Where it is the disk or a server that is waited for, they help.
_SMALL = 1 << 14
_SAMPLE = 200  # small files that tell which of the two it is
_DAY_NS = 86_400 * 10**9
_DAYS_UNTOLD = 7  # that a use may stay unwritten, so that a run in which nothing changes writes nothing
_TREE = "tree/1"
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
_NAME = itemgetter(0)  # of a TreeEntry


class TreeEntry(NamedTuple):  # made in a quarter of a frozen dataclass's time, which counts for 100,000 files
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
    if all(map(str.isascii, map(_NAME, entries))):
        entries.sort(key=_NAME)  # the same order, sooner
    else:
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
            name, path = prefix + item.name, item.path
            status = item.stat(follow_symlinks=False)
            kind = _KINDS.get(stat.S_IFMT(status.st_mode))
            if kind is None:
                message = f"{path} is no file, folder or link"
                raise DataError(message, hint="keep sockets, pipes and devices elsewhere")
            if kind == "folder":
                pending.append((path, f"{name}/"))
            yield TreeEntry(name, path, kind, status)


def stamp(status: os.stat_result) -> Stamp:
    """Return what tells one state of a file from another without reading it."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def signature(path: Path | str, *, folder: bool, entries: Sequence[TreeEntry] | None = None) -> Signature:
    """Return the stamps of the file ``path`` leads to, or of all in the folder; DataError if missing.

    A folder's own times count for nothing: only what it holds does. ``entries`` are what `walk` just found in it.
    """
    if folder:
        entries = walk(path) if entries is None else entries
        return tuple((entry.name, stamp(entry.status)) for entry in entries if entry.kind != "folder")
    try:
        return (("", stamp(os.stat(path))),)
    except OSError as error:
        raise unreadable(path, error) from error


def tree_digest(files: Iterable[tuple[str, Digest]]) -> Digest:
    """Return `StatCache.digest_folder` of a tree of these files, none of them executable, from names and digests.

    The folders are those in the names; the order does not matter.

    Raises:
        DataError: two files have one name, a file is also a folder, or a name leads out of the tree.
    """
    lines: dict[bytes, list[Json]] = {}
    folders: set[str] = set()
    for name, digest in files:
        key = os.fsencode(name)
        parts = name.split("/")
        if key in lines or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise DataError(f"no tree can have a file {name!r}", why="it is there already" if key in lines else None)
        lines[key] = [text_of(name), "file", False, digest.hex]
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    for folder in folders:
        if (key := os.fsencode(folder)) in lines:
            raise DataError(f"no tree can have {folder!r} as a file and as a folder")
        lines[key] = [text_of(folder), "folder"]
    return record_digest(_TREE, [lines[key] for key in sorted(lines)])


class StatCache:
    """Digests by path and times, kept in one file; safe to use from many threads, processes and machines.

    An entry is kept only if mtime and ctime were clearly older than the moment at which hashing began, on the clock
    that stamps the file (git's rule against "racy" entries): otherwise a later write could leave the times as they
    were. It stands for the bytes while path, inode, size, mtime and ctime are the same: a copy has another inode, a
    restored backup another ctime. The device is left out, as a network file system has another number on each machine
    that mounts it, and btrfs after each start; a rewritten file has another ctime on all of them.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns, clocks: Clocks | None = None) -> None:
        self.path = path
        self.hashed = 0  # bytes of files that had to be read, for people
        self._now_ns = now_ns
        self._clocks = clocks or Clocks(path.parent, now_ns=now_ns)
        self._entries = Entries()
        self._used: set[str] = set()
        self._changed = False
        self._long_ago = self._today() - _DAYS_UNTOLD

    def load(self) -> None:
        """Read the file; one that is missing, damaged or of another version counts as empty."""
        self._entries = self._read()

    def save(self) -> None:
        """Merge what was learnt into the file, atomically; where that cannot be, only time is lost."""
        if not self._changed:
            return
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                data = self._read().to_bytes(self._entries, list(self._used), self._today())
                write_atomic(self.path, data, durable=False)
            self._changed = False
        except OSError as error:
            log.debug("%s was not saved: %s", self.path, error)

    def digest_file(self, path: Path | str) -> tuple[Digest, int]:
        """Return digest and size in bytes of the file that ``path`` leads to.

        Raises:
            DataError: it is missing, unreadable, no regular file, or changed while it was read.
        """
        name = str(path)
        found = self._remembered(name)
        if found is None:
            found = self._hash(name)
            self.hashed += found[1]
        return Digest(found[0]), found[1]

    def digest_files(self, paths: Sequence[str]) -> list[tuple[Digest, int]]:
        """Return `digest_file` of each in order, hashing several at a time."""
        return [(Digest(digest), size) for digest, size in self._digests(paths, [None] * len(paths))]

    def digest_folder(self, path: Path | str) -> tuple[Digest, int]:
        """Return a tree's digest and the size in bytes of its files; DataError as `walk` and `digest_file`.

        Names, kinds, executable bits, link targets and contents decide it; owners, other mode bits and times
        do not.
        """
        return self.digest_tree(path)[:2]

    def digest_tree(self, path: Path | str, entries: Sequence[TreeEntry] | None = None) -> tuple[Digest, int, int]:
        """Return `digest_folder`, and the number of files; ``entries`` are what `walk` just found."""
        entries = walk(path) if entries is None else entries
        plain = [entry for entry in entries if entry.kind == "file"]
        files = self._digests([entry.path for entry in plain], [entry.status for entry in plain])
        contents = iter(files)
        lines: list[Json] = []  # of tuples: a list for each of 100,000 files would keep the collector busy
        for name, place, kind, status in entries:
            if kind == "file":
                lines.append((text_of(name), kind, status.st_mode & stat.S_IXUSR != 0, next(contents)[0]))
            elif kind == "link":
                lines.append((text_of(name), kind, text_of(os.readlink(place))))
            else:
                lines.append((text_of(name), kind))
        return record_digest(_TREE, lines), sum(size for _, size in files), len(files)

    def record(self, project: Path, rel: str, entries: Sequence[TreeEntry] | None = None) -> FileRecord:
        """Return what is known of the project path ``rel``, a folder where it ends in ``/``.

        A symbolic link stands for what it leads to. ``entries`` are what `walk` just found in a folder. DataError as
        `digest_file` and `digest_folder`.
        """
        path = os.path.join(project, rel)
        if rel.endswith("/"):
            digest, size, _ = self.digest_tree(path, entries)
            return FileRecord(rel, digest, size, folder=True)
        digest, size = self.digest_file(path)
        return FileRecord(rel, digest, size)

    def records(self, project: Path, rels: Sequence[str]) -> tuple[FileRecord, ...]:
        """Return `record` of each, in order, hashing files several at a time."""
        single = [rel for rel in rels if not rel.endswith("/")]
        found = self.digest_files([os.path.join(project, rel) for rel in single])
        known = {rel: FileRecord(rel, digest, size) for rel, (digest, size) in zip(single, found, strict=True)}
        return tuple(known[rel] if rel in known else self.record(project, rel) for rel in rels)

    def _digests(self, paths: Sequence[str], stats: Sequence[os.stat_result | None]) -> list[_Found]:
        """Return hex digest and size of each file in order; ``stats`` are those that were just taken."""
        known = [self._remembered(path, status) for path, status in zip(paths, stats, strict=True)]
        sizes = {
            index: _size(paths[index]) if (status := stats[index]) is None else status.st_size
            for index, found in enumerate(known)
            if found is None
        }

        def hash_group(group: Sequence[int]) -> None:
            for index in group:
                known[index] = self._hash(paths[index])

        small = [index for index, size in sizes.items() if size < _SMALL]
        sample, alone = small[:_SAMPLE], small[_SAMPLE:]
        before = _waits()
        hash_group(sample)
        shared = {index: size for index, size in sizes.items() if size >= _SMALL}
        if _waits() - before > len(sample) // 2:
            shared, alone = shared | {index: sizes[index] for index in alone}, []
        _share(hash_group, _groups(shared), alone)
        found = cast("list[_Found]", known)  # no gap is left
        self.hashed += sum(found[index][1] for index in sizes)
        return found

    def _remembered(self, path: str, status: os.stat_result | None = None) -> _Found | None:
        """Return what is known of the file as it is now; None where it must be read."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        inode, size, mtime, ctime, day, digest = entry
        try:
            now = self._clocks.status(path, status)
        except OSError:
            return None
        if (inode, size, mtime, ctime) != (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns):
            return None
        if ctime > self._now_ns():  # the clock was set back: it may come past this very time again
            self._entries.put(path, NOTHING)
            self._changed = True
            return None
        if path not in self._used:
            self._used.add(path)
            self._changed = self._changed or day < self._long_ago
        return digest.hex(), size

    def _hash(self, path: str) -> _Found:
        try:
            # O_NONBLOCK: opening a named pipe must not wait for a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                _require_file(path, before)
                settled = self._clocks.settled_ns(path, before)
                digest = _sha256(descriptor, before.st_size)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unreadable(path, error) from error
        if stamp(before) != stamp(after):
            raise DataError(f"{path} changed while it was read", hint="wait until nothing writes to it, then run again")
        if max(before.st_mtime_ns, before.st_ctime_ns) < settled:
            times = (before.st_mtime_ns, before.st_ctime_ns)
            known = (before.st_ino, before.st_size, *times, self._today(), digest)
            self._entries.put(path, known)
            self._used.add(path)
            self._changed = True
        return digest.hex(), before.st_size

    def _read(self) -> Entries:
        try:
            return Entries.parse(self.path.read_bytes())
        except OSError:
            return Entries()

    def _today(self) -> int:
        return max(0, self._now_ns() // _DAY_NS)


def _groups(sizes: Mapping[int, int]) -> list[list[int]]:
    """Return files by size in groups that are worth a thread, the largest first: none is left for one at the end."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if room <= 0 or len(groups[-1]) >= _MOST_IN_GROUP:
            groups.append([])
            room = _WORTH_THREAD
        groups[-1].append(index)
        room -= sizes[index]
    return groups


def _share(do: Callable[[Sequence[int]], None], groups: Sequence[Sequence[int]], alone: Sequence[int]) -> None:
    """Do ``groups`` in a thread for each CPU, and ``alone`` in this one meanwhile; what one of them raises ends all."""
    workers = min(len(groups), len(os.sched_getaffinity(0)))
    if workers + bool(alone) < 2:
        for group in (*groups, alone):
            do(group)
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not paid where nothing is hashed

    with ThreadPoolExecutor(workers) as pool:
        try:
            under_way = pool.map(do, groups)
            do(alone)
            list(under_way)  # raises what a thread did
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sha256(descriptor: int, size: int) -> bytes:
    """Return the sha256 of an open file's bytes, of which stat(2) says that there are ``size``."""
    if size < _SMALL:
        data = os.read(descriptor, size + 1)  # a read that brings fewer bytes than asked for was the last one
        if len(data) == size:
            return hashlib.sha256(data).digest()
        os.lseek(descriptor, 0, os.SEEK_SET)
    return bytes.fromhex(Digest.of_open_file(descriptor).hex)


def _waits() -> int:
    """Return how often this thread has waited so far: for a disk, a server, another thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


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


def text_of(name: str) -> str:
    """Return the name's bytes as text that any JSON encoder takes: one character a byte."""
    return name if name.isascii() else os.fsencode(name).decode("latin-1")


def unreadable(path: Path | str, error: OSError) -> DataError:
    """Return what a failed system call means for who named ``path``."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{path} is missing")
    return DataError(f"{path} cannot be read", why=error.strerror)
