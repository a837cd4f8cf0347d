"""What stays in a cache of downloads: when each file and tree was last used, and what goes when there are too many.

::

    <root>/used/<hex>    empty; its mtime is when the file, or the tree, of that digest was last used
    <root>/users         flocked: shared by whoever uses the cache, alone by whoever removes from it

The use is noted beside the file, because its own times must not move: they tell that its bytes were not changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from repro.data.part import OLD, SUFFIX, TAKEN, remove_part
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import BusyError, DataError
from repro.files import Lock, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BLOBS: Final = "sha256"
TREES: Final = "trees"
PARTS: Final = "tmp"
_GONE = ".gone-"  # begins the names of trees that are being removed
_USED = "used"
_USERS = "users"
_Inode: TypeAlias = tuple[int, int]  # device and number


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cache holds: bytes on its disk, how many files and folders of files, and downloads under way."""

    bytes: int
    files: int
    trees: int
    parts: int


@dataclass(frozen=True, slots=True)
class Freed:
    """What `evict` removed, or would: ``count`` files and folders that took ``bytes``; ``left`` are in the cache."""

    count: int
    bytes: int
    left: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file, a tree or a part, which goes as a whole: when it was ``used``, in seconds, and what inodes it has."""

    used: float
    kind: str
    path: Path
    digest: Digest | None
    inodes: frozenset[_Inode]


def mark(root: Path, digest: Digest) -> None:
    """Note that the file or tree with ``digest`` is used now; where that cannot be noted, it only goes earlier."""
    path = root / _USED / digest.hex
    with contextlib.suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))


@contextlib.contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Keep `evict` away while the block runs: what is in the cache at ``root`` stays. May be nested and shared."""
    lock = Lock(root / _USERS)
    with contextlib.suppress(OSError):  # nobody of our kind can remove anything from where we cannot write
        lock.acquire(shared=True)
    try:
        yield
    finally:
        lock.release()


def usage(root: Path) -> Usage:
    """Return what the cache at ``root`` holds; a file that is also in trees counts once."""
    entries, sizes = _scan(root)
    kinds = Counter(entry.kind for entry in entries)
    return Usage(sum(sizes.values()), kinds[BLOBS], kinds[TREES], kinds[PARTS])


def evict(root: Path, limit: int, keep: Iterable[Digest] = (), *, dry_run: bool = False) -> Freed:
    """Remove files, trees and broken-off downloads, those first that were not used for longest.

    Args:
        root: the cache.
        limit: bytes that may stay. Where files share their blocks (reflinks), each counts.
        keep: files and trees that stay in any case, with what is linked to them.
        dry_run: remove nothing; return what would be.

    Raises:
        BusyError: another process uses the cache.
    """
    if not root.is_dir():
        return Freed(0, 0, 0)
    with contextlib.nullcontext() if dry_run else _alone(root):
        if not dry_run:
            _sweep(root)
        entries, sizes = _scan(root)
        kept = set(keep)
        pinned = {inode for entry in entries if entry.digest in kept for inode in entry.inodes}
        links = Counter(inode for entry in entries for inode in entry.inodes)
        left, count, freed = sum(sizes.values()), 0, 0
        for entry in sorted(entries, key=lambda entry: (entry.used, entry.path)):
            if left <= limit:
                break
            if entry.digest in kept or not pinned.isdisjoint(entry.inodes) or not (dry_run or _remove(entry)):
                continue
            links.subtract(entry.inodes)
            gone = sum(sizes[inode] for inode in entry.inodes if not links[inode])
            left, freed, count = left - gone, freed + gone, count + 1
        if not dry_run:
            _forget_marks(root)
        return Freed(count, freed, left)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the cache alone; BusyError where another process uses it."""
    lock = Lock(root / _USERS)
    try:
        lock.acquire(wait=False)
    except BusyError as error:
        raise BusyError(
            f"the cache {root} is in use", why="another `repro` fetches or runs jobs", hint="wait until that has ended"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _scan(root: Path) -> tuple[list[_Entry], dict[_Inode, int]]:
    """Return what may go, and the sizes of all files in it by inode."""
    entries: list[_Entry] = []
    sizes: dict[_Inode, int] = {}
    for path in _names(root / BLOBS):
        for file in _names(path):
            entries += _entry(root, BLOBS, file, sizes)
    for path in _names(root / TREES):
        entries += _entry(root, TREES, path, sizes)
    for path in _names(root / PARTS):
        if path.suffix == SUFFIX:
            entries += _entry(root, PARTS, path, sizes)
    return entries, sizes


def _names(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(root: Path, kind: str, path: Path, sizes: dict[_Inode, int]) -> Iterator[_Entry]:
    """Yield the entry at ``path``, if it is one, and note the sizes of its files."""
    digest = None
    if kind != PARTS:
        try:
            digest = Digest(path.name)
        except DataError:
            return
    try:
        status = os.lstat(path)
        used = status.st_mtime if digest is None else _last_used(root, digest, status)
    except FileNotFoundError:
        return
    inodes = set()
    for file in _files(path, status):
        inode = file.st_dev, file.st_ino
        inodes.add(inode)
        sizes[inode] = file.st_size
    yield _Entry(used, kind, path, digest, frozenset(inodes))


def _last_used(root: Path, digest: Digest, status: os.stat_result) -> float:
    """Return when something was used: what the mark says, else when it came."""
    try:
        return os.stat(root / _USED / digest.hex).st_mtime
    except FileNotFoundError:
        return status.st_ctime


def _files(path: Path, status: os.stat_result) -> Iterator[os.stat_result]:
    """Yield the states of all files at and below ``path``."""
    if not stat.S_ISDIR(status.st_mode):
        yield status
        return
    pending = [os.fspath(path)]
    while pending:
        with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False)


def _remove(entry: _Entry) -> bool:
    """Remove an entry; return whether it is gone. A tree that is partly gone is none: it loses its name first."""
    if entry.kind == PARTS:
        return remove_part(entry.path, float("inf"))
    if entry.kind == BLOBS:
        entry.path.unlink(missing_ok=True)
        return True
    gone = entry.path.with_name(f"{_GONE}{entry.path.name}")
    os.rename(entry.path, gone)
    remove_tree(gone)
    return True


def _sweep(root: Path) -> None:
    """Remove trees that killed processes were building or removing, and notes that nobody came back for."""
    for path in _names(root / TREES):
        if path.name.startswith("."):
            remove_tree(path)
    before = time.time() - OLD
    for path in _names(root / PARTS):
        with contextlib.suppress(FileNotFoundError):
            if path.suffix == TAKEN and path.stat().st_mtime < before:
                path.unlink()


def _forget_marks(root: Path) -> None:
    """Remove the marks of what is not there any more."""
    for path in _names(root / _USED):
        if not (root / BLOBS / path.name[:2] / path.name).exists() and not (root / TREES / path.name).exists():
            path.unlink(missing_ok=True)
