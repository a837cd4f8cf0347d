"""Folders of cached files: ``<root>/trees/<hex>/``, named by the digest of the tree and bound into jobs as they are.

Their files share blocks with the cached ones (reflinks), or else inodes (hard links, which stay inside the cache);
only where a file system can do neither are the bytes there twice. A tree is made under another name and renamed when
it is whole. Nothing in it is ever written to: a tree that is not as it was is mended file by file, by rename, so that
a job that has it sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from repro.data.blobs import MAKE_ROOM, NO_ROOM
from repro.data.checksum import StatCache, tree_digest, walk
from repro.data.keeping import TREES, in_use, mark
from repro.errors import BusyError, CorruptError, StoreError
from repro.files import Lock, fsync_folder, reflink, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.data.model import InputFile
    from repro.digest import Digest

_NEW = ".new-"  # begins the names of trees in the making
_LOCK = ".lock"
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


class Trees:
    """The trees of the cache ``downloads``; processes and threads may share them."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads
        self._root = downloads.root / TREES
        self._links = _Links()

    def path(self, digest: Digest) -> Path:
        """Return where the tree with ``digest`` lies, or would."""
        return self._root / digest.hex

    def build(self, files: Sequence[InputFile], digest: Digest) -> Path:
        """Return the tree of ``files``, which are in the cache; made, or mended, where it is not whole.

        Idempotent. Folders in it have mode 0755, files 0444 and no time of today.

        Raises:
            CorruptError: ``files`` are not those of ``digest``.
            DataError: a name leads out of the tree, or is a file and a folder (`repro.data.checksum.tree_digest`).
            StoreError: a file is not in the cache, or the tree cannot be written.
        """
        found = tree_digest((file.name, file.digest) for file in files)
        if found != digest:
            raise CorruptError(f"the files listed are not those of the tree {digest}", why=f"they make {found}")
        wanted = {file.name: self._downloads.path(file.digest) for file in files}
        target = self.path(digest)
        try:
            with in_use(self._downloads.root):
                if not self._whole(target, wanted):
                    self._root.mkdir(parents=True, exist_ok=True)
                    with self._building(digest):
                        (self._mend if target.is_dir() else self._make)(target, wanted)
                mark(self._downloads.root, digest)
        except OSError as error:
            raise _unbuilt(target, error) from error
        return target

    def verify(self, digest: Digest) -> bool:
        """Return whether the tree is there and its bytes are those of ``digest``; reads all of them."""
        path = self.path(digest)
        forgetful = StatCache(self._root)  # neither loaded nor saved
        return path.is_dir() and forgetful.digest_folder(path)[0] == digest

    def _make(self, target: Path, wanted: dict[str, Path]) -> None:
        new = self._root / f"{_NEW}{target.name}"
        remove_tree(new)  # of a process that was killed: we have the lock
        try:
            for folder in (new, *(new / name for name in _folders(wanted))):
                _make_folder(folder)
            for name, blob in wanted.items():
                self._links.put(blob, new / name)
            os.rename(new, target)
        except OSError:
            remove_tree(new)  # a full disk needs the room
            raise
        fsync_folder(self._root)

    def _whole(self, target: Path, wanted: dict[str, Path]) -> bool:
        """Return whether the tree is there, with these names and with files that nobody touched."""
        if not target.is_dir():
            return False
        entries = walk(target)
        files = {entry.name: entry.status for entry in entries if entry.kind == "file"}
        folders = [entry.name for entry in entries if entry.kind == "folder"]
        return (
            len(files) + len(folders) == len(entries)
            and files.keys() == wanted.keys()
            and sorted(folders) == _folders(wanted)
            and all(_same(status, os.stat(wanted[name])) for name, status in files.items())
        )

    def _mend(self, target: Path, wanted: dict[str, Path]) -> None:
        """Put right what is not as it was; what does not belong there goes."""
        if self._whole(target, wanted):
            return
        folders = set(_folders(wanted))
        for entry in walk(target):
            if entry.name not in (folders if entry.kind == "folder" else wanted):
                remove_tree(target / entry.name)
        for folder in sorted(folders):
            if not (target / folder).is_dir():
                _make_folder(target / folder)
        for name, blob in wanted.items():
            path = target / name
            with contextlib.suppress(FileNotFoundError):
                if _same(os.lstat(path), os.stat(blob)):
                    continue
            new = self._root / f"{_NEW}{target.name}"
            remove_tree(new)
            self._links.put(blob, new)
            os.rename(new, path)

    @contextlib.contextmanager
    def _building(self, digest: Digest) -> Iterator[None]:
        """Be the only one that makes or mends this tree; what killed processes left of others is swept."""
        lock = Lock(self._root / f"{_NEW}{digest.hex}{_LOCK}")
        lock.acquire()
        try:
            self._sweep(f"{_NEW}{digest.hex}")
            yield
        finally:
            lock.release()

    def _sweep(self, own: str) -> None:
        for path in sorted(self._root.glob(f"{_NEW}*")):
            if path.name.removesuffix(_LOCK) == own or path.suffix == _LOCK:
                continue
            lock = Lock(path.with_name(f"{path.name}{_LOCK}"))
            with contextlib.suppress(BusyError):
                lock.acquire(wait=False)
                try:
                    remove_tree(path)
                finally:
                    lock.release()


def _unbuilt(target: Path, error: OSError) -> StoreError:
    """Return why a tree could not be made, in words."""
    if error.errno in _MISSING:
        return StoreError(f"a file of the tree {target.name} is not in the cache", why=str(error))
    hint = MAKE_ROOM if error.errno in NO_ROOM else None
    return StoreError(f"{target} cannot be written", why=error.strerror, hint=hint)


def _make_folder(path: Path) -> None:
    os.mkdir(path)
    os.chmod(path, 0o755)  # noqa: S103 - whatever the umask: a job may run as another user of its container


def _folders(names: dict[str, Path]) -> list[str]:
    """Return all folders that the names lie in, sorted, so that each comes after what it lies in."""
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(found)


def _same(file: os.stat_result, blob: os.stat_result) -> bool:
    """Return whether a file of a tree has the bytes of the cached one, as far as inodes and times tell.

    A hard link is the same inode. Of a copy the ctime tells: it moves with any write, and it is not before that of
    the cached file unless that one came anew, in place of a damaged one.
    """
    if os.path.samestat(file, blob):
        return True
    return (
        stat.S_ISREG(file.st_mode)
        and (file.st_size, file.st_mtime_ns, stat.S_IMODE(file.st_mode)) == (blob.st_size, 0, 0o444)
        and file.st_ctime_ns >= blob.st_ctime_ns
    )


class _Links:
    """Puts cached files in further places, in the cheapest way that the file system knows."""

    def __init__(self) -> None:
        self._reflinks = True  # until tried

    def put(self, blob: Path, target: Path) -> None:
        """Make ``target``, which is not there, a file with the bytes of ``blob``."""
        if self._reflinks:
            try:
                _write(blob, target, reflink)
            except OSError as error:
                target.unlink(missing_ok=True)
                if error.errno in _MISSING | NO_ROOM:
                    raise
                self._reflinks = False
            else:
                return
        try:
            os.link(blob, target)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV):
                raise
            _write(blob, target, _copy)


def _write(blob: Path, target: Path, fill: Callable[[int, int], None]) -> None:
    """Make ``target`` as cached files are: read-only, without a time of today."""
    with open(blob, "rb") as source, open(target, "xb") as out:
        fill(source.fileno(), out.fileno())
        os.fchmod(out.fileno(), 0o444)
        os.utime(out.fileno(), (0, 0))


def _copy(source: int, target: int) -> None:
    while os.sendfile(target, source, None, 1 << 30):
        pass
