"""Runs jobs on a cluster: round by round they are written as tickets, and a Snakemake of ours brings these to nodes.

The driver, this process, holds the project, has images and remote inputs at hand, and keeps the run's journal. A node
runs a batch with the same code as a local run, writes records and a journal of its own, and no file of another node.
Whether a job succeeded its record says, whatever the cluster thinks of it. What was lost is given away once more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from repro import process
from repro.errors import HostError, ReproError, WorkflowError
from repro.events import ImageUsed, InputUsed, JobCached, JobFinished, JobsAdded, JobSkipped, Notice
from repro.execution import slurm, snakefile, ticket
from repro.execution.batches import batches
from repro.execution.relay import Relay
from repro.execution.reports import Reports, last_words
from repro.execution.rounds import Rounds
from repro.execution.world import wanted_paths
from repro.files import remove_tree, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from repro.events import Event, JobRecord
    from repro.execution.fetched import Fetched
    from repro.execution.image import Image
    from repro.execution.parts import Parts
    from repro.execution.profile import Profile
    from repro.execution.ticket import Batch, Shared
    from repro.workflow.model import Job

SHARED = "shared.json"  # of a round, beside its tickets
HALT = "halt"  # in the folder of a round: batches that start from now on run nothing
_LISTEN = 0.5  # seconds between two looks at what nodes tell
_GRACE = 15  # seconds for Snakemake to cancel its jobs and end
_VISIBLE = 30  # seconds until a file that a node wrote must be seen here


class Cluster:
    """A cluster for one run.

    Args:
        executor: ``slurm``, or the name of another executor plugin of Snakemake, which is used as it is.
        profile: how jobs go there.
        shared: what tickets say of the run; images and the run's ID are filled in.
        images: gives an environment's image.
        fetched: the lock of what steps with ``fetch`` bring, told of what nodes fetched.
        environ: the variables of Snakemake's process.
        command: runs a batch on a node once the path of its ticket is put behind it.
        named: what all jobs under way may take of named resources.
    """

    def __init__(
        self,
        executor: str,
        profile: Profile,
        shared: Callable[[str, tuple[Image, ...]], Shared],
        *,
        images: Callable[[str], Image],
        fetched: Fetched,
        environ: Mapping[str, str],
        command: Sequence[str],
        named: Mapping[str, int],
    ) -> None:
        self.executor = executor
        self.profile = profile
        self._shared = shared
        self._images = images
        self.fetched = fetched
        self._environ = environ
        self._command = command
        self._named = named
        self._accounting = executor == snakefile.OURS and slurm.has_accounting()

    def drive(self, run_id: str, todo: Sequence[Job], parts: Parts, *, keep_going: bool) -> Drive:
        """Run the jobs to their ends; return how each of them ended.

        Raises:
            HostError: Slurm does not answer, or takes no job.
            WorkflowError: resources of a job cannot be told for its attempt.
        """
        drive = Drive(self, run_id, parts, keep_going=keep_going)
        drive.run(todo)
        return drive

    def write(self, folder: Path, run_id: str, made: Sequence[Batch]) -> None:
        """Write the tickets and the Snakefile of a round."""
        names = dict.fromkeys(job.step.environment for batch in made for job in batch.jobs)
        ticket.write(folder / SHARED, self._shared(run_id, tuple(self._images(name) for name in names)))
        for batch in made:
            ticket.write(folder / snakefile.TICKETS / f"{batch.name}.json", batch)
        snakefile.write_round(folder, made, self.profile, self._command)

    def start(self, folder: Path, tag: str) -> subprocess.Popen[bytes]:
        """Start the Snakemake of a round. The thread that calls this is to outlive it: it ends when that does."""
        argv = snakefile.command_line(self.executor, self.profile, self._named, accounting=self._accounting)
        environ = snakefile.environment(self._environ, tag)
        return process.start(argv, cwd=folder, env=environ, log=folder / snakefile.LOG)

    def sweep(self, prefix: str) -> int:
        """Cancel Slurm jobs whose names begin so; return how many there were once they are gone."""
        return slurm.cancel(prefix) if self.executor == snakefile.OURS else 0


class Drive:
    """One run on a cluster. ``status`` and ``error`` are as those of `repro.execution.driving.Drive`."""

    def __init__(self, cluster: Cluster, run_id: str, parts: Parts, *, keep_going: bool) -> None:
        self.error: WorkflowError | None = None
        self._cluster = cluster
        self._run_id = run_id
        self._parts = parts
        self._keep_going = keep_going
        self._folder = parts.state.runs / run_id
        self._tag = slurm.tag(parts.state.project, run_id)
        self._rounds = Rounds((), lost=cluster.profile.lost)
        self._told: set[tuple[str, str]] = set()  # what several nodes tell
        self._work = self._folder / "cluster"

    @property
    def status(self) -> dict[str, str]:
        """The jobs that ended: ran, cached, failed or skipped."""
        return self._rounds.status()

    def run(self, todo: Sequence[Job]) -> None:
        """Run the jobs, and those that join, in as many rounds as it takes."""
        marker = self._parts.state.cluster
        write_atomic(marker, self._run_id.encode())
        self._rounds.add(todo)
        number = 0
        while self._rounds.todo and not self._parts.stopping.is_set():
            number += 1
            before = self._rounds.progress()
            folder = self._work / str(number)
            self._round(folder, number)
            self._skip()
            if self._rounds.todo and self._rounds.progress() == before and not self._parts.stopping.is_set():
                raise self._stuck(folder)
            if not self._rounds.todo and not self._parts.stopping.is_set():
                self._grow()
        if not self._rounds.failed and self.error is None:
            remove_tree(self._work)
        marker.unlink(missing_ok=True)

    # A round

    def _round(self, folder: Path, number: int) -> None:
        jobs = self._rounds.begin()
        made = batches(
            jobs,
            round_number=number,
            attempts=self._rounds.attempts,
            profile=self._cluster.profile,
            wall=self._wall,
        )
        self._fetch(jobs)
        if self._parts.stopping.is_set():
            return
        self._cluster.write(folder, self._run_id, made)
        relay = Relay(self._folder)
        reports = Reports(folder / snakefile.TOLD)
        missing = {batch.name for batch in made}  # that have no result
        if self._cluster.executor != snakefile.OURS:  # its plugin tells of no batch
            for name in sorted(missing):
                relay.follow(name)
        running = self._cluster.start(folder, self._tag)
        try:
            while missing and self._wait(running):
                missing -= self._listen(folder, relay, reports)
        finally:
            self._end(running, done=not missing)
        self._listen(folder, relay, reports)
        for batch in relay.following:
            self._hear(relay.finish(batch))
        reports.known.update({name: "" for name in relay.begun if name not in reports.known})
        if not self._parts.stopping.is_set() and (self._keep_going or not self._rounds.failed):
            self._lose(made, reports)

    def _wait(self, running: subprocess.Popen[bytes]) -> bool:
        """Return whether Snakemake still runs, after a moment; False also once the run is to stop."""
        if self._parts.stopping.is_set():
            return False
        try:
            running.wait(_LISTEN)
        except subprocess.TimeoutExpired:
            return True
        except KeyboardInterrupt:
            self._parts.stopping.set()
        return False

    def _end(self, running: subprocess.Popen[bytes], *, done: bool) -> None:
        """Have Snakemake end, and nothing of the run left in the queue.

        When all is ``done`` nothing waits for its own end, which comes seconds later.
        """
        if running.poll() is None and not done:
            running.send_signal(signal.SIGINT)  # it cancels its jobs; SIGTERM would wait for them
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(_GRACE)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)  # its session, with any sbatch of it
            running.wait()
            if not done:
                time.sleep(1)  # until the queue has what that sbatch said last
        self._cluster.sweep(self._tag)

    def _listen(self, folder: Path, relay: Relay, reports: Reports) -> set[str]:
        """Tell on what nodes told; return the batches that have ended since the last time."""
        for batch in reports.read():
            relay.follow(batch)
        ended = {name for name in relay.following if (folder / snakefile.RESULTS / f"{name}.json").exists()}
        self._hear(relay.read())
        for batch in sorted(ended):
            self._hear(relay.finish(batch))
        if self._rounds.failed and not self._keep_going and not (folder / HALT).exists():
            (folder / HALT).touch()
            if self._cluster.executor == snakefile.OURS:
                with contextlib.suppress(HostError):  # they would find the file
                    slurm.cancel(self._tag, only_waiting=True)
        return ended

    def _hear(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, JobFinished):
                if event.record.job not in self._rounds.todo or not self._recorded(event.record):
                    continue
            elif isinstance(event, ImageUsed | InputUsed | Notice):
                about = (event.kind, getattr(event, "environment", getattr(event, "path", getattr(event, "text", ""))))
                if about in self._told:
                    continue
                self._told.add(about)
            heard = self._rounds.hear(event)
            if heard is not None:
                self._parts.sink(heard)
            self._done(event)

    def _done(self, event: Event) -> None:
        """Have temporary outputs removed that nobody needs now that a job has ended."""
        if isinstance(event, JobFinished):
            self._parts.temporaries.done(event.record.job)
        elif isinstance(event, JobCached):
            self._parts.temporaries.done(event.job)

    def _recorded(self, record: JobRecord) -> bool:
        """Return whether the record is there, which alone says that a job succeeded; note its outputs, unread."""
        path = self._parts.records.path(record.step, record.job, record.key)
        deadline = time.monotonic() + _VISIBLE
        while not path.exists():
            if time.monotonic() > deadline:
                return False
            os.listdir(self._parts.records.root)  # a network file system looks again
            time.sleep(_LISTEN)
        if self._rounds.todo[record.job].step.fetch:
            self._cluster.fetched.lock(tuple(record.outputs.values()))
        with contextlib.suppress(ReproError):  # removed meanwhile: assessing tells
            for output in record.outputs.values():
                self._parts.files.made(output)
        return True

    # Between rounds

    def _lose(self, made: Sequence[Batch], reports: Reports) -> None:
        """Have jobs given away again whose batch was given away, and of which nobody told anything."""
        lost = [batch for batch in made if batch.name in reports.known and self._rounds.open_jobs(batch)]
        if lost and all(batch.name in reports.refused for batch in lost):
            reasons = dict.fromkeys(reports.refused.values())
            hint = "mend the profile (docs/how-to/slurm.md): partition, account, time and the like"
            raise HostError("Slurm takes no job of this run", why="; ".join([*reasons][:3]), hint=hint)
        for batch in lost:
            for event in self._rounds.lose(batch, reports.loss(batch.name)):
                self._parts.sink(event)

    def _stuck(self, folder: Path) -> HostError:
        """Return the error for a round that came to nothing, of which there would be more and more."""
        log = folder / snakefile.LOG
        hint = f"see {os.path.relpath(log, self._parts.state.project)}"
        return HostError("Snakemake gave no job to the cluster", why=last_words(log), hint=hint)

    def _skip(self) -> None:
        """Tell of the jobs that cannot run any more."""
        for name, because in self._rounds.drop_needing():
            self._parts.sink(JobSkipped(name, because))
        if self._rounds.failed and not self._keep_going and not self._parts.stopping.is_set():
            for name, because in self._rounds.drop_rest():
                self._parts.sink(JobSkipped(name, because, needed=False))

    def _grow(self) -> None:
        """Take the jobs that are known now that all others are done."""
        unsuccessful = (*self._rounds.failed, *self._rounds.skipped)
        busy = {self._parts.jobs.by_id[name].step.name for name in unsuccessful}
        try:
            new = self._parts.jobs.grow(busy)
        except WorkflowError as error:
            self.error = error
            return
        if new:
            self._parts.sink(JobsAdded(tuple(dict.fromkeys(job.step.name for job in new)), len(new)))
            self._rounds.add(new)
            self._parts.temporaries.refresh()

    def _fetch(self, jobs: Iterable[Job]) -> None:
        """Have remote inputs in the cache before nodes want them, many of which reach nothing outside."""
        pinned = self._parts.files.pinned
        for path in dict.fromkeys(path for job in jobs for path in wanted_paths(job) if pinned.has(path)):
            if self._parts.stopping.is_set():
                return
            with contextlib.suppress(ReproError):  # the job that needs it tells
                pinned.place(path)

    def _wall(self, job: Job) -> float | None:
        latest = self._parts.records.latest(job.step.name, job.id)
        return None if latest is None else latest.usage.wall
