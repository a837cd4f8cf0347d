"""The journal: what is appended comes back, whatever a crash did to its end."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.errors import DataError
from repro.events import (
    BuildOutput,
    FileRecord,
    InputUsed,
    JobCached,
    JobFailed,
    JobFinished,
    JobRecord,
    JobRetried,
    JobsAdded,
    JobSkipped,
    JobStarted,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
    Usage,
    event_json,
)
from repro.provenance.journal import Journal, jobs, journals, read, runs, summarise

KEY = Digest.of(b"key")
START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def clock():
    """Return a clock that goes on by a second each time it is read."""
    ticks = iter(range(10**6))
    return lambda: START + timedelta(seconds=next(ticks))


def write(path, *events):
    """Write a journal of these events."""
    with Journal(path, clock()) as journal:
        for event in events:
            journal(event)
    return path


def started(run="r1", jobs=3):
    """Return the event of a run's start."""
    return RunStarted(run, "workflow.yaml", KEY, None, jobs, "host", "ada", "1")


def finished(job):
    """Return the event of a job's end."""
    file = FileRecord("out", KEY, 1)
    record = JobRecord(
        KEY, {}, job, job, "true", "tools", KEY, {}, {"o": file}, (), {}, 0, Usage(1.5, 1, 0, 9), "t0", "t1", "host"
    )  # fmt: skip
    return JobFinished(record)


def test_entries_come_back_with_their_time(tmp_path):
    """Each event is a line with its kind, fields and time in UTC."""
    zone = START.astimezone().tzinfo
    with Journal(tmp_path / "r" / "journal.jsonl", lambda: START.astimezone(zone)) as journal:
        journal(JobCached("a", KEY))
    assert ({"time": "2026-11-24T08:00:00.000+00:00", "kind": "job-cached", "job": "a", "key": str(KEY)},) == read(
        tmp_path / "r" / "journal.jsonl"
    )


def test_passing_events_are_not_kept(tmp_path):
    """Progress and build output are shown, not recorded."""
    path = write(tmp_path / "j", Progress("x", 1, 2, "bytes"), BuildOutput("i", "text"), JobCached("a", KEY))
    assert ["job-cached"] == [entry["kind"] for entry in read(path)]


def test_torn_last_line_is_left_out(tmp_path):
    """Cut at any byte, a journal gives all its whole lines and nothing else."""
    path = write(tmp_path / "j", started(), JobStarted("caf\u00e9", KEY, "why"), JobCached("b", KEY))
    whole, data = read(path), path.read_bytes()
    ends = [index for index, byte in enumerate(data) if byte == 10]
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        complete = sum(end <= size for end in ends)  # a line without its newline may be whole already
        assert whole[:complete] == read(path)


def test_damage_before_the_end_is_an_error(tmp_path):
    """A line that no crash can have cut is reported with its number."""
    path = write(tmp_path / "j", JobCached("a", KEY), JobCached("b", KEY))
    path.write_bytes(b'{"kind": \n' + path.read_bytes())
    with pytest.raises(DataError, match="line 1 of the journal"):
        read(path)


def test_many_threads_write_whole_lines(tmp_path):
    """Events of many threads do not mix within a line."""
    with Journal(tmp_path / "j", lambda: START) as journal:
        threads = [
            threading.Thread(target=lambda name=name: [journal(JobCached(name * 200, KEY)) for _ in range(50)])
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    names = [entry["job"] for entry in read(tmp_path / "j")]
    assert sorted(200 * name for name in "abcd" for _ in range(50)) == sorted(names)


@given(text=st.text(), level=st.text())
def test_any_text_survives(tmp_path_factory, text, level):
    """Whatever characters a message has, they come back."""
    path = write(tmp_path_factory.mktemp("journal") / "j", Notice(level, text))
    entry = dict(read(path)[0])
    del entry["time"]
    assert event_json(Notice(level, text)) == entry


def test_job_states(tmp_path):
    """Each job stands as it was last heard of."""
    path = write(
        tmp_path / "j",
        JobCached("a", KEY),
        JobStarted("b", KEY, "inputs.x changed"),
        JobStarted("c", KEY, ""),
        finished("b"),
        JobFailed("c", 3, "exit status 3", "", "logs/c.log"),
        JobSkipped("d", "c"),
        JobStarted("e", KEY, ""),
    )
    found = {job.job: (job.state, job.note) for job in jobs(read(path))}
    assert {
        "a": ("cached", ""),
        "b": ("ran", "inputs.x changed"),
        "c": ("failed", "exit status 3"),
        "d": ("skipped", "c failed"),
        "e": ("running", ""),
    } == found


def test_retried_job_is_told_by_its_last_attempt(tmp_path):
    """A failed attempt shows until the next begins; what a job ends as counts, and jobs that joined count too."""
    retried = JobRetried("a", 1, 2, "exit status 2", 1.5, ".repro/runs/r1/logs/a.attempt-1.log")
    begun = (started(jobs=1), JobStarted("a", KEY, "new"), retried)
    summary = jobs(read(write(tmp_path / "1", *begun)))[0]
    assert ("retried", "exit status 2", 2) == (summary.state, summary.note, summary.exit_status)
    stopped = read(write(tmp_path / "2", *begun, RunFinished("r1", "interrupted", 0, 0, 0, 0)))
    assert "interrupted" == jobs(stopped)[0].state
    added = (JobsAdded(("b",), 2), JobSkipped("b[1]", "a"), JobSkipped("b[2]", "a", needed=False))
    ended = read(write(tmp_path / "3", *begun, JobStarted("a", KEY, "new", 2), JobFailed("a", 3, "no", "", ""), *added))
    run = summarise("r1", ended)
    assert (3, 1, 2) == (run.jobs, run.failed, run.skipped)


def test_job_of_a_stopped_run_is_interrupted(tmp_path):
    """A job that had not ended when its run did was interrupted."""
    path = write(tmp_path / "j", JobStarted("a", KEY, ""), RunFinished("r", "interrupted", 0, 0, 0, 0))
    assert [("a", "interrupted")] == [(job.job, job.state) for job in jobs(read(path))]


def test_runs_are_listed_oldest_first(tmp_path):
    """Runs come in the order of their start, with counts; one that was killed is unfinished."""
    write(tmp_path / "b" / "journal.jsonl", started("b"), JobCached("a", KEY), finished("c"))
    later = [started("a"), JobCached("a", KEY), RunFinished("a", "succeeded", 0, 1, 0, 0)]
    with Journal(tmp_path / "a" / "journal.jsonl", lambda: START + timedelta(days=1)) as journal:
        for event in later:
            journal(event)
    found = [(run.run, run.status, run.ran, run.cached, run.user) for run in runs(tmp_path)]
    assert [("b", "unfinished", 1, 1, "ada"), ("a", "succeeded", 0, 1, "ada")] == found
    assert ["a", "b"] == [path.parent.name for path in journals(tmp_path)]


def test_empty_journal_is_an_unfinished_run(tmp_path):
    """A run that was killed before its first event does not stop the list."""
    write(tmp_path / "r" / "journal.jsonl")
    assert "unfinished" == runs(tmp_path)[0].status
    assert 0 == summarise("r", ()).jobs


def test_missing_journal_is_an_error(tmp_path):
    """A journal that is not there is named."""
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none")


def test_input_used_costs_no_sync(tmp_path, monkeypatch):
    """Inputs and starts are kept with what is synced after them: thousands of them cost no time of the disk."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Journal(tmp_path / "run/journal.jsonl", lambda: datetime(2026, 1, 1, tzinfo=UTC)) as journal:
        opened = len(synced)
        journal(InputUsed("x", "s3://b/x", "v1", Digest.of(b"x"), 1, 1, "sha256"))
        assert opened == len(synced)
        journal(JobStarted("a", Digest.of(b"key"), "it has no record yet"))
        assert opened == len(synced)
        journal(JobFailed("a", 1, "exit status 1", "", ""))
        assert opened + 1 == len(synced)
    assert [("input-used", "s3://b/x")] == [
        (entry["kind"], entry["uri"]) for entry in read(tmp_path / "run/journal.jsonl")[:1]
    ]
