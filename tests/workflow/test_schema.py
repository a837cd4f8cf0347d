"""The JSON Schema: it accepts what the loader accepts, and sees the slips that an editor should mark."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_cases import CASES, folders

from repro.errors import WorkflowError
from repro.workflow.fields import value
from repro.workflow.loader import load_all
from repro.workflow.parser import parse
from repro.workflow.schema import schema
from repro.workflow.values import plain

ROOT = Path(__file__).parent.parent.parent
REAL = sorted([*ROOT.glob("examples/*/workflow.yaml"), *ROOT.glob("workflows/*/workflow.yaml")])
GOOD = [folder / "workflow.yaml" for folder in folders("good")]
VALIDATOR = jsonschema.Draft202012Validator(schema())


def document(text: str) -> object:
    """Return a workflow's text as the JSON that an editor checks."""
    root = parse(text, "workflow.yaml").root
    return None if root is None else json.loads(json.dumps(plain(value(root))))


def mistakes(text: str) -> list[str]:
    """Return the places of what the schema finds wrong."""
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(document(text))]


def test_the_schema_is_one() -> None:
    """It is valid in its dialect, and JSON."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema() == json.loads(json.dumps(schema()))


@pytest.mark.parametrize("path", [*GOOD, *REAL], ids=lambda path: path.parent.name)
def test_real_files_are_accepted(path: Path) -> None:
    """Every workflow of ours that is right is right for the schema."""
    assert [] == mistakes(path.read_text())


def test_there_are_real_files() -> None:
    """The example of the documentation is among what is tried."""
    assert REAL


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_the_loader_accepts_is_accepted(data: st.DataObject) -> None:
    """However a good workflow is changed, what the loader finds nothing wrong in is right for the schema."""
    text = data.draw(st.sampled_from(GOOD)).read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 8)))
        new = data.draw(st.text(st.sampled_from("{}[]:,#\"'\n 01.-ab~/"), max_size=4))
        text = text[:start] + new + text[end:]
    try:
        if load_all(text, "workflow.yaml")[1]:
            return
    except WorkflowError:
        return
    assert [] == mistakes(text)


@pytest.mark.parametrize(
    "case", ["unknown_keys", "wrong_types", "missing_parts", "resources", "not_a_mapping", "no_format"]
)
def test_slips_are_seen(case: str) -> None:
    """Unknown keys, wrong types and missing parts are marked in an editor as well."""
    assert mistakes((CASES / "bad" / case / "workflow.yaml").read_text())


STEP = "repro: 1\nenvironments: {e: {image: i}}\nsteps: {a: {environment: e, %s}}\n"


@pytest.mark.parametrize(
    "step",
    [
        "run: x, script: y.py",
        "script: 3",
        "runs: x",
        "run: x, inputs: {a: {path: x, from: a.b}}",
        "run: x, inputs: {a: {}}",
        "run: x, outputs: {o: {temporary: true}}",
        "run: x, outputs: {o: [x]}",
        "run: x, foreach: {glob: x, chunk: 3}",
        "run: x, foreach: {items: a.b, chunk: 0}",
        "run: x, foreach: {x: []}",
        "run: x, resources: {cpus: 1.5}",
        "run: x, resources: {memory: [1]}",
        "run: x, retries: -1",
        "run: x, retries: {pause: 3}",
        "run: x, network: yes",
        "run: x, entrypoint: sh",
        "run: x, params: {1x: 3}",
        "run: [], outputs: {}",
    ],
)
def test_mistakes_in_a_step(step: str) -> None:
    """Each of these is wrong for the loader and for the schema, in the step."""
    text = STEP % step
    assert load_all(text, "workflow.yaml")[1]
    assert all(place.startswith("steps.a") for place in mistakes(text))
    assert mistakes(text)
