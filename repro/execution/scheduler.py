"""Which job may start next: needs, cpus and memory. Bookkeeping only: no threads, no clock, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Task:
    """A job as the scheduler sees it; ``memory`` in bytes, 0 where nothing is declared."""

    id: str
    needs: tuple[str, ...]
    cpus: int = 1
    memory: int = 0


class Schedule:
    """The tasks of a run, each once. Tasks start in the order given, as far as needs and room allow.

    A task that does not fit lets later ones pass. A failed task takes with it whatever needs it, nothing
    else.
    """

    def __init__(self, tasks: Sequence[Task], *, cpus: int, memory: int) -> None:
        """``tasks`` follow those they need; needs outside of them count as met. None exceeds the room."""
        self._tasks = {task.id: task for task in tasks}
        self._waiting = {
            task.id: {need for need in task.needs if need in self._tasks} for task in tasks
        }  # in start order: dicts keep it
        self._needed_by: dict[str, list[str]] = {}
        for task in tasks:
            for need in self._waiting[task.id]:
                self._needed_by.setdefault(need, []).append(task.id)
        self._order = {task.id: index for index, task in enumerate(tasks)}
        self._ready = [task.id for task in tasks if not self._waiting[task.id]]
        self._running: set[str] = set()
        self._cpus = cpus
        self._memory = memory

    @property
    def done(self) -> bool:
        """Whether no task is left, waiting or running."""
        return not self._waiting and not self._running

    @property
    def running(self) -> bool:
        """Whether a task is under way."""
        return bool(self._running)

    def start(self) -> str | None:
        """Take the first task that can start now, and the room it needs; None where there is none."""
        for index, name in enumerate(self._ready):
            task = self._tasks[name]
            if task.cpus <= self._cpus and task.memory <= self._memory:
                del self._ready[index]
                del self._waiting[name]
                self._cpus -= task.cpus
                self._memory -= task.memory
                self._running.add(name)
                return name
        return None

    def succeeded(self, name: str) -> None:
        """Give back the task's room and free those that waited for it."""
        self._release(name)
        freed = False
        for other in self._needed_by.get(name, ()):
            needs = self._waiting.get(other)
            if needs is not None:
                needs.discard(name)
                if not needs:
                    self._ready.append(other)
                    freed = True
        if freed:
            self._ready.sort(key=self._order.__getitem__)

    def failed(self, name: str) -> tuple[tuple[str, str], ...]:
        """Give back the task's room; return what can no longer run, in order, with the need that failed it."""
        self._release(name)
        lost: dict[str, str] = {}
        pending = [name]
        while pending:
            broken = pending.pop(0)
            for other in self._needed_by.get(broken, ()):
                if other in self._waiting:
                    del self._waiting[other]
                    lost[other] = broken
                    pending.append(other)
        return tuple(sorted(lost.items(), key=lambda item: self._order[item[0]]))

    def _release(self, name: str) -> None:
        task = self._tasks[name]
        self._running.remove(name)
        self._cpus += task.cpus
        self._memory += task.memory
