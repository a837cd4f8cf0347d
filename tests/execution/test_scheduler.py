"""Which job starts when: needs, room, priority and failure."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from repro.execution.scheduler import Schedule, Task


def task(name, needs=(), cpus=1, memory=0, weight=1.0, **named):
    """Return a task that takes these amounts."""
    return Task(name, tuple(needs), {"cpus": cpus, "memory": memory, **named}, weight)


def schedule_of(*tasks, cpus=9, memory=0, **named):
    """Return a schedule with this room."""
    return Schedule(tasks, room={"cpus": cpus, "memory": memory, **named})


def startable(schedule):
    """Return all that can start now, in the order in which it does."""
    names = []
    while (name := schedule.start()) is not None:
        names.append(name)
    return names


def test_needs_are_met_first():
    """A job starts once all that it needs has succeeded, not before."""
    schedule = schedule_of(task("a"), task("b"), task("c", "ab"))
    assert ["a", "b"] == startable(schedule)
    schedule.succeeded("a")
    assert [] == startable(schedule)
    schedule.succeeded("b")
    assert ["c"] == startable(schedule)
    assert not schedule.done
    schedule.succeeded("c")
    assert schedule.done


def test_room_bounds_what_runs():
    """Running jobs never use more than there is; one that does not fit lets a smaller one pass."""
    tasks = [task("a", (), 2, 6), task("b", (), 2, 1), task("c", (), 1, 9), task("d", (), 1, 4)]
    schedule = schedule_of(*tasks, cpus=3, memory=10)
    assert ["a", "d"] == startable(schedule)
    schedule.succeeded("a")
    assert ["b"] == startable(schedule)
    schedule.succeeded("d")
    schedule.succeeded("b")
    assert ["c"] == startable(schedule)


def test_named_resources_bound_what_runs():
    """Two licences let two of three jobs run; the third starts when one is given back."""
    schedule = schedule_of(*(task(name, licences=1) for name in "abc"), licences=2)
    assert ["a", "b"] == startable(schedule)
    schedule.succeeded("b")
    assert ["c"] == startable(schedule)


def test_longest_chain_starts_first():
    """The head of the longest chain of wall times goes first, then the plan's order."""
    chain = [task("x", weight=1), task("y", "x", weight=50)]
    tasks = [task("a", weight=10), task("b", weight=10), *chain, task("c", weight=60)]
    assert ["c", "x", "a", "b"] == startable(schedule_of(*tasks))
    assert ["a", "x"] == startable(schedule_of(task("a"), task("x"), task("y", "x"), cpus=9))[::-1]


def test_failure_takes_only_what_needs_it():
    """What needs a failed job, near or far, is lost with the need that failed it; everything else goes on."""
    tasks = [task("a", weight=9), task("b", "a"), task("c", "b"), task("x"), task("y", "x")]
    schedule = schedule_of(*tasks, cpus=1)
    assert ["a"] == startable(schedule)
    assert (("b", "a"), ("c", "b")) == schedule.failed("a")
    assert ["x"] == startable(schedule)
    schedule.succeeded("x")
    assert ["y"] == startable(schedule)
    schedule.succeeded("y")
    assert schedule.done


def test_need_outside_counts_as_met():
    """A need that is not among the tasks (it is cached) holds nobody up."""
    assert ["b"] == startable(schedule_of(task("b", "a")))


def test_freed_jobs_start_in_the_order_given():
    """The plan's order decides between equals, not the order in which needs were met."""
    schedule = schedule_of(task("p"), task("q"), task("a", "p"), task("b", "q"), cpus=2)
    assert ["p", "q"] == startable(schedule)
    schedule.succeeded("q")
    schedule.succeeded("p")
    assert ["a", "b"] == startable(schedule)


def test_held_job_gives_its_room_away_and_takes_more_later():
    """A job that is to be tried again leaves its room to others meanwhile, and may ask for another amount then."""
    schedule = schedule_of(task("a", (), 1, 4), task("b", (), 1, 4), task("c", "a"), memory=6)
    assert ["a"] == startable(schedule)
    schedule.hold("a")
    assert ["b"] == startable(schedule)
    assert schedule.held
    schedule.resume("a", {"cpus": 1, "memory": 6})
    assert [] == startable(schedule)
    schedule.succeeded("b")
    assert ["a"] == startable(schedule)
    schedule.succeeded("a")
    assert ["c"] == startable(schedule)


def test_postponed_job_waits_for_what_came_later():
    """A job that turns out to need another one starts after that; what needs it still waits for it."""
    schedule = schedule_of(task("c"), task("d", "c"), cpus=1)
    assert ["c"] == startable(schedule)
    schedule.postpone("c", [task("p")])
    for name in ("p", "c", "d"):
        assert [name] == startable(schedule)
        schedule.succeeded(name)
    assert schedule.done


def test_jobs_join_while_others_run():
    """New jobs wait for those they need that have not ended, and count in the priority of these."""
    schedule = schedule_of(task("a"), task("b"), task("c"), cpus=1)
    assert ["a"] == startable(schedule)
    schedule.add([task("d", "ac")])
    schedule.succeeded("a")
    assert ["c"] == startable(schedule)
    schedule.succeeded("c")
    assert ["b"] == startable(schedule)
    schedule.succeeded("b")
    assert ["d"] == startable(schedule)


def test_dropped_jobs_never_start():
    """After `drop` only what runs is left."""
    schedule = schedule_of(task("a"), task("b"), task("c", "a"), cpus=1)
    assert ["a"] == startable(schedule)
    assert ("b", "c") == schedule.drop()
    schedule.succeeded("a")
    assert schedule.done


def test_ten_thousand_jobs_cost_as_much_each_as_one_thousand():
    """A scatter and gather of 10,000 jobs is scheduled in seconds of which 1,000 take a tenth."""

    def seconds(count):
        tasks = [task(f"a{number}", weight=number % 7) for number in range(count)]
        tasks += [task(f"b{number}", (f"a{number}",)) for number in range(count)]
        tasks.append(task("end", [one.id for one in tasks]))
        started = time.process_time()
        schedule = schedule_of(*tasks, cpus=2)
        while not schedule.done:
            for name in startable(schedule):
                schedule.succeeded(name)
        return time.process_time() - started

    assert 25 * max(seconds(500), 0.005) > seconds(5000)


@st.composite
def graphs(draw):
    """Give tasks with needs among the earlier ones."""
    count = draw(st.integers(1, 8))
    return [
        task(
            str(index),
            tuple(str(need) for need in draw(st.sets(st.integers(0, index - 1), max_size=3))) if index else (),
            draw(st.integers(1, 3)),
            draw(st.integers(0, 5)),
            draw(st.integers(0, 3)),
        )
        for index in range(count)
    ]


@given(tasks=graphs(), failing=st.sets(st.integers(0, 7)), late=st.integers(0, 8), data=st.data())
def test_every_job_ends_once_within_the_room(tasks, failing, late, data):
    """Whatever ends, is held or joins in whatever order: room is kept, needs come first, each job ends once."""
    first = max(0, len(tasks) - late)
    schedule, later = schedule_of(*tasks[:first], cpus=3, memory=5), tasks[first:]
    by_name = {one.id: one for one in tasks}
    running, good, bad, tried, held = [], set(), set(), set(), []
    while later or not schedule.done:
        if later and (schedule.done or data.draw(st.booleans())):
            joining = later.pop(0)
            if bad & set(joining.needs):
                bad.add(joining.id)  # nobody would plan it
            else:
                schedule.add([joining])
        for name in startable(schedule):
            assert set(by_name[name].needs) <= good
            assert name not in good | bad
            running.append(name)
        assert 3 >= sum(by_name[name].amounts["cpus"] for name in running)
        assert 5 >= sum(by_name[name].amounts["memory"] for name in running)
        if held and (not running or data.draw(st.booleans())):
            name = held.pop()
            schedule.resume(name, by_name[name].amounts)
        elif running:
            name = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if name not in tried and data.draw(st.booleans()):
                tried.add(name)
                schedule.hold(name)
                held.append(name)
            elif int(name) in failing:
                bad |= {name} | {other for other, _ in schedule.failed(name)}
            else:
                schedule.succeeded(name)
                good.add(name)
        else:
            assert schedule.done, "nothing runs, and the schedule is not done"
    assert not good & bad
    assert set(by_name) == good | bad
