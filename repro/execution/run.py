"""One run of a plan: assess, start what must run as far as needs and room allow, record, report."""

from __future__ import annotations

import os
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from repro.data.checksum import StatCache
from repro.errors import DataError, Problem, WorkflowError
from repro.events import JobCached, JobSkipped, Notice, RunFinished
from repro.execution.assess import Assessment, Assessor, Files, JobState, wanted_paths
from repro.execution.attempt import Attempts
from repro.execution.image import Image
from repro.execution.images import Containers, Images
from repro.execution.records import Records
from repro.execution.scheduler import Schedule, Task
from repro.execution.secrets import Vault
from repro.execution.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from datetime import datetime
    from pathlib import Path

    from repro.digest import Digest
    from repro.events import Sink
    from repro.execution.assess import Checked
    from repro.execution.pinned import Pinned
    from repro.runtime.container import Launcher
    from repro.workflow.model import Job, Plan

__all__ = ["Executor", "Image", "JobState"]

_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
}  # uname's names to OCI's (image-spec config.md, "architecture")
_Inbox: TypeAlias = "queue.SimpleQueue[tuple[Job, Future[str]] | None]"


class Executor:
    """Runs the jobs of a plan in the project; good for one run.

    Args:
        project: absolute path of the project's folder.
        plan: the jobs, each after those it needs.
        image_ids: ID of each environment's image, as far as known; an environment that is not in it is asked
            of ``images`` once one of its jobs must run.
        images: gives an environment's image, ready to run; called from several threads, once an environment.
        launcher: gives the launcher, once the first container is to start. The caller closes it; `stop` does too.
        sink: hears all events of the run other than RunStarted.
        now: the time, with its zone.
        host: this host's name, for the records.
        cpus, memory: what all running jobs may use together; bytes.
        scratch: folder for the jobs' worlds instead of ``.repro/scratch``.
        platform: ``linux/amd64``; None: this host's.
        pinned: the workflow's inputs from elsewhere than the project; None: it has none.
        secrets: bytes by name, shown to the jobs of the steps that name them.
        cache: digests known of the project's files; None: what ``.repro`` has of them.
    """

    def __init__(
        self,
        project: Path,
        plan: Plan,
        *,
        image_ids: Mapping[str, Digest],
        images: Callable[[str], Image],
        launcher: Callable[[], Launcher],
        sink: Sink,
        now: Callable[[], datetime],
        host: str,
        cpus: int,
        memory: int,
        scratch: Path | None = None,
        platform: str | None = None,
        pinned: Pinned | None = None,
        secrets: Mapping[str, bytes] | None = None,
        cache: StatCache | None = None,
    ) -> None:
        self.project = project
        self.plan = plan
        self.state = State(project, scratch)
        self._image_ids = image_ids
        self._emit = sink
        self._host = host
        self._cpus = cpus
        self._memory = memory
        if cache is None:
            cache = StatCache(self.state.stat_cache)
            cache.load()
        self._cache = cache
        self._files = Files(project, self._cache, pinned)
        self._vault = Vault(project)
        self._settled: list[tuple[JobState, Assessment | None]] = []
        machine = _MACHINES.get(os.uname().machine, os.uname().machine)
        self._assessor = Assessor(self._files, Records(self.state.records), platform or f"linux/{machine}")
        self._containers = Containers(launcher)
        self._makers = {
            output.path: f"{job.step.name}.{name}" for job in plan.jobs for name, output in job.outputs.items()
        }
        self._inbox: _Inbox = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._attempts = Attempts(
            state=self.state,
            assessor=self._assessor,
            files=self._files,
            records=Records(self.state.records),
            images=Images(images, sink, image_ids),
            image_ids=image_ids,
            containers=self._containers,
            makers=self._makers,
            secrets=secrets or {},
            vault=self._vault,
            sink=sink,
            now=now,
            host=host,
            cpus=cpus,
            stopping=self._stopping,
        )

    def assess(self) -> tuple[JobState, ...]:
        """Return how every job stands, in the plan's order; only the stat cache is written.

        Raises:
            DataError: an input that no job makes is missing or cannot be read.
        """
        assessed = list(self._assess_all())
        states = tuple(state for state, _ in assessed)
        if all(state.status == "cached" for state in states):
            self._settled = assessed
        if self.state.root.is_dir():
            self._cache.save()
        return states

    def require_memory(self, jobs: Iterable[Job]) -> None:
        """Raise WorkflowError where jobs, which must run, ask for more memory than there is."""
        problems: dict[str, Problem] = {}
        for job in jobs:
            step, memory = job.step, job.step.resources.memory or 0
            if memory > self._memory:
                where = step.marks.get("resources", step.where)
                message = f"{memory / 1e9:.1f} GB of memory are asked for; this run has {self._memory / 1e9:.1f} GB"
                hint = "ask for less, or use a larger host"
                problems[step.name] = Problem(where, f"steps.{step.name}.resources.memory", message, hint=hint)
        if problems:
            raise WorkflowError(problems.values())

    def run(self, run_id: str) -> RunFinished:
        """Run what must run and return the counts; a job that fails stops only what needs it.

        Raises:
            BusyError: another run of this project is under way.
            WorkflowError: a job that must run asks for more memory than there is.
            HostError: containers cannot be had on this host at all.
        """
        with self.state.exclusive(f"run {run_id} on {self._host}, process {os.getpid()}"):
            self._vault.sweep()
            try:
                finished = self._run(run_id)
            finally:
                self._vault.sweep()
                self._cache.save()
        self._emit(finished)
        return finished

    def stop(self) -> None:
        """End the run soon: no job starts, running ones are killed. For signal handlers and other threads."""
        self._stopping.set()
        self._files.pinned.stop()
        self._inbox.put(None)  # SimpleQueue.put is safe in a handler, whatever it interrupted

    # Assessing

    def _assess_all(self, *, lenient: bool = False) -> Iterator[tuple[JobState, Assessment | None]]:
        """Give each job's standing; ``lenient`` leaves what is wrong with a job's files to the job itself."""
        raw = [path for job in self.plan.jobs for path in wanted_paths(job) if path not in self._makers]
        seen = self._files.check_all(raw)
        unsettled: set[str] = set()
        for job in self.plan.jobs:
            try:
                state, assessment = self._assess(job, unsettled, seen)
            except DataError as error:
                if not lenient:
                    raise
                state, assessment = JobState(job, "run", error.message), None
            if state.status != "cached":
                unsettled.add(job.id)
            yield state, assessment

    def _assess(self, job: Job, unsettled: set[str], seen: dict[str, Checked]) -> tuple[JobState, Assessment | None]:
        waits = [need for need in job.needs if need in unsettled]
        if waits:
            more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
            return JobState(job, "pending", f"it needs {waits[0]}{more}"), None
        image = self._image_ids.get(job.step.environment)
        if image is None:
            return JobState(job, "run", f"environment {job.step.environment} has no image yet"), None
        assessment = self._assessor.assess(job, image, seen)
        return assessment.state, assessment

    # Running

    def _run(self, run_id: str) -> RunFinished:
        counts = dict.fromkeys(("ran", "cached", "failed", "skipped"), 0)
        todo: dict[str, Job] = {}
        # Where `assess` found nothing to do, nothing was built or run since: its word stands.
        for state, assessment in self._settled or self._assess_all(lenient=True):
            if state.status == "cached" and assessment is not None:
                counts["cached"] += 1
                self._emit(JobCached(state.job.id, assessment.key))
            else:
                todo[state.job.id] = state.job
        if todo and not self._stopping.is_set():
            self._drive(run_id, todo, counts)
        status = "interrupted" if self._stopping.is_set() else "failed" if counts["failed"] else "succeeded"
        return RunFinished(run_id, status, **counts)

    def _drive(self, run_id: str, todo: dict[str, Job], counts: dict[str, int]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - a no-op run starts no thread

        self.require_memory(todo.values())
        read = dict.fromkeys(path for job in todo.values() for path in wanted_paths(job) if path not in self._makers)
        for used in self._files.pinned.used(read):
            self._emit(used)
        schedule = Schedule(self._tasks(todo.values()), cpus=self._cpus, memory=self._memory)
        with ThreadPoolExecutor(min(self._cpus, len(todo))) as pool:
            try:
                while not schedule.done:
                    while not self._stopping.is_set() and (name := schedule.start()) is not None:
                        job = todo[name]
                        future = pool.submit(self._attempts.make, run_id, job)
                        future.add_done_callback(partial(self._told, job))
                    if not schedule.running:
                        return  # stopped before the rest could start
                    self._take(schedule, counts)
            finally:
                self._containers.kill_all()  # none is left unless something went wrong

    def _told(self, job: Job, future: Future[str]) -> None:
        self._inbox.put((job, future))

    def _take(self, schedule: Schedule, counts: dict[str, int]) -> None:
        """Wait for one job to end, or for the wish to stop, and act on it."""
        try:
            message = self._inbox.get()
        except KeyboardInterrupt:
            self.stop()
            return
        if message is None:
            self._containers.stop()
            return
        job, future = message
        outcome = future.result()
        if outcome in ("ran", "cached"):
            counts[outcome] += 1
            schedule.succeeded(job.id)
            return
        lost = schedule.failed(job.id)
        if outcome == "failed":
            counts["failed"] += 1
            counts["skipped"] += len(lost)
            for name, because in lost:
                self._emit(JobSkipped(name, because))

    def _tasks(self, jobs: Iterable[Job]) -> list[Task]:
        """Return the scheduler's tasks; cpus are clamped with a notice."""
        tasks: list[Task] = []
        clamped: set[str] = set()
        for job in jobs:
            step = job.step
            if step.resources.cpus > self._cpus and step.name not in clamped:
                clamped.add(step.name)
                text = f"step {step.name} asks for {step.resources.cpus} cpus; this host gives {self._cpus}"
                self._emit(Notice("warning", text))
            tasks.append(Task(job.id, job.needs, min(step.resources.cpus, self._cpus), step.resources.memory or 0))
        return tasks
