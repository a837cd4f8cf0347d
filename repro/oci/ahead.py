"""A stream that is read, and hashed, by a thread of its own, a little ahead of who uses it.

Decompressing and hashing leave the interpreter to others, and so do the system calls that make files: on two processors
a layer is unpacked in little more than the time of the longer of the two.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from typing import TYPE_CHECKING, Self

from repro.digest import Digest

if TYPE_CHECKING:
    from types import TracebackType

    from repro.digest import Source

_PIECES = 16  # that wait to be used
_BUFFER = 1 << 20  # bytes of a piece at most


class Ahead:
    """The stream ``source``; `digest` is that of all that was read, once the end was. Use it in a ``with``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._waiting: queue.Queue[bytes | BaseException] = queue.Queue(_PIECES)
        self._ended = False  # who reads has seen the end, or an error
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()  # it may be waiting for room
        self._thread.join()

    def read(self, _: int, /) -> bytes:
        """Return the next piece, of whatever size; none at the end. Raises what reading the source raised."""
        if self._ended:
            return b""
        piece = self._waiting.get()
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        return piece

    def digest(self) -> Digest:
        """Return the sha256 of the stream."""
        return Digest(self._hash.hexdigest())

    def _run(self) -> None:
        try:
            piece = b"begun"
            while piece and not self._stopped.is_set():
                piece = self._source.read(_BUFFER)
                self._hash.update(piece)
                self._waiting.put(piece)
        except BaseException as error:
            self._waiting.put(error)
