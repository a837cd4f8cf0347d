"""The end of a build before its time: the first error, or Ctrl-C, stops what the other stages are doing."""

from __future__ import annotations

import contextlib
import threading
from signal import SIGKILL
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.runtime.container import Running


class HaltedError(Exception):
    """Ends a stage of a build that failed elsewhere; it never leaves the build."""


class Halt:
    """Says whether a build is to end, and ends its containers. Safe from many threads."""

    def __init__(self) -> None:
        self._said = threading.Event()
        self._lock = threading.Lock()
        self._running: set[Running] = set()

    def stop(self) -> None:
        """Let every stage end at its next instruction, and kill the containers that run; idempotent."""
        with self._lock:
            self._said.set()
            running = tuple(self._running)
        for one in running:
            one.kill(SIGKILL)

    def check(self) -> None:
        """Raise HaltedError if the build is to end."""
        if self._said.is_set():
            raise HaltedError

    def pause(self, seconds: float) -> None:
        """Wait for some time; HaltedError as soon as the build is to end."""
        if self._said.wait(seconds):
            raise HaltedError

    @contextlib.contextmanager
    def killing(self, running: Running) -> Iterator[None]:
        """Kill ``running`` when the build is to end while the block runs; HaltedError at its end if that is so.

        Whatever else ends the block early (Ctrl-C) kills it too, and sees its end.
        """
        with self._lock:
            self._running.add(running)
        ended = False
        try:
            if self._said.is_set():  # `stop` may have come before it was on the list
                running.kill(SIGKILL)
            yield
            ended = True
        finally:
            try:
                if not ended:
                    running.kill(SIGKILL)
                    running.wait()
            finally:
                with self._lock:
                    self._running.discard(running)
        self.check()
