"""Steps that range over what others make: their jobs join the run, and a no-op finds them again."""

from __future__ import annotations

import pytest

from repro.errors import WorkflowError

SCATTER = """
steps:
  split:
    inputs: {x: data/x.txt}
    outputs: {parts: parts/}
    run: |
      mkdir parts
      while read name; do echo $name > parts/$name.txt; done < {{ inputs.x }}
  each:
    foreach: {items: split.parts, pattern: "{{ n }}.txt"}
    inputs: {part: "{{ path }}"}
    outputs: {o: "each/{{ n }}.up"}
    run: tr a-z A-Z < {{ inputs.part }} > {{ outputs.o }}
  all:
    inputs: {parts: {from: each.o}}
    outputs: {o: all.txt}
    run: cat {{ inputs.parts }} > {{ outputs.o }}
  apart: {outputs: {o: apart.txt}, run: echo 1 > apart.txt}
"""
ALL = {"split", "each[n=a]", "each[n=b]", "all", "apart"}


@pytest.fixture
def scatter(pipeline):
    """A project in which a step's jobs hang on what another one makes."""
    return pipeline.steps(SCATTER).write({"data/x.txt": "a\nb\n"})


def test_jobs_join_the_run(scatter):
    """Jobs of a step, and of one that gathers them, come once what they range over is there; the run tells how many."""
    assert {"split", "apart"} == set(scatter.assess())
    finished = scatter.run()
    assert ("succeeded", 5) == (finished.status, finished.ran)
    assert "A\nB\n" == scatter.text("all.txt")
    added = [event for event in scatter.events if event.kind == "jobs-added"]
    assert 3 == sum(event.jobs for event in added)
    assert {"each", "all"} == {step for event in added for step in event.steps}


def test_no_op_stays_a_no_op(scatter):
    """What was planned in the run is planned before the next one: all is cached, and a plan shows it all."""
    scatter.run()
    assert dict.fromkeys(ALL, "cached") == {name: state.status for name, state in scatter.assess().items()}
    assert 5 == scatter.run().cached
    assert [] == scatter.asked
    assert "jobs-added" not in [event.kind for event in scatter.events]


def test_new_item_runs_its_job_and_what_gathers(scatter):
    """One more item is one more job; the others are cached."""
    scatter.run()
    scatter.write({"data/x.txt": "a\nb\nc\n"})
    finished = scatter.run()
    assert ["all", "each[n=c]", "split"] == scatter.jobs("job-finished")
    assert (3, 3) == (finished.ran, finished.cached)
    assert "A\nB\nC\n" == scatter.text("all.txt")


def test_fewer_items(scatter):
    """An item that is gone takes its job with it."""
    scatter.run()
    scatter.write({"data/x.txt": "b\n"})
    assert ("succeeded", 2) == ((done := scatter.run()).status, done.ran)
    assert "B\n" == scatter.text("all.txt")


def test_failed_source_leaves_its_jobs_unknown(scatter):
    """Where what is ranged over cannot be made, its step's jobs never come."""
    scatter.more = {"keep_going": True}
    scatter.steps(SCATTER.replace("mkdir parts\n", "mkdir parts; false\n"))
    finished = scatter.run()
    assert ("failed", 1, 1, 0) == (finished.status, finished.ran, finished.failed, finished.skipped)


def test_items_that_cannot_be_planned_end_the_run(scatter):
    """A mistake that shows only then is told as one of the workflow, after what runs has ended."""
    text = SCATTER.replace("mkdir parts\n", "mkdir -p parts/1 parts/2; touch parts/1/x.txt parts/2/x.txt\n")
    scatter.steps(text.replace("{{ n }}.txt", "{{ d }}/{{ n }}.txt"))
    with pytest.raises(WorkflowError) as raised:
        scatter.run()
    assert "steps.each.outputs.o" in {problem.path for problem in raised.value.problems}
    assert "run-finished" == scatter.events[-1].kind
    assert "failed" == scatter.events[-1].status
    assert (scatter.root / "apart.txt").exists()


def test_step_of_a_step(pipeline):
    """A step may range over what the jobs of such a step make."""
    pipeline.steps(
        SCATTER
        + "  again:\n    foreach: {items: each.o}\n    inputs: {x: '{{ path }}'}\n    outputs: {o: 'again/{{ path }}'}\n"
        "    run: cat {{ inputs.x }} {{ inputs.x }} > {{ outputs.o }}\n"
    ).write({"data/x.txt": "a\nb\n"})
    assert 7 == pipeline.run().ran
    assert "A\nA\n" == pipeline.text("again/each/a.up")
    assert 7 == pipeline.run().cached


def test_temporary_outputs_in_such_steps(pipeline):
    """What jobs that join make or read goes when all have read it, and stays known."""
    text = SCATTER.replace('{o: "each/{{ n }}.up"}', '{o: {path: "each/{{ n }}.up", temporary: true}}')
    text = text.replace("x: data/x.txt}", "x: {from: early.o}}")
    text += (
        "  early: {outputs: {o: {path: early.txt, temporary: true}}, run: 'echo a > early.txt; echo b >> early.txt'}\n"
    )
    pipeline.steps(text)
    assert 6 == pipeline.run().ran
    assert "A\nB\n" == pipeline.text("all.txt")
    assert [True, False, False] == [
        (pipeline.root / path).exists() for path in ("parts/a.txt", "each/a.up", "early.txt")
    ]
    assert 6 == pipeline.run().cached
    (pipeline.root / "all.txt").unlink()
    assert ["all", "each[n=a]", "each[n=b]"] == (pipeline.run(), pipeline.jobs("job-finished"))[1]
