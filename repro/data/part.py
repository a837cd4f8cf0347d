"""A download under way: a file that hashes what is written to it, and the sum of bytes that people are told."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

from repro.digest import CHUNK, Digest
from repro.errors import Interrupted
from repro.events import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from repro.events import Sink


def renamed(descriptor: int, name: Path) -> bool:
    """Return whether ``name`` no longer leads to the open file."""
    try:
        return not os.path.samestat(os.fstat(descriptor), os.stat(name))
    except FileNotFoundError:
        return True


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
            self._count(piece)

    def write(self, data: bytes) -> None:
        """Append ``data``; Interrupted where the download was told to stop."""
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the download was stopped")
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

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        if self._progress is not None:
            self._progress.add(len(data))


class Counter:
    """Adds up bytes from many threads and tells the sink at each further percent."""

    def __init__(self, sink: Sink, what: str, total: int) -> None:
        self._sink = sink
        self._what = what
        self._total = total
        self._done = 0
        self._told = -1
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count ``count`` more bytes; fewer where it is negative."""
        with self._lock:
            self._done += count
            percent = self._done * 100 // self._total if self._total else 100
            if percent <= self._told:
                return
            self._told = percent
            self._sink(Progress(self._what, self._done, self._total, "bytes"))
