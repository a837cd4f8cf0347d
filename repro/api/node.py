"""A batch of jobs on a node of a cluster, as its ticket says: what `repro job exec` does."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.inputs import Inputs
from repro.api.lockfile import LockFile
from repro.api.project import DEFAULT_FILE, Project
from repro.digest import Digest
from repro.errors import Interrupted, LockError, ReproError
from repro.events import JobCached, JobFailed, JobFinished
from repro.execution import node, ticket
from repro.execution.cluster import HALT, SHARED
from repro.execution.profile import told
from repro.execution.relay import journal_name
from repro.execution.run import Executor
from repro.execution.state import State
from repro.files import write_atomic
from repro.provenance import journal
from repro.workflow.loader import load
from repro.workflow.model import Plan, Workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.events import Event, FileRecord, Sink
    from repro.execution.ticket import Batch, Shared
    from repro.workflow.model import Job

_TMP = "/tmp"  # noqa: S108 - a folder of our own is made in it


class BatchRun:
    """One batch on a node. ``stop`` may be called from a signal handler at any time."""

    def __init__(self, host: Host, file: str) -> None:
        """``file`` is the ticket, in the folder of its round."""
        path = (host.cwd / file).absolute()
        self._folder = path.parent.parent
        self._batch = ticket.read_batch(path)
        self._shared = ticket.read_shared(self._folder / SHARED)
        environ = {**host.environ, **self._shared.environ}
        self._host = replace(host, environ=environ, cwd=Path(self._shared.cwd))
        self._executor: Executor | None = None
        self._stopped = False
        self._outcomes: dict[str, str] = {}

    def stop(self) -> bool:
        """Have the batch end soon, without a result: its jobs are lost. Return whether it will by itself."""
        self._stopped = True
        if self._executor is None:
            return False
        self._executor.stop()
        return True

    def execute(self) -> None:
        """Run the jobs; how each ends is in the batch's journal and result. A failed job is no error here.

        Raises:
            Interrupted: the batch was stopped.
        """
        batch, shared = self._batch, self._shared
        project = Path(shared.project)
        if (self._folder / HALT).exists():
            node.write_result(self._folder, batch.name, {})
            return
        with journal.Journal(State(project).runs / shared.run / journal_name(batch.name), self._host.now) as written:

            def sink(event: Event) -> None:
                self._note(event)
                written(event)

            try:
                self._run(sink)
            except Interrupted:
                raise
            except ReproError as error:  # of this node or this batch: its jobs fail with it, no others
                self._fail(error, sink)
            if self._stopped:
                raise Interrupted("the batch was stopped: its jobs are given away again, or cancelled")
        node.write_result(self._folder, batch.name, self._outcomes)

    def _run(self, sink: Sink) -> None:
        jobs = node.runnable(self._batch, self._folder)
        if not jobs:
            return
        environ = self._host.environ
        root = told(self._shared.scratch, environ) if self._shared.scratch else environ.get("TMPDIR", _TMP)
        with (
            tempfile.TemporaryDirectory(prefix="repro-", dir=root, ignore_cleanup_errors=True) as scratch,
            opened(self._host, sink) as engine,
        ):
            engine.enter()
            self._executor = _executor(self._host, engine, self._batch, self._shared, jobs, Path(scratch), sink)
            if self._stopped:
                self._executor.stop()
            self._executor.run(self._shared.run)

    def _note(self, event: Event) -> None:
        match event:
            case JobFinished():
                self._outcomes[event.record.job] = "ran"
            case JobCached():
                self._outcomes[event.job] = "cached"
            case JobFailed():
                self._outcomes[event.job] = "failed"
            case _:
                pass

    def _fail(self, error: ReproError, sink: Sink) -> None:
        why = f" ({error.why})" if error.why else ""
        for job in self._batch.jobs:
            if job.id not in self._outcomes:
                sink(JobFailed(job.id, None, f"on {self._host.name}: {error.message}{why}", error.hint or "", ""))


def _executor(
    host: Host, engine: Engine, batch: Batch, shared: Shared, jobs: tuple[Job, ...], scratch: Path, sink: Sink
) -> Executor:
    project = Path(shared.project)
    state = node.NodeState(project, scratch)
    known = State(project).stat_cache
    if known.exists():
        write_atomic(state.stat_cache, known.read_bytes(), durable=False)
    images = {image.environment: image for image in shared.images}
    return Executor(
        project,
        Plan(Workflow(shared.shown, "", {}, {}, {job.step.name: job.step for job in jobs}), jobs),
        image_ids={name: image.image_id for name, image in images.items()},
        images=lambda name: replace(images[name], layers=engine.store.image_layers(images[name].image_id)),
        launcher=engine.launcher,
        sink=sink,
        now=host.now,
        host=host.name,
        cpus=batch.cpus,
        memory=batch.memory or host.memory,
        state=state,
        pinned=_inputs(shared, engine),
        secrets=_secrets(jobs, shared, host),
        keep_going=shared.keep_going,
        forced=frozenset(shared.forced),
        named={"gpus": batch.gpus, **batch.named},
        fetched=_Fetched(shared),
    )


class _Fetched:
    """What the lock said of fetching steps' outputs when the round began; the driver adds to it what a node fetched."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def locked(self, path: str) -> Digest | None:
        """Return what the lock says of ``path``; None where it says nothing yet."""
        return self._shared.fetched.get(path)

    def lock(self, outputs: Sequence[FileRecord]) -> None:
        """Refuse outputs that the lock lacks where the driver may not add them."""
        new = [output.path for output in outputs if output.path not in self._shared.fetched]
        if new and not self._shared.may_lock:
            hint = "run `repro run` without --locked to add it"
            raise LockError(f"{new[0]}, which was fetched, is not in the lock", hint=hint)

    def acceptance(self, path: str) -> str:
        """Return the command that makes the lock take what comes next for ``path``."""
        shown = self._shared.shown
        named = [] if os.path.basename(shown) == DEFAULT_FILE else [shown]
        return shlex.join(["repro", "lock", *named, "--upgrade", path])


def _inputs(shared: Shared, engine: Engine) -> Inputs | None:
    """Return the inputs from elsewhere, by the copies of workflow and lock that the driver made."""
    if not shared.workflow:
        return None
    file = Path(shared.workflow)
    data = file.read_bytes()
    project = Project(Path(shared.project), file, shared.shown, Digest.of(data), load(data.decode(), shared.shown))
    return Inputs(project, engine, LockFile(project, engine, may_add=False))


def _secrets(jobs: Sequence[Job], shared: Shared, host: Host) -> dict[str, bytes]:
    """Return the secrets that the jobs name, read on this node from where the user said that they are."""
    wanted = {name for job in jobs for name in job.step.secrets}
    if not wanted or not shared.secrets:
        return {}
    from repro.api.secrets import read_secrets  # noqa: PLC0415 - only where a job names one

    return {name: secret.data for name, secret in read_secrets(shared.secrets, host).items() if name in wanted}
