"""The jobs of a run under way: started as needs and room allow, tried again, given up, joined by new ones."""

from __future__ import annotations

import heapq
import queue
import shlex
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from repro.errors import WorkflowError
from repro.events import JobFailed, JobRetried, JobsAdded, JobSkipped, Notice
from repro.execution.attempt import Attempt
from repro.execution.scheduler import Schedule, Task
from repro.execution.world import wanted_paths
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor as Pool
    from concurrent.futures import Future

    from repro.events import Sink
    from repro.execution.assess import Files
    from repro.execution.attempt import Attempts, Outcome
    from repro.execution.jobs import Jobs
    from repro.execution.records import Records
    from repro.execution.room import Room
    from repro.execution.runner import Failure
    from repro.execution.temporary import Temporaries
    from repro.workflow.model import Job

Inbox: TypeAlias = "queue.SimpleQueue[tuple[Attempt, Future[Outcome]] | None]"  # None: stop


class Drive:
    """Runs jobs to their ends; good for one run. All of it happens in the thread that calls `run`."""

    def __init__(
        self,
        run_id: str,
        *,
        jobs: Jobs,
        files: Files,
        records: Records,
        temporaries: Temporaries,
        attempts: Attempts,
        room: Room,
        sink: Sink,
        keep_going: bool,
        inbox: Inbox,
        stopping: threading.Event,
        stop: Callable[[], None],
    ) -> None:
        """``inbox`` brings None when the run is to stop; ``stop`` then ends the containers."""
        self.error: WorkflowError | None = None  # what came of planning more; the run ends with it
        self.status: dict[str, str] = {}  # of the jobs that ended: ran, cached, failed, skipped
        self._run_id = run_id
        self._jobs = jobs
        self._files = files
        self._records = records
        self._temporaries = temporaries
        self._attempts = attempts
        self._room = room
        self._whole = room.all()
        self._emit = sink
        self._keep_going = keep_going
        self._inbox = inbox
        self._stopping = stopping
        self._stop = stop
        self._broken = ""  # what has failed, so that nothing more is started
        self._next: dict[str, Attempt] = {}  # the attempt that a job starts with
        self._due: list[tuple[float, str]] = []  # a heap: when jobs are tried again
        self._last: dict[str, tuple[Attempt, Failure, str]] = {}  # of jobs that are to be tried again; with the log
        self._left: Counter[str] = Counter()  # jobs of each step that have not succeeded
        self._clamped: set[str] = set()
        self._told: set[str] = set()  # inputs from elsewhere
        self._schedule = Schedule((), room=self._whole)

    def run(self, todo: Sequence[Job], pool: Pool) -> None:
        """Run the jobs, and those that join; return when all have ended, or nothing more is to start."""
        self._room.require(todo)
        self._join(todo)
        self._start(pool)
        while self._schedule.running or self._schedule.held:
            self._take()
            self._start(pool)

    def _start(self, pool: Pool) -> None:
        if self._stopping.is_set():
            self._schedule.drop()
        while (name := self._schedule.start()) is not None:
            attempt = self._next[name]
            future = pool.submit(self._attempts.make, self._run_id, attempt)
            future.add_done_callback(partial(self._put, attempt))

    def _join(self, jobs: Sequence[Job]) -> None:
        read = dict.fromkeys(path for job in jobs for path in wanted_paths(job) if path not in self._jobs.makers)
        for used in self._files.pinned.used(read):
            if used.path not in self._told:
                self._told.add(used.path)
                self._emit(used)
        self._left.update(job.step.name for job in jobs)
        self._schedule.add(self._tasks(jobs))

    def _tasks(self, jobs: Iterable[Job]) -> list[Task]:
        """Return the scheduler's tasks for first attempts; cpus are clamped with a notice."""
        tasks = []
        for job in jobs:
            step, granted = job.step, self._room.share(job)
            if step.name not in self._clamped and isinstance(step.resources.cpus, int):
                if step.resources.cpus > granted.cpus:
                    text = f"step {step.name} asks for {step.resources.cpus} cpus; this host gives {granted.cpus}"
                    self._emit(Notice("warning", text))
                self._clamped.add(step.name)
            self._next[job.id] = attempt = Attempt(job, 1, granted)
            latest = self._records.latest(step.name, job.id)
            weight = latest.usage.wall if latest is not None else float(granted.time or 1)
            tasks.append(Task(job.id, job.needs, self._amounts(attempt), weight))
        return tasks

    def _amounts(self, attempt: Attempt) -> dict[str, int]:
        """Return what the attempt takes of the room; one that grew beyond it takes all."""
        taken = self._room.amounts(attempt.granted)
        return {name: min(amount, self._whole.get(name, 0)) for name, amount in taken.items()}

    def _put(self, attempt: Attempt, future: Future[Outcome]) -> None:
        self._inbox.put((attempt, future))

    def _take(self) -> None:
        """Wait for an attempt to end, for the time of another one, or for the wish to stop, and act on it."""
        timeout = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            self._resume()
            return
        except KeyboardInterrupt:
            self._stop()
            return
        if message is None:
            self._attempts.containers.stop()
            return
        attempt, future = message
        outcome = future.result()
        match outcome.status:
            case "ran" | "cached":
                self._succeeded(attempt.job, outcome.status)
            case "waits":
                self._postpone(attempt.job, outcome.gone)
            case "interrupted":
                self._schedule.failed(attempt.job.id)
            case _:
                assert outcome.failure is not None
                self._failed(attempt, outcome.failure, outcome.log)

    def _succeeded(self, job: Job, status: str) -> None:
        self.status[job.id] = status
        self._schedule.succeeded(job.id)
        self._temporaries.done(job.id)
        self._left[job.step.name] -= 1
        if self._left[job.step.name] == 0 and not self._broken:
            self._grow()

    def _grow(self) -> None:
        """Take the jobs that are known now that a step is done."""
        before = self._jobs.plan
        if not before.deferred:
            return
        try:
            new = self._jobs.grow({name for name, count in self._left.items() if count})
            self._room.require(new)
        except WorkflowError as error:
            self.error = error
            self._halt("planning")
            return
        if new:
            self._emit(JobsAdded(tuple(dict.fromkeys(job.step.name for job in new)), len(new)))
            self._join(new)
        if self._jobs.plan is not before:
            self._temporaries.refresh()

    # Failures

    def _failed(self, attempt: Attempt, failure: Failure, log: str) -> None:
        job, retries = attempt.job, attempt.job.step.retries
        if attempt.number > retries.count or failure.final or self._broken:
            self._give_up(attempt, failure, log)
            return
        try:
            granted = self._room.share(job, attempt.number + 1)
        except TemplateError as error:
            self._give_up(attempt, replace(failure, message=f"{failure.message}\n{error.message}"), log)
            return
        self._schedule.hold(job.id)
        self._next[job.id] = Attempt(job, attempt.number + 1, granted)
        pause = retries.pause * retries.factor ** (attempt.number - 1)
        heapq.heappush(self._due, (time.monotonic() + pause, job.id))
        kept = self._attempts.shelve_log(self._run_id, attempt)
        self._last[job.id] = (attempt, failure, kept)
        self._emit(JobRetried(job.id, attempt.number, failure.exit_status, failure.message, pause, kept))

    def _resume(self) -> None:
        """Let the jobs start again whose pause is over."""
        while self._due and self._due[0][0] <= time.monotonic():
            name = heapq.heappop(self._due)[1]
            del self._last[name]
            self._schedule.resume(name, self._amounts(self._next[name]))

    def _give_up(self, attempt: Attempt, failure: Failure, log: str) -> None:
        job = attempt.job
        lost = self._schedule.failed(job.id)
        self._tell_failure(attempt, failure, log)
        for name, because in lost:
            self._skip(name, because, needed=True)
        if not self._keep_going:
            self._halt(job.id)

    def _tell_failure(self, attempt: Attempt, failure: Failure, log: str) -> None:
        name, number = attempt.job.id, attempt.number
        self.status[name] = "failed"
        message = f"attempt {number}: {failure.message}" if number > 1 else failure.message
        debug = "" if failure.exit_status is None else f"repro debug {shlex.quote(name)}"
        self._emit(JobFailed(name, failure.exit_status, message, failure.hint, log, debug))

    def _halt(self, because: str) -> None:
        """Start nothing more, for ``because`` has failed; what runs is let end."""
        if self._broken:
            return
        self._broken = because
        self._due.clear()
        for name in self._schedule.drop():
            if name in self._last:
                self._tell_failure(*self._last.pop(name))
            else:
                self._skip(name, because, needed=False)

    def _skip(self, name: str, because: str, *, needed: bool) -> None:
        self.status[name] = "skipped"
        self._emit(JobSkipped(name, because, needed))

    # Temporary outputs that are gone

    def _postpone(self, job: Job, gone: Sequence[str]) -> None:
        """Have the makers of temporary outputs run again, and the job after them."""
        makers = {maker.id: maker for maker in map(self._jobs.maker, gone)}
        broken = next((name for name in makers if self.status.get(name) in ("failed", "skipped")), None)
        if broken is not None or self._broken:
            self._skip(job.id, broken or self._broken, needed=broken is not None)
            for name, because in self._schedule.failed(job.id):
                self._skip(name, because, needed=True)
            return
        for path in gone:
            self._files.need(path)
        for name, maker in makers.items():
            if not self._schedule.has(name):
                self.status.pop(name, None)
                self._temporaries.again(name)
                self._left[maker.step.name] += 1
        self._schedule.postpone(job.id, self._tasks(makers.values()))
