"""What `repro run` shows: lines for logs, a block on a terminal, failures told at the end, output of jobs."""

from __future__ import annotations

import io
import os
import re
import sys

import pytest

from repro.cli.run_console import RunConsole
from repro.digest import Digest
from repro.events import (
    JobCached,
    JobFailed,
    JobFinished,
    JobRecord,
    JobRetried,
    JobsAdded,
    JobSkipped,
    JobStarted,
    Notice,
    RunFinished,
    RunStarted,
    Usage,
)
from tests.accounts import PROJECT
from tests.cli.terminal import run_on_terminal

KEY = Digest.of(b"key")
STARTED = RunStarted("20260101T000000Z-ab", "workflow.yaml", KEY, None, 4, "host", "user", "0")
FAILED = JobFailed("bad", 3, "exit status 3; its last lines:\n    oh no", "mend it", ".repro/runs/r/logs/bad.log")
ON_TERMINAL = """
import os, sys, time
from tests.cli.test_run_console import FAILED, STARTED, finished
from repro.cli.run_console import RunConsole
from repro.events import JobStarted, RunFinished
console = RunConsole(os.environ)
console(STARTED)
for job in ("a", "b"):
    console(JobStarted(job, STARTED.workflow_digest, "it has no record yet"))
time.sleep(1.2)
console(finished("a"))
console.output("b", "reading \\x1b[31mred\\x1b[0m")
console(finished("b"))
console(FAILED)
console(RunFinished("r", "failed", ran=2, cached=0, failed=1, skipped=0))
console.finish()
"""


def finished(job: str) -> JobFinished:
    """Return the event of a job that ended well."""
    usage = Usage(2.0, 1.5, 0.25, 3_000_000)
    record = JobRecord(
        KEY, {}, job, job, "true", "e", KEY, {}, {}, (), {"cpus": 1}, 0, usage, "2026-01-01", "2026-01-01", "host"
    )
    return JobFinished(record)


@pytest.fixture
def show(monkeypatch):
    """Return a function from events to the lines they give, times of day left out."""

    def shown(*events, **options) -> list[str]:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        console = RunConsole({}, **options)
        for event in events:
            console(event)
        console.finish()
        return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in stream.getvalue().splitlines()]

    return shown


def test_each_job_has_a_line_when_it_starts_and_ends(show):
    """With how many are done of how many, and what it used; cached jobs only where more is asked for."""
    events = (STARTED, JobCached("c", KEY), JobStarted("a", KEY, "command changed"), finished("a"))
    head, started, done = show(*events)
    assert "run 20260101T000000Z-ab: workflow.yaml, 4 jobs" == head
    assert "[1/4] a: started (command changed)" == started
    assert "[2/4] a: done in 2.0 s (cpu 1.8 s, 3.0 MB)" == done
    assert "[1/4] c: cached" in show(*events, verbose=True)


def test_jobs_that_become_known_raise_the_total(show):
    """The number of jobs grows with those of a step that ranges over what another made."""
    lines = show(STARTED, JobsAdded(("call",), 8), JobStarted("a", KEY, "new"))
    assert ["8 more jobs are known now, of call", "[ 0/12] a: started (new)"] == lines[1:]


def test_a_retry_says_which_attempt_and_when(show):
    """A failed attempt that is not the last one counts neither as done nor as failed."""
    retried = JobRetried("a", 1, 3, "exit status 3", 4.0, "logs/a.attempt-1.log")
    lines = show(STARTED, JobStarted("a", KEY, "new"), retried, JobStarted("a", KEY, "new", 2))
    assert "[0/4] a: failed at attempt 1, again in 4 s, log: logs/a.attempt-1.log" == lines[2]
    assert "[0/4] a: started, attempt 2 (new)" == lines[3]
    assert not [line for line in lines if line.startswith("failed")]


def test_failures_are_told_at_the_end(show):
    """One line when it happens; last words, fix, log and the command to look inside before the counts."""
    other = Notice("info", "something else")
    ended = RunFinished("r", "failed", ran=0, cached=0, failed=1, skipped=1)
    lines = show(STARTED, FAILED, JobSkipped("after", "bad"), other, ended)
    assert [
        "[1/4] bad: failed with exit status 3, log: .repro/runs/r/logs/bad.log",
        "[2/4] after: skipped, bad failed",
        "something else",
        "failed: bad",
        "    exit status 3; its last lines:",
        "        oh no",
        "    fix: mend it",
        "    log: .repro/runs/r/logs/bad.log",
        "    look inside: repro debug bad",
        "failed: 0 ran, 0 cached, 1 failed, 1 skipped",
    ] == lines[1:]


def test_failures_are_told_once_also_where_the_run_has_no_end(show):
    """When the run breaks off, what failed before is told by the console's own end; quiet or not."""
    assert "    look inside: repro debug bad" in show(STARTED, FAILED)
    quiet = show(STARTED, JobStarted("a", KEY, "new"), finished("a"), FAILED, quiet=True)
    assert ["[2/4] bad: failed with exit status 3, log: .repro/runs/r/logs/bad.log", "failed: bad"] == quiet[:2]
    elsewhere = RunStarted("r", "sub dir/w.yaml", KEY, None, 4, "host", "user", "0")
    named = JobFailed("a[x=1]", 1, "exit status 1", "", "log")
    assert "    look inside: repro debug 'sub dir/w.yaml' 'a[x=1]'" in show(elsewhere, named)


def test_many_failures_and_skipped_jobs_are_counted(show):
    """Ten are told in full; of what is skipped ten are named, and none that only the end of the run kept from it."""
    failures = [JobFailed(f"j{number}", 1, "exit status 1", "", "") for number in range(12)]
    skipped = [JobSkipped(f"s{number}", "j0") for number in range(30)]
    others = [JobSkipped(f"o{number}", "j0", needed=False) for number in range(5)]
    lines = show(STARTED, *failures, *skipped, *others)
    assert 10 == sum(line.startswith("failed: ") for line in lines)
    assert "and 2 more failed: `repro status` lists them" == lines[-1]
    assert 10 == sum("skipped" in line for line in lines)


def test_on_a_terminal_the_running_jobs_are_drawn_over():
    """The block names what runs and how much is done; nothing of it stays, and output of jobs is harmless."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}
    status, _, screen, sent = run_on_terminal([sys.executable, "-c", ON_TERMINAL], cwd=PROJECT, env=env)
    assert 0 == status, sent
    assert "  a: 1 s" in sent
    assert "0 of 4 done, 2 running" in sent
    rows = [re.sub(r"^\d\d:\d\d:\d\d ", "", row) for row in screen.rows]
    assert [
        "run 20260101T000000Z-ab: workflow.yaml, 4 jobs",
        "[0/4] a: started (it has no record yet)",
        "[0/4] b: started (it has no record yet)",
        "[1/4] a: done in 2.0 s (cpu 1.8 s, 3.0 MB)",
        "b | reading red",
        "[2/4] b: done in 2.0 s (cpu 1.8 s, 3.0 MB)",
    ] == rows[:6]
    assert not [row for row in rows if "running" in row]
