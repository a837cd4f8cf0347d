"""A plan as a person reads it: a table of jobs, or of steps where there are many jobs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import size_text
from repro.cli.screen import colour_wanted, fit, painted, width
from repro.errors import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.api.plans import Planned, PlannedJob, PlannedStep

STATUSES: Final = ("cached", "run", "pending")
_COLOURS: Final = {"cached": "dim", "run": "green", "pending": "blue", "later": "blue"}
MOST_JOBS: Final = 50  # that are listed one by one without being asked
_WORTH_TELLING: Final = 10_000_000  # bytes hashed: they took a moment
_WIDEST: Final = 60  # columns of a job's name that the column of reasons waits for


def print_plan(planned: Planned, *, every: bool) -> None:
    """Print a line per job, with what changed in its key; per step where there are more than `MOST_JOBS`."""
    lines = _steps(planned) if len(planned.jobs) > MOST_JOBS and not every else _jobs(planned)
    for line in lines:
        print(line)


def summary(planned: Planned) -> str:
    """Return the counts: ``3 cached, 1 to run, 2 pending until their inputs are there``."""
    counts = {status: planned.count(status) for status in STATUSES}
    text = f"{counts['cached']} cached, {counts['run']} to run"
    text += f", {counts['pending']} pending until their inputs are there" if counts["pending"] else ""
    later = ", ".join(one.step for one in planned.deferred)
    text += f"; not planned yet: {later}" if later else ""
    return f"{text}; {size_text(planned.hashed)} hashed to say so" if planned.hashed >= _WORTH_TELLING else text


def _jobs(planned: Planned) -> Iterator[str]:
    rows = [(job.status, job.job, job.why, job) for job in planned.jobs]
    names = [name for _, name, _, _ in rows] + [one.step for one in planned.deferred]
    wide = min(max(map(width, names), default=0), _WIDEST)
    for status, name, why, job in rows:
        yield _row(status, name, why, wide)
        yield from _changes(job)
    for one in planned.deferred:
        yield _row("later", one.step, _later(one), wide)


def _later(step: PlannedStep) -> str:
    return f"planned once {' and '.join(step.waits)} {'is' if len(step.waits) == 1 else 'are'} done"


def _row(status: str, name: str, why: str, wide: int) -> str:
    shown = visible(name, "")
    gap = " " * max(wide - width(shown), 0)
    return f"{_paint(status.ljust(7), _COLOURS[status])}  {shown}{gap}  {_cut(why)}".rstrip()


def _changes(job: PlannedJob) -> Iterator[str]:
    """Give what changed in the key, each on a line; one alone is the reason itself."""
    for change in job.changes if len(job.changes) > 1 else ():
        old = "(none)" if change.old is None else change.old
        new = "(none)" if change.new is None else change.new
        yield _paint(f"{'':9}{visible(change.part, '')}: {_cut(old)} -> {_cut(new)}", "dim")


def _steps(planned: Planned) -> Iterator[str]:
    """Give a line per step, in the order of the plan: how many of its jobs stand how, and why the first would run."""
    steps: dict[str, list[PlannedJob]] = {}
    for job in planned.jobs:
        steps.setdefault(job.step, []).append(job)
    rows: list[tuple[str, ...]] = [("step", "jobs", *STATUSES, "why")]
    for step, jobs in steps.items():
        counts = Counter(job.status for job in jobs)
        rows.append((step, str(len(jobs)), *(str(counts[status] or "") for status in STATUSES), _reason(jobs)))
    rows += [
        (one.step, "?", "", "", "", f"planned once {' and '.join(one.waits)} are done") for one in planned.deferred
    ]
    widths = [max(width(row[column]) for row in rows) for column in range(5)]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(wide) for cell, wide in zip(row[1:5], widths[1:], strict=True))]
        colours = ("", "", *(_COLOURS[status] for status in STATUSES))
        shown = [_paint(cell, colour) if number else cell.upper() for cell, colour in zip(cells, colours, strict=True)]
        yield "  ".join([*shown, row[5] if number else row[5].upper()]).rstrip()
    yield f"{len(planned.jobs)} jobs: `repro plan --all` lists each"


def _reason(jobs: Sequence[PlannedJob]) -> str:
    """Return why most of the jobs that would run do."""
    reasons = Counter(_cut(job.why) for job in jobs if job.status == "run")
    if not reasons:
        return ""
    (first, count), others = reasons.most_common(1)[0], len(reasons) - 1
    more = f" ({count}), and {others} other reason{'s' if others > 1 else ''}" if others else ""
    return f"{first}{more}"


def _cut(text: str) -> str:
    """Return the text on one line, cut where it is long; what a terminal would obey is escaped."""
    return fit(visible(text.replace("\n", "\\n"), ""), 100)


def _paint(text: str, colour: str) -> str:
    return painted(text, colour) if colour and colour_wanted(sys.stdout, os.environ) else text
