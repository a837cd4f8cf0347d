"""The stages of a build at once: each in a thread of its own, waiting for another where it reads from it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from repro.build.halt import Halt, HaltedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Graph(Generic[T]):
    """Builds parts that may need one another, an earlier one always; `result` waits.

    A part begins at once, and waits at the very instruction that reads from another: a stage installs its packages
    while the one that it copies from still compiles.
    """

    def __init__(self, indices: Sequence[int], build: Callable[[int], T], halt: Halt) -> None:
        self._build = build
        self._halt = halt
        self._results: dict[int, Future[T]] = {index: Future() for index in indices}
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def result(self, index: int) -> T:
        """Return what part ``index`` gave; HaltedError if it, or the build, failed."""
        return self._results[index].result()

    def run(self, *, at_once: bool) -> None:
        """Build all parts; the first error of any, once all have ended and left nothing behind.

        ``at_once`` is false for one after the other in this thread.
        """
        if not at_once:
            for index, future in self._results.items():
                future.set_result(self._build(index))
            return
        threads = [
            threading.Thread(target=self._part, args=(index,), name=f"repro-stage-{index}") for index in self._results
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C
            self._halt.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
                else:
                    break
            raise
        if self._error is not None:
            raise self._error

    def _part(self, index: int) -> None:
        future = self._results[index]
        try:
            future.set_result(self._build(index))
        except HaltedError as error:
            future.set_exception(error)
        except BaseException as error:  # raised again in the caller's thread
            with self._lock:
                self._error = self._error or error
            self._halt.stop()
            future.set_exception(HaltedError())
