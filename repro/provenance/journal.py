"""The journal of a run: one JSON object a line, appended as things happen, by one writer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeAlias

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.events import (
    BuildOutput,
    Event,
    InputUsed,
    JobCached,
    JobsAdded,
    JobSkipped,
    JobStarted,
    Notice,
    Progress,
    event_json,
)
from repro.files import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType
    from typing import Self

Entry: TypeAlias = Mapping[str, Any]  # Any: JSON as it was written; the folds check what they use

_PASSING = (Progress, BuildOutput)  # shown while they last, kept nowhere
_CHEAP = (
    JobCached,
    JobSkipped,
    JobsAdded,
    Notice,
    InputUsed,  # in the file before the jobs that read it, whose ends are synced
    JobStarted,  # as is this before how it ended
)  # nothing is lost if a power cut takes them: the next run finds the same
JOURNAL = "journal.jsonl"


class Journal:
    """A sink that appends each event with its time (UTC) to ``path``; safe to call from any thread.

    A line is one write(2) in append mode; what cannot be found out again is fsynced before the call returns.
    A crash can cut the last line short, nothing else.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        self._now = now
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        fsync_folder(path.parent)

    def __call__(self, event: Event) -> None:
        """Keep ``event``."""
        if isinstance(event, _PASSING):
            return
        entry = {"time": self._now().astimezone(UTC).isoformat(timespec="milliseconds"), **event_json(event)}
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        view = memoryview(line)
        while view:  # a signal may cut a write short
            view = view[os.write(self._descriptor, view) :]
        if not isinstance(event, _CHEAP):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """End the journal; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> tuple[Entry, ...]:
    """Return the entries in order; a last line that a crash cut short is left out.

    Raises:
        DataError: the file is missing, or a line before the last is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"the journal {path} cannot be read", why=error.strerror) from error
    lines = data.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # no newline after it: the crash came in the middle of the write
                break
            hint = f"move {path.parent} away: it tells of that one run"
            raise DataError(f"line {number} of the journal {path} is damaged", why=str(error), hint=hint) from error
        if not isinstance(entry, Mapping) or "kind" not in entry:
            raise DataError(f"line {number} of the journal {path} is no event")
        entries.append(entry)
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, as ``repro log`` lists it. ``status`` is ``unfinished`` where the journal has no end."""

    run: str
    started: str
    ended: str | None
    status: str
    workflow: str
    host: str
    user: str
    jobs: int
    ran: int
    cached: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job of a run; ``log`` is a project path.

    ``state`` is running, retried (it failed, and waits for its next attempt), ran, cached, failed, skipped, or
    interrupted: it was under way when the run was stopped.
    """

    job: str
    state: str
    note: str = ""
    exit_status: int | None = None
    wall: float | None = None
    log: str = ""


def journals(folder: Path) -> tuple[Path, ...]:
    """Return the journals of all runs below ``folder`` (``.repro/runs``), sorted by run ID."""
    return tuple(sorted(folder.glob(f"*/{JOURNAL}"), key=lambda path: path.parent.name))


def runs(folder: Path) -> tuple[RunSummary, ...]:
    """Return all runs below ``folder`` (``.repro/runs``), oldest first."""
    found = [summarise(path.parent.name, read(path)) for path in journals(folder)]
    return tuple(sorted(found, key=lambda summary: (summary.started, summary.run)))


def summarise(run: str, entries: tuple[Entry, ...]) -> RunSummary:
    """Return what the journal says of the run as a whole."""
    start: Entry = next((entry for entry in entries if entry["kind"] == "run-started"), {})
    end: Entry = next((entry for entry in reversed(entries) if entry["kind"] == "run-finished"), {})
    states = [job.state for job in jobs(entries)]
    return RunSummary(
        run=run,
        started=str(start.get("time") or (entries[0].get("time", "") if entries else "")),
        ended=str(end["time"]) if "time" in end else None,
        status=str(end.get("status", "unfinished")),
        workflow=str(start.get("workflow", "")),
        host=str(start.get("host", "")),
        user=str(start.get("user", "")),
        jobs=int(start.get("jobs", len(states)))
        + sum(entry["jobs"] for entry in entries if entry["kind"] == "jobs-added"),
        ran=states.count("ran"),
        cached=states.count("cached"),
        failed=states.count("failed"),
        skipped=states.count("skipped"),
    )


def jobs(entries: tuple[Entry, ...]) -> tuple[JobSummary, ...]:
    """Return how each job of a run stands, in the order in which they were first heard of."""
    found: dict[str, JobSummary] = {}
    for entry in entries:
        match entry["kind"]:
            case "job-started":
                summary = JobSummary(entry["job"], "running", note=entry.get("why", ""))
            case "job-finished":
                record = entry["record"]
                earlier = found.get(record["job"])
                summary = JobSummary(
                    record["job"],
                    "ran",
                    note=earlier.note if earlier else "",
                    exit_status=record["exit_status"],
                    wall=record["usage"]["wall"],
                )
            case "job-cached":
                summary = JobSummary(entry["job"], "cached")
            case "job-failed":
                summary = JobSummary(
                    entry["job"],
                    "failed",
                    note=entry["message"],
                    exit_status=entry["exit_status"],
                    log=entry["log"],
                )
            case "job-retried":
                summary = JobSummary(
                    entry["job"],
                    "retried",
                    note=entry["message"],
                    exit_status=entry["exit_status"],
                    log=entry["log"],
                )
            case "job-skipped":
                because = f"{entry['because']} failed"
                note = because if entry.get("needed", True) else f"the run ended as {because}"
                summary = JobSummary(entry["job"], "skipped", note=note)
            case "run-finished":
                found |= {
                    name: replace(summary, state="interrupted")
                    for name, summary in found.items()
                    if summary.state in ("running", "retried")
                }
                continue
            case _:
                continue
        found[summary.job] = summary
    return tuple(found.values())
