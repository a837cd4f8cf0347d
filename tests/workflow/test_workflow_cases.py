"""The golden corpus of good and bad workflows, and that no text whatever makes the reader crash."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_cases import CASES, described, folders, outcome

from repro.errors import WorkflowError
from repro.workflow.graph_text import FORMATS, graph_text
from repro.workflow.loader import load, load_all
from repro.workflow.plan import checked, plan, read
from repro.workflow.project import FolderProject
from repro.workflow.resources import granted

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [(folder, (folder / "workflow.yaml").read_text()) for folder in (*folders("good"), *folders("bad"))]


@pytest.mark.parametrize(
    "folder", [*folders("good"), *folders("bad")], ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_case(folder: Path) -> None:
    """Each case says exactly what was read and approved when its expected.txt was committed."""
    assert (folder / "expected.txt").read_text() == outcome(folder)


@pytest.mark.parametrize(
    "folder", [*folders("good"), *folders("bad")], ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_case_without_libyaml(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser, where libyaml is missing, leads to the same plans and mistakes; columns may differ by one."""
    monkeypatch.delattr(yaml, "CSafeLoader")

    def without_columns(text: str) -> str:
        return re.sub(r"^( +\| +\^\n)|(?<=yaml):([0-9]+):[0-9]+:", r"\2", text, flags=re.MULTILINE)

    assert without_columns((folder / "expected.txt").read_text()) == without_columns(outcome(folder))


def test_good_are_good_and_bad_are_bad() -> None:
    """The two kinds of cases differ in whether there is a plan."""
    assert [False] * len(folders("good")) == ["in the workflow\n" in outcome(folder) for folder in folders("good")]
    assert [True] * len(folders("bad")) == ["in the workflow\n" in outcome(folder) for folder in folders("bad")]


def test_five_mistakes() -> None:
    """Five different mistakes, of the file and of the plan, come as five located messages with exit status 2."""
    folder = CASES / "bad" / "five_mistakes"
    with pytest.raises(WorkflowError) as caught:
        read((folder / "workflow.yaml").read_text(), "dir/workflow.yaml", FolderProject(folder))
    assert [9, 11, 12, 14, 15] == [problem.where.line for problem in caught.value.problems]
    assert {"dir/workflow.yaml"} == {problem.where.file for problem in caught.value.problems}
    assert 2 == caught.value.exit_status


def test_load_then_plan_equals_read() -> None:
    """The two steps make the same plan as the one that reports everything together."""
    folder = CASES / "good" / "rnaseq"
    text = (folder / "workflow.yaml").read_text()
    project = FolderProject(folder)
    assert described(read(text, "workflow.yaml", project)) == described(plan(load(text, "workflow.yaml"), project))


def test_order_of_steps_does_not_matter() -> None:
    """Steps declared in any order give the same jobs in the same order."""
    folder = CASES / "good" / "join"
    text = (folder / "workflow.yaml").read_text()
    head, _, body = text.partition("steps:\n")
    blocks: list[str] = []
    for line in body.splitlines(keepends=True):
        if line.startswith("  ") and not line.startswith("   "):
            blocks.append(line)
        else:
            blocks[-1] += line
    assert 5 == len(blocks)
    expected = (folder / "expected.txt").read_text()
    for order in itertools.permutations(blocks):
        assert expected == described(read(f"{head}steps:\n{''.join(order)}", "workflow.yaml", FolderProject(folder)))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_workflows_give_located_mistakes_or_a_plan(data: st.DataObject) -> None:
    """Whatever is cut out of a workflow or put into it, there is a plan that can be drawn, or there are places in the file."""
    folder, text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        new = data.draw(st.text(st.sampled_from("{}[]:,#&*!|>'\"%@`\\-? \n\tab{{ x }}~<01é\u2028\x85"), max_size=6))
        text = text[:start] + new + text[end:]
    try:
        workflow, found = load_all(text, "workflow.yaml")
        done = frozenset(workflow.steps) if data.draw(st.booleans()) else frozenset()
        made = checked(workflow, found, FolderProject(folder), done)
        for form in FORMATS:
            assert graph_text(made, form, jobs=data.draw(st.booleans()))
        assert all(granted(job).cpus for job in made.jobs)
    except WorkflowError as error:
        lines = text.count("\n") + text.count("\u2028") + text.count("\x85") + 2
        for problem in error.problems:
            assert problem.where.file != "workflow.yaml" or 1 <= problem.where.line <= lines


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_refused_in_words(text: str) -> None:
    """Text that is no workflow is a WorkflowError, never another exception."""
    with pytest.raises(WorkflowError):
        load(text, "workflow.yaml")
