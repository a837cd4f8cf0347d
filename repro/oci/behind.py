"""What is written, taken by a thread of its own: who makes a tar goes on while what it made is hashed or compressed.

Hashing and compressing leave the interpreter to others, as do the system calls that read files (`repro.oci.ahead` is
the same for reading).
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

BLOCK: Final = 1 << 20  # bytes of each block but the last
_BLOCKS: Final = 8  # that wait to be taken


class Behind:
    """Passes what is written to ``take``, in blocks of one size, in a thread. Use it in a ``with``.

    When the ``with`` ends, all has been taken; an error of ``take`` is raised by a later `write`, or there. Where it
    ends by an error of its own, nothing more is passed on. What is less than a block needs no thread.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._block = bytearray()
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_BLOCKS)
        self._stopped = False
        self._failed: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""
        rest = memoryview(data)
        while len(self._block) + len(rest) >= BLOCK:
            missing = BLOCK - len(self._block)
            self._block += rest[:missing]
            rest = rest[missing:]
            self._hand_over(bytes(self._block))
            self._block.clear()
        self._block += rest

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = error is not None
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
        if error is not None:
            return
        if self._failed is not None:
            raise self._failed
        if self._block:
            self._take(bytes(self._block))

    def _hand_over(self, block: bytes) -> None:
        if self._failed is not None:
            raise self._failed
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)
            self._thread.start()
        self._waiting.put(block)

    def _run(self) -> None:
        while (block := self._waiting.get()) is not None:
            if self._failed is None and not self._stopped:
                try:
                    self._take(block)
                except BaseException as error:
                    self._failed = error
