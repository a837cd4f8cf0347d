"""A workflow for scripts and notebooks: load, plan, run, and ask what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.api.host import Host
from repro.api.plans import Planned, plan, validate
from repro.api.project import open_project
from repro.api.run_history import job_log, run_jobs, runs
from repro.api.runs import Run
from repro.api.selection import Selection
from repro.dataclass import dataclass
from repro.errors import Interrupted, JobsFailed
from repro.events import JobFailed, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from repro.events import Event, JobRecord, RunFinished, Sink
    from repro.provenance.journal import JobSummary, RunSummary
    from repro.provenance.lineage import Lineage
    from repro.workflow.model import Job


def load(path: str | Path = ".", *, host: Host | None = None) -> LoadedWorkflow:
    """Return the workflow in the file ``path``, or in the ``workflow.yaml`` of the folder ``path``, checked.

    ``host`` is the machine and the caller; None: this process's.

    Raises:
        UsageError: there is no such file.
        WorkflowError: it has mistakes; all of them are in it.
    """
    found = LoadedWorkflow(host or Host.current(), str(Path(path)))
    found.jobs()
    return found


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow file, read anew by each call, so that an edit of it counts at once.

    Where a method takes ``targets`` and ``options``, these are the fields of `repro.api.Selection`: ``from_steps``,
    ``until``, ``force``, ``params``. Mistakes in them are UsageErrors.
    """

    host: Host
    path: str

    @property
    def root(self) -> Path:
        """The project's folder: all paths in the workflow are from here."""
        return open_project(self.host, self.path).root

    def jobs(self, targets: str | Iterable[str] = (), **options: Any) -> tuple[Job, ...]:  # Any: the fields' types
        """Return the jobs of the workflow, or of what is chosen, each after those it needs."""
        return validate(self.host, self.path, _selection(targets, options)).jobs

    def plan(self, targets: str | Iterable[str] = (), **options: Any) -> Planned:
        """Return how each job stands: cached, or why it would run. Nothing is locked, built or run."""
        return plan(self.host, self.path, _selection(targets, options))

    def run(
        self,
        targets: str | Iterable[str] = (),
        *,
        cpus: int | None = None,
        memory: str | None = None,
        resources: Mapping[str, int] | None = None,
        keep_going: bool = False,
        wait: bool = False,
        locked: bool = False,
        secrets: Sequence[str] = (),
        on_event: Sink = ignore,
        on_output: Callable[[str, str], None] | None = None,
        check: bool = True,
        **options: Any,
    ) -> RunFinished:
        """Lock and build what is missing, run what is not cached, and return the counts.

        Ctrl-C, or the kernel's interrupt in a notebook, stops the jobs and raises Interrupted.

        Args:
            targets: see the class.
            cpus: what all running jobs may use together, as are the next two; None: what the host has.
            memory: such as ``8GB``.
            resources: how many there are of what steps ask for by names of their own.
            keep_going: after a failed job start all that does not need it; otherwise nothing more.
            wait: wait for another run in the project to end; otherwise that is a BusyError.
            locked: add nothing to workflow.lock.
            secrets: ``id=NAME,src=FILE`` or ``id=NAME,env=VAR``.
            on_event: hears each event (`repro.events`), from any thread.
            on_output: hears each line that a job prints as it is printed, after the job's id.
            check: raise JobsFailed where jobs failed; otherwise the counts say so.
            options: see the class.

        Raises:
            JobsFailed: jobs failed and ``check`` is set.
            Interrupted: the run was stopped.
        """
        failures: list[JobFailed] = []

        def listen(event: Event) -> None:
            if isinstance(event, JobFailed):
                failures.append(event)
            on_event(event)

        running = Run(
            self.host,
            self.path,
            selection=_selection(targets, options),
            cpus=cpus,
            memory=memory,
            named_resources=resources,
            keep_going=keep_going,
            wait=wait,
            locked=locked,
            secrets=secrets,
            sink=listen,
            output=on_output,
        )
        finished = running.execute()
        if finished.status == "interrupted":
            raise Interrupted("stopped before the end", hint="run again: it carries on from here")
        if finished.status == "failed" and check:
            raise _failed(failures)
        return finished

    def runs(self) -> tuple[RunSummary, ...]:
        """Return the project's runs, newest first."""
        return runs(self.host, self.path)

    def run_jobs(self, run: str = "last") -> tuple[JobSummary, ...]:
        """Return how each job of a run went; UsageError where there is no such run."""
        return run_jobs(self.host, self.path, run)

    def log(self, job: str, run: str = "last") -> str:
        """Return what a job printed in a run; UsageError where it has no log there."""
        return job_log(self.host, self.path, run, job).read_text(encoding="utf-8", errors="replace")

    def records(self, targets: str | Iterable[str] = (), **options: Any) -> dict[str, JobRecord]:
        """Return the latest record of each job that has one, by the job's id: key, digests, times, memory, host."""
        from repro.execution.records import Records  # noqa: PLC0415 - only where it is asked for
        from repro.execution.state import State  # noqa: PLC0415

        kept = Records(State(self.root).records)
        found = {job.id: kept.latest(job.step.name, job.id) for job in self.jobs(targets, **options)}
        return {job: record for job, record in found.items() if record is not None}

    def why(self, path: str) -> Lineage:
        """Return how a result (a project path) came to be, down to raw inputs; of an input, who read it.

        Raises:
            UsageError: there is no such file.
            DataError: no recorded job made these bytes.
        """
        from repro.api.questions import why  # noqa: PLC0415 - only where it is asked for

        return why(replace(self.host, cwd=self.root), path)


def _selection(targets: str | Iterable[str], options: Mapping[str, Any]) -> Selection:
    """Return the selection; a single text is one target, or one step."""
    params = options.get("params") or {}
    steps = {name: _several(value) for name, value in options.items() if name != "params"}
    return Selection(targets=_several(targets), params=params, **steps)


def _several(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _failed(failures: Sequence[JobFailed]) -> JobsFailed:
    names = ", ".join(failure.job for failure in failures[:3])
    more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
    why = failures[0].message if failures else None
    return JobsFailed(f"{names}{more} failed", why=why, hint="`log(job)` returns what a job printed")
