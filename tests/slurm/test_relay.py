"""What nodes tell: read as it comes, whole lines only; and taken over from a driver that was killed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from repro.digest import Digest
from repro.events import (
    FileRecord,
    ImageUsed,
    JobCached,
    JobFailed,
    JobFinished,
    JobRecord,
    JobRetried,
    JobStarted,
    Notice,
    RunFinished,
    Usage,
)
from repro.execution import orphans, slurm
from repro.execution.node import NodeState, runnable, write_result
from repro.execution.relay import Relay, journal_name
from repro.execution.reports import Reports
from repro.execution.rounds import Loss
from repro.execution.state import State
from repro.execution.ticket import Batch
from repro.provenance.journal import Journal, read
from tests.slurm.test_batches import job

KEY = Digest.of(b"key")


def record(name: str) -> JobRecord:
    """Return the record of a job."""
    made = {"o": FileRecord(f"{name}.txt", KEY, 3)}
    usage = Usage(1.0, 0.5, 0.1, 1000)
    return JobRecord(KEY, {"a": 1}, name, name, "true", "box", KEY, {}, made, (), {"cpus": 1}, 0, usage, "s", "e", "n1")


EVENTS = (
    ImageUsed("box", KEY, None, (("bash", "5"),)),
    JobStarted("a", KEY, "new", 2),
    JobRetried("a", 2, None, "again", 1.0, ""),
    JobFailed("b", 3, "exit status 3", "", "log", "repro debug b"),
    JobCached("c", KEY),
    Notice("warning", "odd"),
    JobFinished(record("a")),
)


def now() -> datetime:
    """Return a time."""
    return datetime.now(UTC)


def test_events_come_as_they_were(tmp_path):
    """Every event of a job that a node tells comes out as it was; what concerns the node alone does not."""
    with Journal(tmp_path / journal_name("1-1-a"), now) as journal:
        for event in (*EVENTS, RunFinished("run", "succeeded", 1, 0, 0, 0)):
            journal(event)
    relay = Relay(tmp_path)
    relay.follow("1-1-a")
    assert list(EVENTS) == list(relay.read())
    assert [] == list(relay.read())


def test_half_lines_wait(tmp_path):
    """A line that a node is just writing is read once it is whole; a damaged one is passed over."""
    relay = Relay(tmp_path)
    relay.follow("b")
    assert [] == list(relay.read())
    line = json.dumps({"kind": "notice", "level": "info", "text": "hello"}) + "\n"
    path = tmp_path / journal_name("b")
    path.write_text("{broken\n" + line[:10])
    assert [] == list(relay.read())
    path.write_text("{broken\n" + line)
    assert [Notice("info", "hello")] == list(relay.finish("b"))
    assert () == relay.following


def test_reports_of_the_plugin(tmp_path):
    """The first word of a batch is told once; how it ended is kept for later."""
    reports = Reports(tmp_path / "told.jsonl")
    assert [] == reports.read()
    lines = [{"batch": "a", "slurm": "7"}, {"batch": "a", "slurm": "7", "state": "NODE_FAIL"}]
    lines.append({"batch": "b", "slurm": None, "refused": "no such partition"})
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert ["a", "b"] == reports.read()
    assert (Loss("7", "NODE_FAIL"), Loss()) == (reports.loss("a"), reports.loss("b"))
    assert {"b": "no such partition"} == reports.refused


def test_killed_driver_is_completed(tmp_path, monkeypatch):
    """What nodes told, and a killed driver did not live to tell on, is in its run's journal afterwards, once."""
    asked = []
    monkeypatch.setattr(slurm, "cancel", lambda prefix: asked.append(prefix) or 2)
    state = State(tmp_path)
    folder = state.runs / "dead"
    with Journal(folder / "journal.jsonl", now) as journal:
        journal(JobFinished(record("a")))
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"kind": "job-fin')  # cut short by the kill
    for name in ("a", "b"):
        with Journal(folder / journal_name(name), now) as journal:
            journal(JobFinished(record(name)))
    state.cluster.write_text("dead")
    told = []
    orphans.adopt(state, told.append)
    assert [slurm.tag(tmp_path)] == asked
    assert ["2 Slurm jobs of run dead, whose driver was killed, are cancelled"] == [event.text for event in told]
    assert ["a", "b"] == [entry["record"]["job"] for entry in read(folder / "journal.jsonl")]
    orphans.adopt(state, told.append)
    assert 1 == len(told)


def test_tags_tell_projects_apart(tmp_path):
    """All jobs of a run have one name; how it begins is the project's alone."""
    (tmp_path / "other").mkdir()
    assert slurm.tag(tmp_path, "run").startswith(slurm.tag(tmp_path))
    assert not slurm.tag(tmp_path / "other", "run").startswith(slurm.tag(tmp_path))


def test_node_runs_what_can_run(tmp_path):
    """Jobs whose needs failed in an earlier batch, or were not run, are left out; others run."""
    (tmp_path / "results").mkdir()
    write_result(tmp_path, "1-1-a", {"a1": "ran", "a2": "failed", "a3": "cached"})
    jobs = (job("b1", "a1"), job("b2", "a2"), job("b3", "a1", "a3"), job("b4", "a4"))
    assert ["b1", "b3"] == [one.id for one in runnable(Batch("1-2-b", jobs, after=("1-1-a",)), tmp_path)]


def test_nodes_have_their_own_state(tmp_path):
    """Records and logs are the project's; the lock, the stat cache and scratch are not shared with any other node."""
    project, scratch = tmp_path / "project", tmp_path / "scratch"
    node, driver = NodeState(project, scratch), State(project)
    assert (driver.records, driver.log("r", "j")) == (node.records, node.log("r", "j"))
    own = {node.scratch, node.stat_cache, node.removed, node.cluster}
    assert all(path.is_relative_to(scratch) for path in own)
    with driver.exclusive("driver"), node.exclusive("node"):
        node.scratch.mkdir(parents=True)
    assert not node.scratch.exists()
