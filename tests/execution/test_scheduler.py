"""Which job starts when: needs, room, order and failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repro.execution.scheduler import Schedule, Task


def startable(schedule):
    """Return all that can start now, in the order in which it does."""
    names = []
    while (name := schedule.start()) is not None:
        names.append(name)
    return names


def test_needs_are_met_first():
    """A job starts once all that it needs has succeeded, not before."""
    schedule = Schedule([Task("a", ()), Task("b", ()), Task("c", ("a", "b"))], cpus=9, memory=0)
    assert ["a", "b"] == startable(schedule)
    schedule.succeeded("a")
    assert [] == startable(schedule)
    schedule.succeeded("b")
    assert ["c"] == startable(schedule)
    assert not schedule.done
    schedule.succeeded("c")
    assert schedule.done


def test_cpus_and_memory_bound_what_runs():
    """Running jobs never use more than there is; one that does not fit lets a smaller one pass."""
    tasks = [Task("a", (), 2, 6), Task("b", (), 2, 1), Task("c", (), 1, 9), Task("d", (), 1, 4)]
    schedule = Schedule(tasks, cpus=3, memory=10)
    assert ["a", "d"] == startable(schedule)
    schedule.succeeded("a")
    assert ["b"] == startable(schedule)
    schedule.succeeded("d")
    schedule.succeeded("b")
    assert ["c"] == startable(schedule)


def test_failure_takes_only_what_needs_it():
    """What needs a failed job, near or far, is lost with the need that failed it; everything else goes on."""
    tasks = [Task("a", ()), Task("b", ("a",)), Task("c", ("b",)), Task("x", ()), Task("y", ("x",))]
    schedule = Schedule(tasks, cpus=1, memory=0)
    assert ["a"] == startable(schedule)
    assert (("b", "a"), ("c", "b")) == schedule.failed("a")
    assert ["x"] == startable(schedule)
    schedule.succeeded("x")
    assert ["y"] == startable(schedule)
    schedule.succeeded("y")
    assert schedule.done


def test_need_outside_counts_as_met():
    """A need that is not among the tasks (it is cached) holds nobody up."""
    assert ["b"] == startable(Schedule([Task("b", ("a",))], cpus=1, memory=0))


def test_freed_jobs_start_in_the_order_given():
    """The plan's order decides, not the order in which needs were met."""
    tasks = [Task("p", ()), Task("q", ()), Task("a", ("p",)), Task("b", ("q",))]
    schedule = Schedule(tasks, cpus=2, memory=0)
    assert ["p", "q"] == startable(schedule)
    schedule.succeeded("q")
    schedule.succeeded("p")
    assert ["a", "b"] == startable(schedule)


@st.composite
def graphs(draw):
    """Give tasks with needs among the earlier ones."""
    count = draw(st.integers(1, 8))
    return [
        Task(
            str(index),
            tuple(str(need) for need in draw(st.sets(st.integers(0, index - 1), max_size=3))) if index else (),
            draw(st.integers(1, 3)),
            draw(st.integers(0, 5)),
        )
        for index in range(count)
    ]


@given(tasks=graphs(), failing=st.sets(st.integers(0, 7)), data=st.data())
def test_every_job_ends_once_within_the_room(tasks, failing, data):
    """Whatever ends in whatever order: room is kept, needs come first, each job runs once or is lost once."""
    schedule = Schedule(tasks, cpus=3, memory=5)
    by_name = {task.id: task for task in tasks}
    running, good, lost, seen = [], set(), set(), []
    while not schedule.done:
        for name in startable(schedule):
            assert set(by_name[name].needs) <= good
            running.append(name)
            seen.append(name)
        assert 3 >= sum(by_name[name].cpus for name in running)
        assert 5 >= sum(by_name[name].memory for name in running)
        assert running, "nothing runs, and the schedule is not done"
        name = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if int(name) in failing:
            lost |= {other for other, _ in schedule.failed(name)}
        else:
            schedule.succeeded(name)
            good.add(name)
    assert sorted(by_name) == sorted([*seen, *lost])
