"""Which job may start next: needs, room and priority. Bookkeeping only: no threads, no clock, no I/O."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Demand: TypeAlias = tuple[tuple[str, int], ...]  # sorted by name; what a task takes of the room while it runs
_Entry: TypeAlias = tuple[float, int, str]  # priority as a negative, place in the order, id


def demand_of(amounts: Mapping[str, int]) -> Demand:
    """Return the amounts as a demand; nothing of something is left out."""
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))


@dataclass(frozen=True, slots=True)
class Task:
    """A job as the scheduler sees it; ``weight`` is how long it may take, in seconds."""

    id: str
    needs: tuple[str, ...]
    amounts: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0


class Schedule:
    """The tasks of a run. What starts first is what the longest chain of others waits for (critical path).

    Tasks of the same priority start in the order given. A task that does not fit lets others pass. A failed task takes
    with it whatever needs it, nothing else. Starting and ending a task costs no more when there are more of them.
    """

    def __init__(self, tasks: Sequence[Task], *, room: Mapping[str, int]) -> None:
        """``tasks`` follow those they need; needs outside of them count as met. None exceeds the room."""
        self._free = dict(room)
        self._tasks: dict[str, Task] = {}  # that have not ended
        self._order: dict[str, int] = {}
        self._unmet: dict[str, set[str]] = {}  # of tasks that wait for others
        self._needed_by: dict[str, list[str]] = {}
        self._priority: dict[str, float] = {}
        self._ready: dict[Demand, list[_Entry]] = {}  # heaps
        self._running: dict[str, Demand] = {}
        self._held: set[str] = set()
        self.add(tasks)

    @property
    def done(self) -> bool:
        """Whether no task is left, waiting, held or running."""
        return not self._tasks

    @property
    def running(self) -> bool:
        """Whether a task is under way."""
        return bool(self._running)

    @property
    def held(self) -> bool:
        """Whether a task waits to be resumed."""
        return bool(self._held)

    def has(self, name: str) -> bool:
        """Return whether the task is here and has not ended."""
        return name in self._tasks

    def add(self, tasks: Iterable[Task]) -> None:
        """Take more tasks, each after those it needs; one that has ended may come again."""
        for task in tasks:
            self._take(task, 0.0)
        self._rank()

    def start(self) -> str | None:
        """Take the task that should start now, and the room it needs; None where none can."""
        best: Demand | None = None
        for demand, heap in self._ready.items():
            if (best is None or heap[0] < self._ready[best][0]) and self._fits(demand):
                best = demand
        if best is None:
            return None
        name = heapq.heappop(self._ready[best])[2]
        if not self._ready[best]:
            del self._ready[best]
        for what, amount in best:
            self._free[what] -= amount
        self._running[name] = best
        return name

    def succeeded(self, name: str) -> None:
        """Give back the task's room and free those that waited for it."""
        self._release(name)
        self._end(name)
        for other in self._needed_by.pop(name, ()):
            needs = self._unmet.get(other)
            if needs is not None:
                needs.discard(name)
                if not needs:
                    del self._unmet[other]
                    self._make_ready(other)

    def failed(self, name: str) -> tuple[tuple[str, str], ...]:
        """Give back the task's room; return what can no longer run, in order, with the need that failed it."""
        self._release(name)
        self._end(name)
        lost: dict[str, str] = {}
        pending = deque([name])
        while pending:
            broken = pending.popleft()
            for other in self._needed_by.pop(broken, ()):
                if other in self._unmet:
                    del self._unmet[other]
                    self._end(other)
                    lost[other] = broken
                    pending.append(other)
        return tuple(sorted(lost.items(), key=lambda item: self._order[item[0]]))

    def hold(self, name: str) -> None:
        """Give back the room of a running task, which waits from now on until it is resumed."""
        self._release(name)
        self._held.add(name)

    def resume(self, name: str, amounts: Mapping[str, int]) -> None:
        """Let a held task start again, with other amounts than before."""
        self._held.remove(name)
        task = self._tasks[name]
        self._tasks[name] = Task(name, task.needs, amounts, task.weight)
        self._make_ready(name)

    def postpone(self, name: str, tasks: Sequence[Task]) -> None:
        """Give back the room of a running task, which starts again once these, added where not here, have succeeded."""
        self._release(name)
        for task in tasks:
            if task.id not in self._tasks:
                self._take(task, self._priority[name])
        self._wait(name, {task.id for task in tasks})

    def drop(self) -> tuple[str, ...]:
        """Forget all tasks that are not running; return them in order."""
        dropped = sorted((name for name in self._tasks if name not in self._running), key=self._order.__getitem__)
        for name in dropped:
            self._end(name)
        self._unmet.clear()
        self._ready.clear()
        self._held.clear()
        return tuple(dropped)

    def _take(self, task: Task, after: float) -> None:
        """Take a task, and with it the priority of what waits for it."""
        self._tasks[task.id] = task
        self._order.setdefault(task.id, len(self._order))
        self._priority[task.id] = task.weight + after
        self._wait(task.id, {need for need in task.needs if need in self._tasks})

    def _fits(self, demand: Demand) -> bool:
        return all(amount <= self._free.get(what, 0) for what, amount in demand)

    def _wait(self, name: str, needs: set[str]) -> None:
        if not needs:
            self._make_ready(name)
            return
        self._unmet[name] = needs
        for need in needs:
            self._needed_by.setdefault(need, []).append(name)

    def _make_ready(self, name: str) -> None:
        entry = (-self._priority.get(name, 0.0), self._order[name], name)
        heapq.heappush(self._ready.setdefault(demand_of(self._tasks[name].amounts), []), entry)

    def _rank(self) -> None:
        """Find every task's priority: its weight and that of the longest chain that waits for it."""
        for name in sorted(self._tasks, key=self._order.__getitem__, reverse=True):
            after = (self._priority.get(other, 0.0) for other in self._needed_by.get(name, ()) if other in self._unmet)
            self._priority[name] = self._tasks[name].weight + max(after, default=0.0)
        waiting = [name for heap in self._ready.values() for _, _, name in heap]
        self._ready.clear()
        for name in waiting:
            self._make_ready(name)

    def _release(self, name: str) -> None:
        for what, amount in self._running.pop(name):
            self._free[what] += amount

    def _end(self, name: str) -> None:
        del self._tasks[name]
        self._priority.pop(name, None)
