"""Two commands in one project: the second is told who has it, or waits until that has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

from repro.errors import BusyError, Interrupted
from repro.events import Notice, ignore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repro.events import Sink

T = TypeVar("T")
_PAUSE: Final = 0.2  # seconds between two looks at the lock


class Turn:
    """How a command takes the lock file of a project.

    Args:
        wait: wait for who has it, who is named to ``sink``; otherwise that is a BusyError.
        sink: hears who is waited for.
        stopped: whether to give up waiting, by Interrupted.
    """

    def __init__(self, *, wait: bool = False, sink: Sink = ignore, stopped: Callable[[], bool] = lambda: False) -> None:
        self._wait = wait
        self._sink = sink
        self._stopped = stopped

    def take(self, lock: Path, action: Callable[[], T]) -> T:
        """Return what ``action`` returns, which takes ``lock`` without waiting and fails with BusyError."""
        told = ""
        while True:
            try:
                return action()
            except BusyError as error:
                if str(lock) not in error.message:
                    raise  # another lock: of the store, say
                holder = (error.why or "").removeprefix("held by ")
                if not self._wait:
                    raise _busy(holder) from error
            if holder != told:
                self._sink(Notice("info", f"waiting until this has ended: {holder}"))
                told = holder
            time.sleep(_PAUSE)
            if self._stopped():
                raise Interrupted("stopped while waiting for the project", why=f"it is held by {holder}")


def _busy(holder: str) -> BusyError:
    return BusyError(
        "another repro works in this project",
        why=f"it is held by {holder}",
        hint="wait until that has ended (`repro run --wait` does), or stop it; `repro status` says how it stands",
    )
