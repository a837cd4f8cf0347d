"""What is known of a project's runs: how they went, how each job went, and what the jobs printed."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from repro.api.project import open_project
from repro.dataclass import dataclass
from repro.errors import BusyError, UsageError
from repro.execution.state import State
from repro.files import locked
from repro.provenance import journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.api.host import Host


@dataclass(frozen=True, slots=True)
class Status:
    """How the project stands: who is running it now (None: nobody), its last run, and that run's failed jobs."""

    running: str | None
    last: journal.RunSummary | None
    failures: tuple[journal.JobSummary, ...]


def status(host: Host, named: str | None) -> Status:
    """Return how the last run went, and whether one is going on."""
    state = State(open_project(host, named).root)
    running = holder(state)
    found = journal.runs(state.runs)
    if not found:
        return Status(running, None, ())
    last = found[-1]
    jobs = journal.jobs(journal.read(state.runs / last.run / journal.JOURNAL))
    return Status(running, last, tuple(job for job in jobs if job.state == "failed"))


def holder(state: State) -> str | None:
    """Return who has the project now, None where nobody has."""
    if not state.lock.exists():
        return None
    try:
        with locked(state.lock, wait=False):
            return None
    except BusyError as error:
        return (error.why or "").removeprefix("held by ")
    except OSError as error:  # a project that may only be read can be asked all the same
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return None


def runs(host: Host, named: str | None) -> tuple[journal.RunSummary, ...]:
    """Return the project's runs, newest first."""
    return tuple(reversed(journal.runs(State(open_project(host, named).root).runs)))


def run_jobs(host: Host, named: str | None, run: str) -> tuple[journal.JobSummary, ...]:
    """Return the jobs of the run with that ID (or the start of one, or ``last``); UsageError when there is none."""
    folder = State(open_project(host, named).root).runs
    return journal.jobs(journal.read(folder / find_run(folder, run) / journal.JOURNAL))


def job_log(host: Host, named: str | None, run: str, job: str) -> Path:
    """Return the file with what a job printed in a run.

    Raises:
        UsageError: there is no such run, or the job has no log in it.
    """
    state = State(open_project(host, named).root)
    found = find_run(state.runs, run)
    file = state.log(found, job)
    if file.exists():
        return file
    known = {one.job: one for one in journal.jobs(journal.read(state.runs / found / journal.JOURNAL))}
    if job not in known:
        raise UsageError(f"run {found} has no job {job}", hint=f"`repro log {found}` lists its jobs")
    hint = f"`repro log` lists the runs: look in the one in which {job} ran"
    raise UsageError(f"{job} printed nothing in run {found}", why=f"it was {known[job].state}", hint=hint)


def find_run(folder: Path, run: str) -> str:
    """Return the ID of the run below ``folder`` (``.repro/runs``) that is meant; UsageError when there is none."""
    known = [path.parent.name for path in journal.journals(folder)]
    found = _last(folder, known) if run == "last" else [name for name in known if name.startswith(run)]
    if len(found) != 1:
        what = "no run yet" if not known else f"no run {run!r}" if not found else f"{run!r} means {len(found)} runs"
        raise UsageError(what, hint="`repro log` lists them")
    return found[0]


def _last(folder: Path, known: Sequence[str]) -> list[str]:
    """Return the run that started last, none where there is none: an ID begins with the second in which it started."""
    second = known[-1].partition("-")[0] if known else ""
    same = [name for name in known if name.startswith(f"{second}-")]
    if len(same) < 2:
        return list(known[-1:])
    summaries = [journal.summarise(name, journal.read(folder / name / journal.JOURNAL)) for name in same]
    return [max(summaries, key=lambda summary: summary.started).run]
