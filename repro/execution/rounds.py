"""What became of the jobs of a run on a cluster, round by round: which are done, which are given away again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.events import JobCached, JobFailed, JobFinished, JobRetried, JobStarted
from repro.execution.batches import grows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.events import Event
    from repro.execution.ticket import Batch
    from repro.workflow.model import Job

OVER = frozenset({"TIMEOUT", "OUT_OF_MEMORY", "DEADLINE"})  # states of a Slurm job that took more than it was given


@dataclass(frozen=True, slots=True)
class Loss:
    """How a batch ended without a result: number and state of its Slurm job, empty where they are not known."""

    slurm: str = ""
    state: str = ""

    def __str__(self) -> str:
        job = f"its Slurm job {self.slurm}" if self.slurm else "its Slurm job"
        return f"{job} ended as {self.state}" if self.state else f"{job} ended before it was done"


class Rounds:
    """The jobs of a run and how each stands; bookkeeping only: no files, no clock.

    A job that fails for good takes what needs it along. One that was lost is given away again, ``lost`` times at most;
    so is one that failed where its step says so and another attempt gets more resources than a node could give it.
    """

    def __init__(self, jobs: Iterable[Job], *, lost: int) -> None:
        """``jobs`` are those that must run, in the plan's order."""
        self.todo = {job.id: job for job in jobs}
        self.attempts: dict[str, int] = {}
        self.ran: dict[str, None] = {}  # in the order in which they ended, as are the next two
        self.cached: dict[str, None] = {}
        self.failed: dict[str, None] = {}
        self.skipped: dict[str, str] = {}  # and the need for which it is
        self._lost = lost
        self._losses: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._started: set[str] = set()  # in this round
        self._again: set[str] = set()  # jobs of this round that failed, and are to do in the next

    def add(self, jobs: Iterable[Job]) -> None:
        """Take more jobs that must run."""
        self.todo.update((job.id, job) for job in jobs)

    def begin(self) -> tuple[Job, ...]:
        """Return the jobs of the next round, in the plan's order."""
        self._started.clear()
        self._again.clear()
        return tuple(self.todo.values())

    def hear(self, event: Event) -> Event | None:
        """Take in what a node told of a job; return what is told on (None: nothing)."""
        match event:
            case JobStarted():
                self._started.add(event.job)
                attempt = event.attempt + self.attempts.get(event.job, 1) - 1
                return replace(event, attempt=attempt)
            case JobRetried():
                return replace(event, attempt=event.attempt + self.attempts.get(event.job, 1) - 1)
            case JobFinished() if event.record.job in self.todo:
                self._settle(event.record.job, self.ran)
            case JobCached() if event.job in self.todo:
                self._settle(event.job, self.cached)
            case JobFailed() if event.job in self.todo:
                return self._fail(event)
            case JobFinished() | JobCached() | JobFailed():
                return None  # told before
            case _:
                pass
        return event

    def lose(self, batch: Batch, loss: Loss) -> list[Event]:
        """Take in that a batch was lost; return what is told of those of its jobs that nothing else was told of."""
        told: list[Event] = []
        for job in self.open_jobs(batch):
            if loss.state in OVER and job.id in self._started:
                hint = "grant it more: resources: {time: ..., memory: ...}, or in the profile"
                message = f"{loss}: it took more time or memory than it was given"
                told.append(self._fail(JobFailed(job.id, None, message, hint, "")))
                continue
            self._losses[job.id] = losses = self._losses.get(job.id, 0) + 1
            if losses <= self._lost:
                self.attempts[job.id] = self.attempts.get(job.id, 1) + 1
                message = f"{loss}, and with it the job was lost"
                told.append(JobRetried(job.id, self.attempts[job.id] - 1, None, message, 0.0, ""))
                continue
            times = f"{losses} times" if losses > 1 else "once"
            hint = "ask the cluster what became of it (`sacct -j`, `scontrol show job`); `repro run` tries it anew"
            self._settle(job.id, self.failed)
            told.append(JobFailed(job.id, None, f"{loss}; the job was lost {times}", hint, ""))
        return told

    def drop_needing(self) -> list[tuple[str, str]]:
        """Return the jobs that cannot run as something they need failed, with that; they are no longer to do."""
        dropped: list[tuple[str, str]] = []
        gone = {*self.failed, *self.skipped}
        for name, job in list(self.todo.items()):  # in the plan's order: each after those it needs
            because = next((need for need in job.needs if need in gone), None)
            if because is not None:
                del self.todo[name]
                self.skipped[name] = because
                gone.add(name)
                dropped.append((name, because))
        return dropped

    def drop_rest(self) -> list[tuple[str, str]]:
        """Return the jobs that are left to do, of which none will be, with the failure that ends the run."""
        because = next(iter(self.failed))
        rest = [(name, because) for name in self.todo]
        self.skipped.update(rest)
        self.todo.clear()
        return rest

    def open_jobs(self, batch: Batch) -> list[Job]:
        """Return the jobs of a batch of which nothing is known, though all that they need is done."""

        def is_open(job: Job) -> bool:
            unknown = job.id in self.todo and job.id not in self._again
            return unknown and all(need in self.ran or need in self.cached for need in job.needs)

        return [job for job in batch.jobs if is_open(job)]

    def progress(self) -> tuple[int, int]:
        """Return numbers of which one at least grows with every round that came to something."""
        return len(self.ran) + len(self.cached) + len(self.failed), sum(self.attempts.values())

    def status(self) -> dict[str, str]:
        """Return how the jobs that ended did: ran, cached, failed or skipped."""
        ran, cached = dict.fromkeys(self.ran, "ran"), dict.fromkeys(self.cached, "cached")
        return {**ran, **cached, **dict.fromkeys(self.failed, "failed"), **dict.fromkeys(self.skipped, "skipped")}

    def _settle(self, job: str, where: dict[str, None]) -> None:
        del self.todo[job]
        where[job] = None

    def _fail(self, event: JobFailed) -> Event:
        """Return what is told of a failure: that another attempt comes, which gets more, or that none does."""
        job = self.todo[event.job]
        self._failures[job.id] = failures = self._failures.get(job.id, 0) + 1
        if grows(job) and failures <= job.step.retries.count:
            attempt = self.attempts.get(job.id, 1)
            self.attempts[job.id] = attempt + 1
            self._again.add(job.id)
            return JobRetried(job.id, attempt, event.exit_status, event.message, 0.0, event.log)
        self._settle(job.id, self.failed)
        return event
