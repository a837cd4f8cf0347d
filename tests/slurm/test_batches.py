"""Batches: which jobs share one, what is asked for them, and that none waits for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import Location, WorkflowError
from repro.execution.batches import batches, grows
from repro.execution.profile import Batching, Placement, Profile
from repro.workflow.model import Job, Resources, Retries, Step

WHERE = Location("workflow.yaml", 1)


def job(name: str, *needs: str, step: str = "", retries: int = 0, **resources) -> Job:
    """Return a job; its step is the start of its name."""
    own = step or name.partition("[")[0]
    declared = Step(own, WHERE, "box", {}, {}, run="true", resources=Resources(**resources), retries=Retries(retries))
    return Job(name, declared, {}, {}, (), {}, {}, {}, needs, ())


def jobs(step: str, count: int, *needs: str, **resources) -> list[Job]:
    """Return so many jobs of a step."""
    return [job(f"{step}[x={number}]", *needs, **resources) for number in range(count)]


def made(todo, profile=None, attempts=None, wall=lambda _: None):
    """Return the batches of a first round."""
    return batches(todo, round_number=1, attempts=attempts or {}, profile=profile or Profile(), wall=wall)


def sizes(found) -> list[int]:
    """Return how many jobs each batch has."""
    return [len(batch.jobs) for batch in found]


def profile(**placement) -> Profile:
    """Return a profile that says this for all steps."""
    return Profile(Placement(**placement))


def test_so_many_as_the_profile_says():
    """A number of jobs is that number, whatever is known of their time."""
    assert [25, 25, 25, 25, 1] == sizes(made(jobs("a", 101), profile(batch=Batching(25)), wall=lambda _: 1e6))


def test_as_many_as_take_the_time():
    """Recorded times fill a batch; a job that takes longer has one of its own."""
    walls = {"a[x=0]": 100.0, "a[x=1]": 150.0, "a[x=2]": 200.0, "a[x=3]": 4000.0, "a[x=4]": 1.0}
    found = made(jobs("a", 5), profile(batch=Batching(time=300)), wall=lambda one: walls[one.id])
    assert [2, 1, 1, 1] == sizes(found)


def test_unknown_times_are_guessed():
    """Without records a batch has a few jobs, not one and not all."""
    assert [5, 5, 2] == sizes(made(jobs("a", 12)))


def test_batches_have_an_end():
    """Very short jobs do not all end up in one."""
    assert [1000, 500] == sizes(made(jobs("a", 1500), wall=lambda _: 0.0))


def test_only_what_is_alike_shares():
    """Jobs of different steps, or that are granted differently, do not share a batch."""
    todo = [*jobs("a", 2), *jobs("b", 2), job("c[x=1]", cpus=1), job("c[x=2]", cpus=2)]
    found = made(todo, profile(batch=Batching(10)))
    assert [["a[x=0]", "a[x=1]"], ["b[x=0]", "b[x=1]"], ["c[x=1]"], ["c[x=2]"]] == [
        [one.id for one in batch.jobs] for batch in found
    ]


def test_needs_of_the_round_are_waited_for():
    """A batch comes after those in which its jobs' needs run; what is done already is no need any more."""
    todo = [*jobs("a", 3), job("all", "a[x=0]", "a[x=1]", "a[x=2]", "done")]
    found = made(todo, profile(batch=Batching(2)))
    assert ("1-1-a", "1-2-a") == found[-1].after
    assert ("a[x=0]", "a[x=1]", "a[x=2]") == found[-1].jobs[0].needs


@given(st.data())
@settings(max_examples=60)
def test_no_batch_waits_for_a_later_one(data):
    """Whatever needs what, in whatever steps: batches can be run in the order in which they come."""
    todo: list[Job] = []
    for number in range(data.draw(st.integers(1, 25))):
        needs = data.draw(st.lists(st.sampled_from([one.id for one in todo]), max_size=3, unique=True)) if todo else []
        todo.append(job(f"{data.draw(st.sampled_from('abc'))}[x={number}]", *needs))
    found = made(todo, profile(batch=Batching(data.draw(st.integers(1, 5)))))
    assert {one.id for one in todo} == {one.id for batch in found for one in batch.jobs}
    earlier: set[str] = set()
    for batch in found:
        assert earlier.issuperset(batch.after)
        earlier.add(batch.name)


def test_asked_for_together():
    """A batch gets the most of its jobs' resources and the sum of their times; what no step says the profile may."""
    found = made(jobs("a", 3, cpus=2, gpus=1), profile(time=60, memory=10**9, batch=Batching(3)))
    (batch,) = found
    assert (2, 10**9, 3 * 60 + 120, 1) == (batch.cpus, batch.memory, batch.time, batch.gpus)
    assert {10**9} == {one.step.resources.memory for one in batch.jobs}


def test_later_attempts_get_more():
    """Resources are numbers in a ticket, for the attempt that it is about; the node does not try such a job again."""
    growing = job("a", memory="{{ attempt }}GB", retries=3)
    assert grows(growing)
    (batch,) = made([growing], attempts={"a": 2})
    assert 2 * 10**9 == batch.memory == batch.jobs[0].step.resources.memory
    assert (0, {"a": 2}) == (batch.jobs[0].step.retries.count, batch.attempts)
    steady = job("b", memory=10**9, retries=3)
    assert not grows(steady)
    assert 3 == made([steady])[0].jobs[0].step.retries.count


def test_resources_that_cannot_be_told():
    """A template that gives no amount is a mistake of the workflow, at its place."""
    with pytest.raises(WorkflowError, match=r"workflow.yaml:1:1: steps.a.resources.memory"):
        made([job("a", memory="{{ 1 / (2 - attempt) }}GB", retries=1)], attempts={"a": 2})


def test_ten_thousand_jobs_are_quick():
    """Names and order cost no more per job when there are many."""
    found = made(jobs("a", 10_000), profile(batch=Batching(1)))
    assert 10_000 == len({batch.name for batch in found})
