"""Jobs that read very many files: bound as their folders where these hold nothing else, refused where that cannot be."""

from __future__ import annotations

import json

import pytest

from repro.execution import world

GLOB = """
steps:
  s:
    inputs: {x: "many/*.txt"}
    outputs: {y: out/y.txt}
    run: |
      n=0; for f in many/*; do case $f in *y.out) ;; *) n=$((n+1)) ;; esac; done
      echo $n > {{ outputs.y }}
      cat {{ inputs.x }} | wc -c >> {{ outputs.y }}
      if touch many/new 2> /dev/null; then echo writable >> {{ outputs.y }}; fi
"""


def _fill(pipeline, count: int = 100) -> None:
    folder = pipeline.root / "many"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.txt").write_text("x")


def test_a_folder_of_nothing_but_inputs_is_bound_as_one(pipeline):
    """The step sees the same files, read-only; the record names each of them."""
    _fill(pipeline)
    assert 1 == pipeline.steps(GLOB).run().ran
    assert "100\n100\n" == pipeline.text("out/y.txt")
    (record,) = (pipeline.root / ".repro/records").rglob("*.json")
    assert 100 == len(json.loads(record.read_text())["inputs"]["x"])


def test_what_is_not_declared_stays_unseen(pipeline):
    """One more file in the folder, and the inputs are bound one by one: the other is not there for the step."""
    _fill(pipeline)
    (pipeline.root / "many/secret.key").write_text("s")
    assert 1 == pipeline.steps(GLOB).run().ran
    assert pipeline.text("out/y.txt").startswith("100\n100\n")


def test_an_output_into_the_same_folder_can_be_written(pipeline):
    """A folder that takes an output is not bound over it."""
    _fill(pipeline)
    assert 1 == pipeline.steps(GLOB.replace("out/y.txt", "many/y.out")).run().ran
    assert pipeline.text("many/y.out").startswith("100\n100\n")


def test_more_than_can_be_bound_is_refused_with_a_way_on(pipeline, monkeypatch):
    """Before the kernel says that no space is left on the device."""
    monkeypatch.setattr(world, "_MOST_BINDS", 50)
    _fill(pipeline)
    (pipeline.root / "many/secret.key").write_text("s")
    finished = pipeline.steps(GLOB).run()
    assert 1 == finished.failed
    (failed,) = [event for event in pipeline.events if event.kind == "job-failed"]
    assert "100 inputs are more than can be bound one by one" in failed.message
    assert "declare the folder" in failed.hint


@pytest.mark.parametrize("name", ["a b.txt", "ü.txt"])
def test_names_of_any_kind_are_bound_with_their_folder(pipeline, name):
    """A folder is compared by its names as they are."""
    _fill(pipeline, 40)
    (pipeline.root / "many" / name).write_text("y")
    assert 1 == pipeline.steps(GLOB).run().ran
    assert pipeline.text("out/y.txt").startswith("41\n41\n")
