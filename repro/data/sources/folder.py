"""Folders of this machine: what ``file://`` addresses and paths name, and a share that is mounted here."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import DeniedError, ExistsError
from repro.data.sources.share_publishing import ShareTarget
from repro.data.sources.shares import STAGING, Entry, ShareSource, failure
from repro.files import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.errors import FetchError

_SETTLED = 2 * 10**9  # nanoseconds: the coarsest times that file systems have (FAT)
# what link(2) says where the file system has no hard links, or none more for this file
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


class FolderSource(ShareSource):
    """The file or the folder at a path of this machine, as a `repro.data.sources.model.Source`."""

    def __init__(self, root: Path) -> None:
        super().__init__(_Local(reading=True), os.path.abspath(root))


class FolderTarget(ShareTarget):
    """A folder of this machine that is published to, as a `repro.data.sources.model.Target`."""

    def __init__(self, root: Path) -> None:
        super().__init__(_Local(), os.path.abspath(root))


class _File:
    """An open file."""

    def __init__(self, path: str, flags: int, *, reading: bool) -> None:
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
        self.entry = _entry(path, os.fstat(self._descriptor), reading=reading)

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        return os.pread(self._descriptor, size, offset)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            view, offset = view[count:], offset + count

    def sync(self) -> None:
        """Have its bytes survive a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class _Local:
    """The operations of `repro.data.sources.shares.Share` on this machine's own files.

    ``reading``: a state is told by the ctime as well, which nobody can forge, and which our own links and renames move.
    """

    def __init__(self, *, reading: bool = False) -> None:
        self._reading = reading

    def address(self, path: str) -> str:
        """Return the path itself."""
        return path

    def entry(self, path: str) -> Entry | None:
        """Return what is at ``path``, links followed."""
        try:
            return _entry(os.path.basename(path), os.stat(path), reading=self._reading)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _fail(error, path)

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder, links as such."""
        try:
            with os.scandir(path) as scan:
                return [_entry(one.name, one.stat(follow_symlinks=False), reading=self._reading) for one in scan]
        except OSError as error:
            _fail(error, path)

    @contextlib.contextmanager
    def reader(self, path: str) -> Iterator[_File]:
        """Open a file; O_NONBLOCK, because opening a named pipe must not wait for a writer."""
        with self._opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            yield file

    @contextlib.contextmanager
    def writer(self, path: str, *, new: bool) -> Iterator[_File]:
        """Open a file for writing; synced when the block has ended."""
        with self._opened(path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if new else 0)) as file:
            yield file
            file.sync()
        if new:
            _sync_name(path)

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[_File]:
        try:
            file = _File(path, flags, reading=self._reading)
            try:
                yield file
            finally:
                file.close()
        except OSError as error:
            _fail(error, path)

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it; only the caller sees into one for staging."""
        with _told(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.makedirs(path, 0o700 if os.path.basename(path).startswith(STAGING) else 0o777, exist_ok=True)

    def place(self, staged: str, path: str) -> None:
        """Give a file its name by link(2), which fails where the name is taken.

        A file system without hard links has the name taken by an empty file first, which is then replaced.
        """
        with _told(path):
            try:
                os.link(staged, path, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
                os.rename(staged, path)
            else:
                os.unlink(staged)
            _sync_name(path)

    def replace(self, staged: str, path: str) -> None:
        """Rename ``staged`` to ``path``, in place of what is there."""
        with _told(path):
            os.rename(staged, path)
            _sync_name(path)

    def remove(self, path: str) -> None:
        """Remove a file; idempotent."""
        with _told(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder where it is empty; idempotent."""
        with _told(path), contextlib.suppress(FileNotFoundError):
            os.rmdir(path)

    def close(self) -> None:
        """Nothing is held."""


def _sync_name(path: str) -> None:
    """Have the name ``path`` survive a power cut."""
    fsync_folder(Path(path).parent)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Raise an OSError of the block in plain words."""
    try:
        yield
    except OSError as error:
        _fail(error, path)


def _fail(error: OSError, path: str) -> NoReturn:
    """Raise what an OSError means."""
    meaning: Broken | FetchError | ExistsError = failure(error, path)
    if isinstance(meaning, DeniedError):
        meaning = DeniedError(
            f"{path} cannot be used", why=error.strerror, hint="ask for the right to this path, or name another"
        )
    elif isinstance(meaning, NotThereError):
        meaning = NotThereError(f"there is no {path}")
    raise meaning from error


def _entry(name: str, status: os.stat_result, *, reading: bool) -> Entry:
    """Return what stat(2) says of a file; a rename changes neither its mtime nor its inode."""
    mode = status.st_mode
    kind = "other"
    if stat.S_ISREG(mode):
        kind = "file"
    elif stat.S_ISDIR(mode):
        kind = "folder"
    elif stat.S_ISLNK(mode):
        kind = "link"
    identity = f"{status.st_dev}:{status.st_ino}"
    etag = f"{status.st_size}-{status.st_mtime_ns}" + (f"-{status.st_ctime_ns}" if reading else "")
    written = status.st_ctime_ns if reading else status.st_mtime_ns  # the last time that the etag has
    settled = written < time.time_ns() - _SETTLED
    return Entry(name, kind, status.st_size, etag, identity, settled=settled)
