"""One run of a plan: assess, start what must run as far as needs and room allow, record, report."""

from __future__ import annotations

import difflib
import os
import queue
import threading
from collections import Counter
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache
from repro.errors import UsageError
from repro.events import JobCached, RunFinished
from repro.execution.assess import Assessor, Files, JobState
from repro.execution.attempt import Attempts
from repro.execution.driving import Drive
from repro.execution.fetched import Unlocked
from repro.execution.image import Image
from repro.execution.images import Containers, Images
from repro.execution.jobs import Jobs
from repro.execution.parts import Parts
from repro.execution.records import Records
from repro.execution.room import Room
from repro.execution.secrets import Vault, chosen
from repro.execution.state import State
from repro.execution.survey import Survey
from repro.execution.temporary import Temporaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from repro.digest import Digest
    from repro.errors import WorkflowError
    from repro.events import Sink
    from repro.execution.cluster import Cluster
    from repro.execution.debugging import Debugging
    from repro.execution.driving import Inbox
    from repro.execution.fetched import Fetched
    from repro.execution.jobs import Replan
    from repro.execution.pinned import Pinned
    from repro.execution.survey import Standing
    from repro.runtime.container import Launcher
    from repro.workflow.model import Job, Plan

__all__ = ["Executor", "Image", "JobState"]

_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
}  # uname's names to OCI's (image-spec config.md, "architecture")


class Executor:
    """Runs the jobs of a plan in the project; good for one run.

    Args:
        project: absolute path of the project's folder.
        plan: the jobs, each after those it needs, as far as they can be known.
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
        keep_going: after a failure run all that does not need the failed job; otherwise no other job starts.
        forced: names of steps whose jobs run though they are cached.
        replan: gives the whole plan again, with the jobs of deferred steps that wait for nothing but the steps named;
            None: no step is deferred.
        named: how many there are of what steps ask for by a name of its own, ``gpus`` among them.
        fetched: what the lock says of the outputs of ``fetch: true`` steps; None: nothing.
        state: where the project's state is, for a node that runs a part of the plan; None: in its ``.repro``, with
            ``scratch``.
        cluster: runs the jobs, instead of this host.
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
        keep_going: bool = False,
        forced: frozenset[str] = frozenset(),
        replan: Replan | None = None,
        named: Mapping[str, int] | None = None,
        fetched: Fetched | None = None,
        state: State | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.project = project
        self._jobs = Jobs(plan, replan)
        self.state = state or State(project, scratch)
        self._cluster = cluster
        self._part = state is not None
        self._image_ids = image_ids
        self._emit = sink
        self._host = host
        self._keep_going = keep_going
        self._room = Room(cpus, memory, self.state.scratch, named or {})
        if cache is None:
            cache = StatCache(self.state.stat_cache)
            cache.load()
        self._cache = cache
        self._files = Files(project, self._cache, pinned)
        self._vault = Vault(project if state is None else state.scratch)
        self._settled: list[Standing] = []
        self._records = Records(self.state.records)
        fetched = fetched or Unlocked()
        machine = _MACHINES.get(os.uname().machine, os.uname().machine)
        platform = platform or f"linux/{machine}"
        self._assessor = Assessor(self._files, self._records, platform, forced=forced, fetched=fetched)
        self._containers = Containers(launcher)
        self._inbox: Inbox = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._attempts = Attempts(
            state=self.state,
            assessor=self._assessor,
            files=self._files,
            records=self._records,
            images=Images(images, sink, image_ids),
            image_ids=image_ids,
            containers=self._containers,
            makers=self._jobs.makers,
            secrets=secrets or {},
            vault=self._vault,
            sink=sink,
            now=now,
            host=host,
            fetched=fetched,
            stopping=self._stopping,
        )

    @property
    def plan(self) -> Plan:
        """The plan, with the jobs of deferred steps as far as they are known by now."""
        return self._jobs.plan

    def assess(self) -> tuple[JobState, ...]:
        """Return how every job stands, in the plan's order; only the stat cache is written.

        Raises:
            DataError: an input that no job makes is missing or cannot be read.
            WorkflowError: what a deferred step ranges over is not as it says.
        """
        assessed = self._survey().take()
        states = tuple(state for state, _ in assessed)
        if all(state.status == "cached" for state in states):
            self._settled = assessed
        if self.state.root.is_dir():
            self._cache.save()
        return states

    def require_room(self, jobs: Iterable[Job]) -> None:
        """Raise WorkflowError where jobs, which must run, ask for more than this run has of anything but cpus."""
        self._room.require(jobs)

    def run(self, run_id: str) -> RunFinished:
        """Run what must run and return the counts.

        Raises:
            BusyError: another run of this project is under way.
            WorkflowError: a job that must run asks for more than there is; or what a deferred step ranges over is not
                as it says, which is known once others have run.
            HostError: containers cannot be had on this host at all.
        """
        with self.state.exclusive(f"run {run_id} on {self._host}, process {os.getpid()}"):
            self._vault.sweep()
            if self.state.cluster.exists():
                from repro.execution.orphans import adopt  # noqa: PLC0415 - only after a run on a cluster was killed

                adopt(self.state, self._emit)
            try:
                finished, error = self._run(run_id)
            finally:
                self._vault.sweep()
                self._cache.save()
        self._emit(finished)
        if error is not None:
            raise error
        return finished

    def debugging(self, name: str) -> Debugging:
        """Return what it takes to step into the job's world, whether it has run or not; its image is made for it.

        Raises:
            UsageError: the plan has no such job.
        """
        from repro.execution.debugging import Debugging  # noqa: PLC0415 - a run needs no terminal

        self._survey().take(lenient=True)  # jobs of deferred steps, and which temporary outputs are gone
        job = self._jobs.by_id.get(name)
        if job is None:
            close = difflib.get_close_matches(name, self._jobs.by_id, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "`repro plan` lists them"
            raise UsageError(f"there is no job {name!r}", hint=hint)
        secrets = chosen(job.step, self._attempts.secrets)
        image = self._attempts.images.get(job.step.environment)
        return Debugging(job, image, self._room.share(job), self.state, self._files, secrets)

    def stop(self) -> None:
        """End the run soon: no job starts, running ones are killed. For signal handlers and other threads."""
        self._stopping.set()
        self._files.pinned.stop()
        self._inbox.put(None)  # SimpleQueue.put is safe in a handler, whatever it interrupted

    # Running

    def _run(self, run_id: str) -> tuple[RunFinished, WorkflowError | None]:
        # Where `assess` found nothing to do, nothing was built or run since: its word stands.
        standings = self._settled or self._survey().take(lenient=True)
        temporaries = Temporaries(self._jobs, self._files, self.state.removed, part=self._part)
        status: dict[str, str] = {}
        todo: list[Job] = []
        for state, assessment in standings:
            if state.status == "cached" and assessment is not None:
                status[state.job.id] = "cached"
                self._attempts.forget_checkpoint(state.job)  # a kill may have come before
                self._emit(JobCached(state.job.id, assessment.key))
                temporaries.done(state.job.id)
            else:
                todo.append(state.job)
        ended, error = self._finish(run_id, todo, temporaries) if todo and not self._stopping.is_set() else ({}, None)
        counts = Counter((status | ended).values())
        broken = counts["failed"] or error is not None
        how = "interrupted" if self._stopping.is_set() else "failed" if broken else "succeeded"
        ends = {name: counts[name] for name in ("ran", "cached", "failed", "skipped")}
        return RunFinished(run_id, how, **ends), error

    def _finish(
        self, run_id: str, todo: list[Job], temporaries: Temporaries
    ) -> tuple[dict[str, str], WorkflowError | None]:
        """Run the jobs to their ends, here or on the cluster; return how each did, and what came of planning more."""
        if self._cluster is not None:
            away = self._cluster.drive(run_id, todo, self._parts(temporaries), keep_going=self._keep_going)
            return away.status, away.error
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - a no-op run starts no thread

        drive = self._drive(run_id, temporaries)
        with ThreadPoolExecutor(self._room.cpus) as pool:
            try:
                drive.run(todo, pool)
            finally:
                self._containers.kill_all()  # none is left unless something went wrong
        return drive.status, drive.error

    def _parts(self, temporaries: Temporaries) -> Parts:
        return Parts(
            state=self.state,
            jobs=self._jobs,
            files=self._files,
            records=self._records,
            temporaries=temporaries,
            sink=self._emit,
            stopping=self._stopping,
        )

    def _survey(self) -> Survey:
        return Survey(self._jobs, self._files, self._assessor, self._image_ids)

    def _drive(self, run_id: str, temporaries: Temporaries) -> Drive:
        return Drive(
            run_id,
            jobs=self._jobs,
            files=self._files,
            records=self._records,
            temporaries=temporaries,
            attempts=self._attempts,
            room=self._room,
            sink=self._emit,
            keep_going=self._keep_going,
            inbox=self._inbox,
            stopping=self._stopping,
            stop=self.stop,
        )
