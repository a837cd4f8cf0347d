"""One job of a run, from its assessment to its record; what a worker thread does."""

from __future__ import annotations

import itertools
import os
from dataclasses import field
from datetime import UTC
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import DataError, FetchError, HostError, ReproError
from repro.events import JobCached, JobFinished, JobRecord, JobStarted, Notice
from repro.execution.commands import control_files, job_command
from repro.execution.failure import os_hint, os_text
from repro.execution.room import free_space, gigabytes
from repro.execution.runner import Assignment, Failure, Success, run_job
from repro.execution.secrets import chosen
from repro.files import remove_tree
from repro.workflow.expand import render_command
from repro.workflow.resources import told

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from repro.digest import Digest
    from repro.events import Sink
    from repro.execution.assess import Assessment, Assessor, Files
    from repro.execution.fetched import Fetched
    from repro.execution.image import Image
    from repro.execution.images import Containers, Images
    from repro.execution.records import Records
    from repro.execution.secrets import Vault
    from repro.execution.state import State
    from repro.workflow.model import Job
    from repro.workflow.resources import Granted


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: its number, from 1, and the resources that it gets."""

    job: Job
    number: int
    granted: Granted


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        status: ``ran``, ``cached``, ``failed``, ``interrupted`` (of which no event tells), or ``waits``: temporary
            outputs that the job reads are gone, and it has to run.
        failure: why it failed.
        log: project path of its log; empty where there is none.
        gone: the paths that a job waits for.
    """

    status: str
    failure: Failure | None = None
    log: str = ""
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Makes attempts at jobs; everything in it may be used from many threads."""

    state: State
    assessor: Assessor
    files: Files
    records: Records
    images: Images
    image_ids: Mapping[str, Digest]
    containers: Containers
    makers: Mapping[str, str]
    secrets: Mapping[str, bytes] = field(repr=False)
    vault: Vault
    sink: Sink
    now: Callable[[], datetime]
    host: str
    fetched: Fetched
    stopping: threading.Event
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def make(self, run_id: str, attempt: Attempt) -> Outcome:
        """Run the job unless its inputs, now there, make it cached; of a failure the caller tells.

        Raises:
            HostError: containers cannot be had on this host at all.
        """
        log = self.state.log(run_id, attempt.job.id)
        try:
            outcome = self._settle(run_id, attempt, log)
        except HostError:
            raise  # no job can run here: the run ends with that, instead of a failure per job
        except ReproError as error:
            why = f" ({error.why})" if error.why else ""
            where = f"{error.where}: " if error.where else ""
            final = not isinstance(error, FetchError)  # a server may answer the next time
            outcome = Failure(None, f"{where}{error.message}{why}", error.hint or "", final)
        except OSError as error:
            outcome = Failure(None, f"the project's state could not be written: {os_text(error)}", os_hint(error))
        if isinstance(outcome, Outcome):
            return outcome
        if self.stopping.is_set():  # it was killed, or something that it needed was
            return Outcome("interrupted")
        return Outcome("failed", outcome, os.path.relpath(log, self.state.project) if log.exists() else "")

    def forget_checkpoint(self, job: Job) -> None:
        """Remove what earlier attempts at the job left, also those before its last edit: it has succeeded."""
        if job.checkpoint is not None:
            remove_tree(self.state.checkpoints(job.id))

    def shelve_log(self, run_id: str, attempt: Attempt) -> str:
        """Keep the log of an attempt that another one follows; return its project path, empty where there is none."""
        kept = self.state.log(run_id, attempt.job.id, attempt.number)
        try:
            os.rename(self.state.log(run_id, attempt.job.id), kept)
        except OSError:
            return ""
        return os.path.relpath(kept, self.state.project)

    def _settle(self, run_id: str, attempt: Attempt, log: Path) -> Outcome | Failure:
        job = attempt.job
        # 1. The key, and with it the question whether there is anything to do, and all that it takes.
        image, assessment = self._decide(job)
        if assessment.cached:
            self.forget_checkpoint(job)
            self.sink(JobCached(job.id, assessment.key))
            return Outcome("cached")
        if gone := tuple(path for path in assessment.read if self.files.gone(path) is not None):
            return Outcome("waits", gone=gone)
        # 2. The secrets and the image, now that they are needed.
        secrets = chosen(job.step, self.secrets)
        image = image or self.images.get(job.step.environment)
        # 3. The job, and what it reads from elsewhere.
        self.sink(JobStarted(job.id, assessment.key, assessment.state.why, attempt.number))
        places = self._fetch(assessment)
        if places is None:
            return Outcome("interrupted")
        if (lacking := self._lacking(attempt.granted)) is not None:
            return lacking
        started = self._time()
        outcome = self._contain(run_id, attempt, image, assessment, places, secrets, log)
        if isinstance(outcome, Failure):
            return outcome
        # 4. The record, last: what has none did not happen.
        for output in outcome.outputs.values():
            self.files.made(output)
        record = self._record(attempt, image, assessment, outcome, started)
        self.records.add(record)
        self.sink(JobFinished(record))
        self.forget_checkpoint(job)
        return Outcome("ran")

    def _lacking(self, granted: Granted) -> Failure | None:
        if granted.disk is None or (free := free_space(self.state.scratch)) >= granted.disk:
            return None
        text = f"{gigabytes(granted.disk)} of disk are asked for; {self.state.scratch} has {gigabytes(free)} free"
        return Failure(None, text, "make room there, or ask for less")

    def _decide(self, job: Job) -> tuple[Image | None, Assessment]:
        """Return the assessment, and the image where it had to be asked for to learn its ID."""
        environment = job.step.environment
        known = self.image_ids.get(environment)
        if known is not None:
            return None, self.assessor.assess(job, known)
        image = self.images.get(environment)
        return image, self.assessor.assess(job, image.image_id)

    def _fetch(self, assessment: Assessment) -> dict[str, Path] | None:
        """Return where on this host the pinned inputs of a job lie, fetched where they do not; None once stopped."""
        pinned = self.files.pinned
        places: dict[str, Path] = {}
        for path in assessment.read:
            if self.stopping.is_set():
                return None
            if pinned.has(path):
                places[path] = pinned.place(path)
        return places

    def _contain(
        self,
        run_id: str,
        attempt: Attempt,
        image: Image,
        assessment: Assessment,
        places: Mapping[str, Path],
        secrets: Mapping[str, bytes],
        log: Path,
    ) -> Success | Failure:
        job = attempt.job
        foreign, shelf = self._foreign(job), self.state.runs / run_id / "replaced"
        for name in sorted(foreign):
            path = job.outputs[name].path
            kept = os.path.relpath(shelf / path, self.state.project)
            text = f"{path}: what is there was made by no recorded run of {job.id}; once replaced it is kept in {kept}"
            self.sink(Notice("warning", text))
        resources = told(job, attempt.granted)
        command = job_command(job, resources)
        work = Assignment(
            job=job,
            image=image,
            command=command,
            control=control_files(job, command, resources),
            read=assessment.read,
            pinned=self.files.pinned,
            places=places,
            secrets=secrets,
            vault=self.vault,
            scratch=self.state.scratch / run_id / str(next(self.numbers)),
            log=log,
            foreign=foreign,
            shelf=shelf,
            granted=attempt.granted,
            fetched=self.fetched,
            checkpoint=None if job.checkpoint is None else self.state.checkpoints(job.id) / assessment.key.hex,
        )
        try:
            return run_job(
                work,
                project=self.state.project,
                launcher=self.containers.launcher(),
                makers=self.makers,
                watch=self.containers.watch,
            )
        finally:
            self.containers.forget()

    def _foreign(self, job: Job) -> frozenset[str]:
        """Return the outputs at whose paths something lies that the job's latest record does not vouch for."""
        latest = self.records.latest(job.step.name, job.id)
        recorded = {} if latest is None else latest.outputs
        found = set()
        for name, output in job.outputs.items():
            if not os.path.lexists(self.state.project / output.path.rstrip("/")):
                continue
            try:
                known = name in recorded and recorded[name].digest == self.files.check(output.path)[0].digest
            except DataError:  # a folder where a file should be, or unreadable: publishing tells
                continue
            if not known:
                found.add(name)
        return frozenset(found)

    def _record(
        self, attempt: Attempt, image: Image, assessment: Assessment, outcome: Success, started: str
    ) -> JobRecord:
        job = attempt.job
        resources = told(job, attempt.granted)
        return JobRecord(
            key=assessment.key,
            key_parts=assessment.parts,
            job=job.id,
            step=job.step.name,
            command=render_command(job, resources=resources),
            environment=job.step.environment,
            image=image.image_id,
            inputs=assessment.inputs,
            outputs=outcome.outputs,
            code=assessment.code,
            resources={name: int(value) for name, value in resources.items()},
            exit_status=0,
            usage=outcome.usage,
            started=started,
            ended=self._time(),
            host=self.host,
            dropped=outcome.dropped,
        )

    def _time(self) -> str:
        return self.now().astimezone(UTC).isoformat(timespec="microseconds")
