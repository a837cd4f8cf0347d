"""A download under way: a file that hashes what is written to it, and the sum of bytes that people are told."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from repro.digest import CHUNK, Digest
from repro.errors import Interrupted
from repro.events import Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from repro.events import Sink

SUFFIX: Final = ".part"
TAKEN: Final = ".taken"  # of a note on what a part became
_POLL = 0.05  # seconds between looks at a lock that somebody else holds
_STEP = 32 << 20  # bytes after which people are told again, also where that is no further percent
OLD: Final = 7 * 86400  # seconds after which what a dead process left is not waited for any more


class Part:
    """A file that hashes what is written to it; what a dead process left in it counts as written."""

    def __init__(self, descriptor: int, path: Path, progress: Counter | None, stop: threading.Event | None) -> None:
        self.descriptor = descriptor
        self.path = path
        self.kept = False
        self._progress = progress
        self._stop = stop
        self._hash = hashlib.sha256()
        self._size = 0
        while piece := os.pread(descriptor, CHUNK, self._size):
            self._check_stop()
            self._count(piece)

    def write(self, data: bytes) -> None:
        """Append ``data``; Interrupted where the download was told to stop."""
        self._check_stop()
        view = memoryview(data)
        offset = self._size
        while view:
            written = os.pwrite(self.descriptor, view, offset)
            view, offset = view[written:], offset + written
        self._count(data)

    def tell(self) -> int:
        """Return how many bytes it holds."""
        return self._size

    def digest(self) -> Digest:
        """Return the digest of the bytes it holds."""
        return Digest(self._hash.hexdigest())

    def restart(self) -> None:
        """Forget all bytes."""
        os.ftruncate(self.descriptor, 0)
        if self._progress is not None:
            self._progress.add(-self._size)
        self._hash = hashlib.sha256()
        self._size = 0

    def pause(self, seconds: float) -> None:
        """Wait; Interrupted as soon as the download is told to stop."""
        if self._stop is None:
            time.sleep(seconds)
        else:
            self._stop.wait(seconds)
            self._check_stop()

    def discard(self) -> None:
        """Remove the file: its bytes are not needed. Only for who has it open."""
        os.unlink(self.path)
        self.kept = True

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the download was stopped")

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        if self._progress is not None:
            self._progress.add(len(data))


@contextlib.contextmanager
def open_part(path: Path, progress: Counter | None = None, stop: threading.Event | None = None) -> Iterator[Part]:
    """Give the part at ``path``, locked, made where there is none; an empty one is removed when the block ends.

    Only the holder of the lock renames or removes the name, so nobody loses a file under his hands.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            _lock(descriptor, stop)
            if renamed(descriptor, path):  # while we waited, its writer renamed it into place or gave up
                continue
            part = Part(descriptor, path, progress, stop)
            try:
                yield part
            finally:
                if not part.kept and part.tell() == 0:
                    os.unlink(path)
        finally:
            os.close(descriptor)
        return


def _lock(descriptor: int, stop: threading.Event | None) -> None:
    """Wait for the lock; Interrupted when told to stop."""
    if stop is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop.wait(_POLL):
                raise Interrupted("the download was stopped") from None
        else:
            return


def renamed(descriptor: int, name: Path) -> bool:
    """Return whether ``name`` no longer leads to the open file."""
    try:
        return not os.path.samestat(os.fstat(descriptor), os.stat(name))
    except FileNotFoundError:
        return True


def sweep_parts(folder: Path, keep: Collection[str] = (), *, older_than: float = OLD) -> None:
    """Remove parts in ``folder`` that nobody writes to and that were last written ``older_than`` seconds ago.

    Newer ones stay, so that what broke off is continued, whatever is fetched in between; so do those whose names are
    in ``keep``.
    """
    before = time.time() - older_than
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name not in keep:
            remove_part(path, before)


def remove_part(path: Path, before: float) -> bool:
    """Remove a part that nobody writes to and that was last written ``before``; return whether it is gone."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_mtime < before and not renamed(descriptor, path):
                os.unlink(path)
                return True
        finally:
            os.close(descriptor)
    return False


class Counter:
    """Adds up bytes from many threads and tells the sink at each further percent, and every 32 MiB."""

    def __init__(self, sink: Sink, what: str, total: int) -> None:
        self._sink = sink
        self._what = what
        self._total = total
        self._done = 0
        self._told = (-1, 0)  # percent and bytes
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count ``count`` more bytes; fewer where it is negative. What nobody announced makes the total larger."""
        with self._lock:
            self._done += count
            self._total = max(self._total, self._done)
            percent = self._done * 100 // self._total if self._total else 100
            if percent <= self._told[0] and self._done < self._told[1] + _STEP:
                return
            self._told = percent, self._done
            self._sink(Progress(self._what, self._done, self._total, "bytes"))
