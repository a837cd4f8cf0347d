"""Rounds: what is done, what is given away again, and what is given up."""

from __future__ import annotations

from repro.digest import Digest
from repro.events import JobCached, JobFailed, JobRetried, JobStarted
from repro.execution.rounds import Loss, Rounds
from repro.execution.ticket import Batch
from tests.slurm.test_batches import job

KEY = Digest.of(b"key")


def rounds(*todo, lost: int = 2) -> Rounds:
    """Return the rounds of these jobs, the first begun."""
    made = Rounds(todo, lost=lost)
    made.begin()
    return made


def failed(name: str) -> JobFailed:
    """Return a failure of the job."""
    return JobFailed(name, 1, "exit status 1", "", "log")


def test_done_once():
    """A job that is done is not to do any more, and nothing that is told of it later counts."""
    made = rounds(job("a"), job("b"))
    assert JobCached("a", KEY) == made.hear(JobCached("a", KEY))
    assert None is made.hear(JobCached("a", KEY))
    assert None is made.hear(failed("a"))
    assert {"a": "cached"} == made.status()
    assert ["b"] == [one.id for one in made.begin()]


def test_failure_takes_along_what_needs_it():
    """What needs a failed job, however far away, is skipped with its nearest reason; the rest stays."""
    made = rounds(job("a"), job("b", "a"), job("c", "b"), job("d"))
    made.hear(failed("a"))
    assert [("b", "a"), ("c", "b")] == made.drop_needing()
    assert ["d"] == list(made.todo)
    assert {"a": "failed", "b": "skipped", "c": "skipped"} == made.status()


def test_lost_job_is_given_away_again():
    """A lost job runs as its next attempt, as often as the profile allows, and then fails."""
    made = rounds(job("a"), lost=1)
    batch = Batch("1-1-a", (job("a"),))
    (told,) = made.lose(batch, Loss("17", "NODE_FAIL"))
    assert ("a", 1) == (told.job, told.attempt)
    assert "its Slurm job 17 ended as NODE_FAIL" in told.message
    assert {"a": 2} == made.attempts
    made.begin()
    (told,) = made.lose(batch, Loss())
    assert isinstance(told, JobFailed)
    assert "lost 2 times" in told.message
    assert {"a": "failed"} == made.status()


def test_only_what_could_have_run_is_lost():
    """A batch that came to nothing because of others is no loss of its own jobs."""
    made = rounds(job("a"), job("b", "a"))
    assert [] == made.lose(Batch("1-2-b", (job("b", "a"),)), Loss())
    assert {} == made.attempts


def test_job_that_took_too_much_has_failed():
    """A job that was running when its time was over has failed, the ones that waited behind it are lost."""
    made = rounds(job("a[x=1]"), job("a[x=2]"))
    made.hear(JobStarted("a[x=1]", KEY, "new"))
    told = made.lose(Batch("1-1-a", (job("a[x=1]"), job("a[x=2]"))), Loss("3", "TIMEOUT"))
    assert [JobFailed, JobRetried] == [type(event) for event in told]
    assert "more time or memory" in told[0].message


def test_growing_job_is_tried_again():
    """A failure of a job whose next attempt gets more is told as a retry until its retries are used up."""
    made = rounds(job("a", memory="{{ attempt }}GB", retries=1))
    assert isinstance(made.hear(failed("a")), JobRetried)
    assert [] == made.lose(Batch("1-1-a", (job("a"),)), Loss())
    assert {"a": 2} == made.attempts
    made.begin()
    assert 2 == made.hear(JobStarted("a", KEY, "new")).attempt
    assert isinstance(made.hear(failed("a")), JobFailed)


def test_rest_is_given_up():
    """When nothing more is to start the jobs that are left are skipped, because of the first failure."""
    made = rounds(job("a"), job("b"), job("c"))
    made.hear(failed("b"))
    assert [("a", "b"), ("c", "b")] == made.drop_rest()
    assert not made.todo
