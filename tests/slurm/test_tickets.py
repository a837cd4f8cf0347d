"""Tickets: jobs survive the way through JSON, whatever they hold; and what is no ticket is told as such."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.errors import DataError
from repro.execution import ticket
from repro.execution.image import Image
from repro.execution.ticket import Batch, Shared, decoded, encoded
from repro.workflow.loader import load_all
from repro.workflow.plan import checked
from repro.workflow.project import FolderProject
from tests.workflow import workflow_cases

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("folder", workflow_cases.folders("good"), ids=lambda path: path.name)
def test_jobs_survive(folder, tmp_path):
    """Every job that a workflow can declare comes out of a ticket as it went in, places for messages included."""
    text = (folder / "workflow.yaml").read_text()
    jobs = checked(*load_all(text, "workflow.yaml"), FolderProject(folder)).jobs
    batch = Batch("1-1-x", jobs, {"a": 2}, ("1-0-y",), 2, 1 << 30, 60, 1, {"licences": 1})
    ticket.write(tmp_path / "ticket.json", batch)
    read = ticket.read_batch(tmp_path / "ticket.json")
    assert batch == read
    assert [job.step.marks for job in jobs] == [job.step.marks for job in read.jobs]


@given(VALUES)
def test_values_survive(value):
    """Params of any shape come out as they went in, also mappings with the key that names classes."""
    assert value == decoded(json.loads(json.dumps(encoded(value))))


def test_images_and_digests_survive(tmp_path):
    """What all batches of a round share comes out as it went in."""
    image = Image("box", Digest.of(b"image"), (), ("PATH=/bin",), 7, (("bash", "5"),), None, ("sh",), "1000")
    shared = Shared("run", "/p", "workflow.yaml", "", "/home", (image,), {"REPRO_MODE": "one"}, keep_going=True)
    ticket.write(tmp_path / "shared.json", shared)
    assert shared == ticket.read_shared(tmp_path / "shared.json")


def test_defaults_are_left_out():
    """A ticket says what differs from the defaults, so that ten thousand of them stay small."""
    assert {"": "Batch", "name": "a", "jobs": []} == encoded(Batch("a", ()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no ticket"),
        ("[]", "is no ticket"),
        ('{"format": 99, "value": null}', "another version of repro"),
        ('{"format": 1, "value": null}', "holds no batch"),
        ('{"format": 1, "value": {"": "Batch"}}', "is no ticket"),
        ('{"format": 1, "value": {"": "os.system", "command": "true"}}', "is no ticket"),
        ('{"format": 1, "value": {"": "pairs", "pairs": [1]}}', "is no ticket"),
    ],
)
def test_what_is_no_ticket(text, said, tmp_path):
    """A file that no driver of this version wrote is refused in words, and names no class to be made."""
    (tmp_path / "ticket.json").write_text(text)
    with pytest.raises(DataError, match=said):
        ticket.read_batch(tmp_path / "ticket.json")


def test_project_that_a_node_does_not_see(tmp_path):
    """A ticket that is not there is explained: the project is not on the nodes."""
    with pytest.raises(DataError) as error:
        ticket.read_batch(tmp_path / "gone.json")
    assert "same path on the nodes" in (error.value.hint or "")


def test_ticket_holds_no_other_values():
    """What is no part of a job is a mistake of ours, not a file that cannot be read."""
    with pytest.raises(TypeError, match=r"cannot hold a \w*Path"):
        encoded(workflow_cases.CASES)
