"""Steps over what earlier steps make: planned as these are done, until nothing waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.errors import WorkflowError
from repro.workflow.loader import load
from repro.workflow.plan import plan
from repro.workflow.project import FolderProject

if TYPE_CHECKING:
    from pathlib import Path

    from repro.workflow.model import Plan

HEAD = "repro: 1\nenvironments: {e: {base: debian:bookworm}}\ndefaults: {environment: e}\nsteps:\n"


def planned(folder: Path, steps: str, done: str = "") -> Plan:
    """Return the plan of some steps, with those named in ``done`` done."""
    return plan(load(HEAD + steps, "workflow.yaml"), FolderProject(folder), frozenset(done.split()))


@st.composite
def workflows(draw) -> str:
    """Draw steps of which some range over folders of earlier ones, and read others by name or by path."""
    lines = []
    for number in range(draw(st.integers(2, 7))):
        earlier = list(range(number))
        over = draw(st.sampled_from([None, None, *earlier])) if earlier else None
        chunk = ", chunk: 2" if draw(st.booleans()) else ""
        foreach = f"foreach: {{items: s{over}.o{chunk}}}, " if over is not None else ""
        name = ("{{ chunk }}/" if chunk else "{{ path }}/") if foreach else ""
        read = draw(st.lists(st.sampled_from(earlier), max_size=2, unique=True)) if earlier else []
        inputs = ", ".join(
            f"i{other}: " + (f"{{from: s{other}.o}}" if draw(st.booleans()) else f"s{other}/") for other in read
        )
        lines.append(f'  s{number}: {{{foreach}inputs: {{{inputs}}}, outputs: {{o: "s{number}/{name}"}}, run: x}}')
    return "\n".join(draw(st.permutations(lines))) + "\n"


@settings(max_examples=80, deadline=None)
@given(workflows())
def test_everything_is_planned_in_the_end(tmp_path_factory, steps: str) -> None:
    """Run round by round, every step gets its jobs; jobs that were planned stay what they were, in their order."""
    folder = tmp_path_factory.mktemp("p")
    ran: set[str] = set()
    plans = []
    done: frozenset[str] = frozenset()
    while not plans or plans[-1].deferred:
        made = plan(load(HEAD + steps, "workflow.yaml"), FolderProject(folder), done)
        plans.append(made)
        for job in made.jobs:
            assert {need for need in job.needs if need not in ran} == set(), "jobs come after those they need"
            for output in job.outputs.values():
                (folder / output.path).mkdir(parents=True, exist_ok=True)
                for name in ("a", "b"):
                    (folder / output.path / name).touch()
            ran.add(job.id)
        late = {one.step for one in made.deferred}
        finished = {job.step.name for job in made.jobs}
        assert not finished & late and finished | late == set(made.workflow.steps)
        assert all(set(one.waits) - done for one in made.deferred), "what waits for nothing is planned"
        assert not made.deferred or any(set(one.waits) <= done | finished for one in made.deferred), "there is progress"
        done = done | finished
    last = {job.id: job for job in plans[-1].jobs}
    for made in plans:
        assert all(last[job.id] == job for job in made.jobs)
        kept = {job.id for job in made.jobs}
        assert [job.id for job in made.jobs] == [job for job in last if job in kept]
    # what an earlier run left changes no plan of a new one
    assert plans[0] == plan(load(HEAD + steps, "workflow.yaml"), FolderProject(folder))


def test_leftovers_are_no_inputs(tmp_path) -> None:
    """Files of an earlier run at paths that a waiting step would make are neither read nor matched by a glob."""
    for name in ("parts/1", "thumbs/old.png", "other/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    steps = """
  split: {outputs: {o: parts/}, run: x}
  thumb: {foreach: {items: split.o}, outputs: {o: "thumbs/{{ path }}.png"}, run: x}
  one: {inputs: {x: thumbs/old.png}, outputs: {o: one}, run: x}
  all: {inputs: {x: "*/*.png"}, outputs: {o: all}, run: x}
"""
    made = planned(tmp_path, steps)
    assert {"thumb": ("split",), "one": ("split",)} == {one.step: one.waits for one in made.deferred}
    assert [("other/x.png",)] == [job.inputs["x"].paths for job in made.jobs if job.id == "all"]


def test_outputs_named_by_a_value_alone(tmp_path) -> None:
    """A template that begins with a value may be any path: only what cannot be had otherwise waits for it."""
    (tmp_path / "here.txt").touch()
    steps = """
  split: {outputs: {o: parts/}, run: x}
  each: {foreach: {items: split.o}, outputs: {o: "{{ path }}.txt"}, run: x}
  here: {inputs: {x: here.txt}, outputs: {o: a}, run: x}
  there: {inputs: {x: parts/1.txt, y: {path: none.txt, optional: true}}, outputs: {o: b}, run: x}
"""
    with pytest.raises(WorkflowError, match="would lie inside parts/"):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts/1").touch()
        planned(tmp_path, steps, "split")
    made = planned(tmp_path, steps.replace("{{ path }}.txt", "{{ path | replace('parts', 'made') }}.txt"))
    assert ["each", "there"] == [one.step for one in made.deferred]


def test_scripts_and_companions_wait(tmp_path) -> None:
    """A script, code and a companion that a waiting step makes keep their step waiting as inputs do."""
    (tmp_path / "a.bam").touch()
    (tmp_path / "s.py").touch()
    steps = """
  split: {outputs: {o: parts/}, run: x}
  each: {foreach: {items: split.o}, outputs: {o: "gen/{{ path }}.py", i: "a.bam.{{ path }}"}, run: x}
  script: {script: gen/parts/1.py, outputs: {o: a}}
  bam: {inputs: {b: {path: a.bam, with: [.bai]}}, outputs: {o: b}, run: x}
  after: {inputs: {b: a, c: {path: gen/, optional: true}}, outputs: {o: c}, run: x}
"""
    assert ["each", "script", "bam", "after"] == [one.step for one in planned(tmp_path, steps).deferred]


def test_names_that_begin_alike(tmp_path) -> None:
    """A file whose name begins as that of a folder which a waiting step fills is no part of it."""
    (tmp_path / "thumb").touch()
    steps = """
  split: {outputs: {o: parts/}, run: x}
  each: {foreach: {items: split.o}, outputs: {o: "thumbs/{{ path }}"}, run: x}
  one: {inputs: {x: thumb}, outputs: {o: one}, run: x}
"""
    assert ["each"] == [one.step for one in planned(tmp_path, steps).deferred]


@pytest.mark.parametrize("chunk", ["", ", chunk: 1"])
def test_files_join_within_one_range(tmp_path, chunk: str) -> None:
    """Steps over the same files join file by file; one over other files gathers, whatever these are called."""
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    name = "{{ chunk }}" if chunk else "{{ path }}"
    steps = f"""
  a: {{outputs: {{o: a/}}, run: x}}
  b: {{outputs: {{o: b/}}, run: x}}
  one: {{foreach: {{items: a.o{chunk}}}, outputs: {{o: "one/{name}"}}, run: x}}
  same: {{foreach: {{items: a.o{chunk}}}, inputs: {{x: {{from: one.o}}}}, outputs: {{o: "same/{name}"}}, run: x}}
  other: {{foreach: {{items: b.o{chunk}}}, inputs: {{x: {{from: one.o}}}}, outputs: {{o: "other/{name}"}}, run: x}}
"""
    jobs = planned(tmp_path, steps, "a b").jobs
    assert [1, 1] == [len(job.inputs["x"].paths) for job in jobs if job.step.name == "same"]
    assert [2] == [len(job.inputs["x"].paths) for job in jobs if job.step.name == "other"]


def test_a_thousand_steps_in_a_row(tmp_path) -> None:
    """Steps that each range over the one before wait for it alone, however long the row and whatever its order."""
    steps = "".join(
        f'  s{n}: {{foreach: {{items: s{n - 1}.o}}, outputs: {{o: "o{n}/{{{{ path }}}}/"}}, run: x}}\n'
        for n in range(1000, 0, -1)
    )
    made = planned(tmp_path, steps + "  s0: {outputs: {o: o0/}, run: x}\n")
    assert ["s0"] == [job.id for job in made.jobs]
    assert {f"s{n}": (f"s{n - 1}",) for n in range(1, 1001)} == {one.step: one.waits for one in made.deferred}
