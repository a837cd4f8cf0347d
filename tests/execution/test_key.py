"""The job key: what is in it, what is not, and how its changes are told."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest, record_digest
from repro.errors import Location
from repro.events import FileRecord
from repro.execution.commands import key_command
from repro.execution.key import KIND, changes, job_key, summary
from repro.workflow.model import Job, JobInput, JobOutput, Resources, Step

WHERE = Location("workflow.yaml", 1)
IMAGE = Digest.of(b"image")


def make_job(run="sort {{ inputs.x }} > {{ outputs.y }}", **more):
    """Return a job with one input and one output."""
    step = Step("s", WHERE, "tools", {}, {}, run=run, **more)
    return Job(
        "s[a=1]", step, {"a": "1"}, {"a": "1"}, ("a",), {"fdr": 0.05}, {"x": JobInput(("in.txt",), many=False)},
        {"y": JobOutput("out.txt", folder=False)}, (), (),
    )  # fmt: skip


def key_of(job, *, content=b"1", path="in.txt", image=IMAGE, platform="linux/amd64"):
    """Return the job's key and parts with this input."""
    file = FileRecord(path, Digest.of(content), len(content))
    return job_key(job, image=image, command=key_command(job), inputs={"x": (file,)}, code=(), platform=platform)


BASE = key_of(make_job())


def test_key_is_the_digest_of_its_parts():
    """A record proves its own key: the parts hash to it."""
    assert record_digest(KIND, BASE[1]) == BASE[0]
    assert BASE == key_of(make_job())


def test_everything_declared_counts():
    """Command, params, foreach values, env, network, names of secrets, input bytes and names, output names, image, platform: each counts."""
    job = make_job()
    variants = [
        key_of(make_job("sort -n {{ inputs.x }} > {{ outputs.y }}")),
        key_of(make_job(env={"LC_ALL": "C"})),
        key_of(make_job(network=True)),
        key_of(make_job(secrets=("token",))),
        key_of(replace(job, params={"fdr": 0.1})),
        key_of(replace(job, values={"a": "2"})),
        key_of(replace(job, outputs={"y": JobOutput("other.txt", folder=False)})),
        key_of(replace(job, inputs={"x": JobInput(("in.txt",), many=True)})),
        key_of(job, content=b"2"),
        key_of(job, image=Digest.of(b"other")),
        key_of(job, platform="linux/arm64"),
    ]
    assert 12 == len({BASE[0], *(key for key, _ in variants)})


def test_resources_do_not_count():
    """Neither cpus nor memory, also where the command mentions them, move the key."""
    text = "sort --parallel {{ resources.cpus }} {{ inputs.x }} > {{ outputs.y }}"
    one = key_of(make_job(text, resources=Resources(1, None)))
    many = key_of(make_job(text, resources=Resources(64, 1 << 40)))
    assert one == many


def test_list_and_text_are_different_commands():
    """The words [echo, a] and the shell text "echo a" have different keys."""
    assert key_of(make_job("echo a"))[0] != key_of(make_job(("echo", "a")))[0]


def test_keys_without_secrets_and_asserted_inputs_are_as_ever():
    """Older records stay valid: what a job does not use adds no part to its key; what it uses says how it is known."""
    assert "secrets" not in BASE[1]
    assert [["in.txt", str(Digest.of(b"1"))]] == BASE[1]["inputs"]["x"]
    file = FileRecord("in.txt", Digest.of(b"1"), 1, asserted="label")
    key, parts = job_key(make_job(), image=IMAGE, command="c", inputs={"x": (file,)}, code=(), platform="p")
    proven, before = job_key(
        make_job(), image=IMAGE, command="c", inputs={"x": (replace(file, asserted=""),)}, code=(), platform="p"
    )
    assert key != proven
    short = Digest.of(b"1").hex[:12]
    assert [f"inputs.x in.txt: {short} -> {short} asserted (label)"] == [str(one) for one in changes(before, parts)]


def test_changes_name_the_part_with_old_and_new():
    """Each changed part is told once, with what it was and what it is."""
    new = key_of(replace(make_job(env={"LC_ALL": "C"}), params={"fdr": 0.1}), content=b"2")[1]
    found = {change.part: (change.old, change.new) for change in changes(BASE[1], new)}
    assert {
        "params.fdr": ("0.05", "0.1"),
        "inputs.x in.txt": (Digest.of(b"1").short, Digest.of(b"2").short),
        "env.LC_ALL": (None, "C"),
    } == found
    assert "params.fdr: 0.05 -> 0.1" in summary(changes(BASE[1], new))


def test_no_change_is_no_change():
    """Equal parts differ in nothing."""
    assert () == changes(BASE[1], key_of(make_job())[1])


VALUES = st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3)


@given(one=VALUES, two=VALUES)
def test_keys_differ_exactly_where_params_do(one, two):
    """Two jobs that differ in their params alone share a key if, and only if, the params are equal."""
    first, second = (key_of(replace(make_job(), params=params))[0] for params in (one, two))
    assert (one == two) == (first == second)
