"""How fast something lengthy goes, and how long it will take: what a progress line says beside the amounts."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import amount, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.events import Progress

_WINDOW: Final = 5.0  # seconds over which a rate is taken
_BAR: Final = 20  # columns


class Flow:
    """One lengthy part; ``now`` gives seconds that only grow."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: deque[tuple[float, int]] = deque()
        self.told = now()  # when a line was last written for it, for those who keep count

    def add(self, progress: Progress) -> str:
        """Return the line for ``progress``: ``[####....] 1.0 MB of 2.0 MB, 0.5 MB/s, 2 s left``."""
        moment = self._now()
        self._seen.append((moment, progress.done))
        while moment - self._seen[0][0] > _WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        parts = [f"{_bar(progress)} {amount(progress)}"]
        rate = self._rate()
        if rate > 0 and progress.done < progress.total:
            if progress.unit == "bytes":
                parts.append(f"{size_text(int(rate))}/s")
            parts.append(f"{span_text((progress.total - progress.done) / rate)} left")
        return ", ".join(parts)

    def _rate(self) -> float:
        """Return how much came in a second, lately; 0 where that cannot be said yet."""
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last - first >= 0.2 else 0.0


def _bar(progress: Progress) -> str:
    share = progress.done / progress.total if progress.total else 1.0
    full = min(int(share * _BAR), _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def span_text(seconds: float) -> str:
    """Return a time to wait as people say it: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
