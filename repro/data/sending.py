"""Patience with a server: attempts counted, pauses between them, several files at a time, an end when it is wanted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from repro.data.answers import Broken, UnreachableError
from repro.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.data.part import Counter
    from repro.data.sources.model import Reach

TRANSFERS = 6  # files under way at a time; a target may send parts of one in parallel, too
QUESTIONS = 16  # asked at a time, of a server that may be far away
_LONGEST_PAUSE = 30.0  # seconds

_Given = TypeVar("_Given")
_Gotten = TypeVar("_Gotten")


class Patience:
    """Attempts at what ``address`` names, as ``reach`` allows; `stop` ends those of all threads."""

    def __init__(self, reach: Reach, address: str) -> None:
        self._reach = reach
        self._address = address
        self._stop = threading.Event()

    def check(self) -> None:
        """Raise Interrupted where all is to end."""
        if self._stop.is_set():
            raise Interrupted("publishing was stopped")

    def resume(self) -> None:
        """Allow attempts again after a stop: to clean up."""
        self._stop.clear()

    def call(self, attempt: Callable[[], _Gotten]) -> _Gotten:
        """Return what ``attempt`` does; UnreachableError where it was `Broken` too often."""
        failures = 0
        while True:
            try:
                return attempt()
            except Broken as error:
                failures += 1
                self.pause(error, failures)

    def pause(self, error: Broken, failures: int) -> None:
        """Wait before the next attempt; UnreachableError after as many failures in a row as `Reach` allows."""
        if failures >= self._reach.attempts:
            hint = "publish again once it can be reached: what was sent is kept"
            raise UnreachableError(f"{self._address} cannot be reached", why=str(error), hint=hint) from error
        pause = self._reach.pause * 2 ** (failures - 1) if error.pause is None else error.pause
        self._stop.wait(min(pause, _LONGEST_PAUSE))
        self.check()

    def each(
        self, work: Callable[[_Given], _Gotten], items: Sequence[_Given], *, most: int = TRANSFERS
    ) -> list[tuple[_Given, _Gotten]]:
        """Return each item with what ``work`` gives for it, ``most`` at a time; the first error stops the others."""
        from concurrent.futures import ThreadPoolExecutor, as_completed  # noqa: PLC0415 - not where nothing is to do

        if not items:
            return []
        pool = ThreadPoolExecutor(min(most, len(items)), thread_name_prefix="publish")
        try:
            tasks = {pool.submit(work, item): item for item in items}
            return [(tasks[task], task.result()) for task in as_completed(tasks)]
        except BaseException:
            self._stop.set()  # transfers under way notice it at their next bytes
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class Sending:
    """The bytes of one file that arrived in one attempt, told on; safe from many threads."""

    def __init__(self, progress: Counter, patience: Patience) -> None:
        self.sent = 0
        self._progress = progress
        self._patience = patience
        self._guard = threading.Lock()

    def tell(self, count: int) -> None:
        """Count ``count`` more bytes; Interrupted where all is to end."""
        self._patience.check()
        self._add(count)

    def restart(self) -> None:
        """Begin anew: the next attempt tells from where it goes on, or does not."""
        self._add(-self.sent)

    def end(self, size: int) -> None:
        """Count what arrived untold, too."""
        self._add(size - self.sent)

    def _add(self, count: int) -> None:
        with self._guard:
            self.sent += count
            self._progress.add(count)
