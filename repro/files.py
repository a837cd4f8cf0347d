"""Files that are whole or not there: atomic writes, reflinks, locks, removal of any tree that we made."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FICLONE: Final = 0x40049409  # linux/fs.h; `fcntl` has it from Python 3.12 on


def write_atomic(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = True) -> None:
    """Make ``path`` hold ``data``, as `open_atomic` does."""
    with open_atomic(path, mode=mode, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path, *, mode: int = 0o666, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write; when the block ends without an error ``path`` holds what was written.

    A reader sees the old bytes or the new ones, also after a crash: written to a temporary name in the same folder,
    fsynced, renamed, folder fsynced. Parents are made. ``mode`` is subject to the umask. What is not ``durable`` may be
    empty or gone after a power cut, not after a crash of the process: for what its readers can do without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:200]}.", suffix=".tmp", dir=path.parent)
    with contextlib.ExitStack() as undo:
        undo.callback(_unlink, temporary)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode & ~_umask())
            if durable:
                os.fsync(file.fileno())
        os.rename(temporary, path)
        undo.pop_all()
    if durable:
        fsync_folder(path.parent)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot; their rename is synchronous
            raise
    finally:
        os.close(descriptor)


def reflink(source: int, target: int) -> None:
    """Have the open file ``target`` share the blocks of ``source``, until one of the two is written (ioctl_ficlone(2)).

    OSError where their file system cannot, or they lie on two.
    """
    fcntl.ioctl(target, _FICLONE, source)


def _umask() -> int:
    """Return the process's umask without changing it (os.umask would race with other threads)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


class Lock:
    """An flock(2) on ``path``: freed by the kernel when its holder dies, however it dies.

    The holder writes ``owner`` (one line for people) into the file. Never deleted while it may be waited on.
    """

    def __init__(self, path: Path, *, owner: str = "") -> None:
        self.path = path
        self.owner = owner
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> None:
        """Take the lock; BusyError names the owner when ``wait`` is false and somebody else has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(descriptor, 4096).decode(errors="replace").strip()
                why = f"held by {holder or 'another process'}"
                hint = "wait until that has ended, or stop it"
                raise BusyError(f"{self.path} is locked", why=why, hint=hint) from error
            if self.owner and not shared:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, self.owner.encode() + b"\n", 0)
            undo.pop_all()
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def locked(path: Path, *, owner: str = "", shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock on ``path`` while the block runs; BusyError as `Lock.acquire`."""
    lock = Lock(path, owner=owner)
    lock.acquire(shared=shared, wait=wait)
    try:
        yield
    finally:
        lock.release()


_DEEPEST = 200  # levels of recursion; folders below are first moved up, so that any depth can be removed


def remove_tree(path: Path) -> None:
    """Remove ``path`` and all below it, also folders that their owner may not enter (overlay leaves such).

    Never follows a symbolic link, never leaves the tree; missing is fine.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        top = _open_folder(os.fspath(path), None)
        try:
            while _empty(top, top, 0):
                pass
        finally:
            os.close(top)
        os.rmdir(path)


def _open_folder(name: str, parent: int | None) -> int:
    """Return a descriptor of the folder, which its owner may read, write and enter from now on."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # known to be a folder, and O_NOFOLLOW checks again
        folder = os.open(name, flags, dir_fd=parent)
    if os.fstat(folder).st_mode & 0o700 != 0o700:
        os.fchmod(folder, 0o700)
    return folder


def _empty(folder: int, top: int, depth: int) -> bool:
    """Remove what is in ``folder``; return whether folders were moved up to ``top``, which then is not empty yet."""
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    moved = False
    for name, is_folder in names:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
            continue
        child = _open_folder(name, folder)
        try:
            if depth < _DEEPEST:
                moved = _empty(child, top, depth + 1) or moved
                os.rmdir(name, dir_fd=folder)
            else:
                os.rename(name, f".removing-{os.fstat(child).st_ino}", src_dir_fd=folder, dst_dir_fd=top)
                moved = True
        finally:
            os.close(child)
    return moved


def move(source: Path, target: Path, copy: Callable[[Path, Path], None]) -> None:
    """Move ``source`` to ``target`` by rename; across file systems by ``copy`` to a temporary name, then rename.

    An existing ``target`` file is replaced atomically; an existing folder must be removed by the caller first.
    """
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    remove_tree(temporary)
    copy(source, temporary)
    os.rename(temporary, target)
    remove_tree(source)
