"""Profiles: what they say, level by level, and where their mistakes stand."""

from __future__ import annotations

import pytest

from repro.errors import WorkflowError
from repro.execution.profile import Batching, Placement, Profile, read_profile

STEPS = ("align", "plot")


def read(text: str) -> Profile:
    """Return the profile that ``text`` is."""
    return read_profile(text, "profiles/slurm.yaml", STEPS)


def mistakes(text: str) -> str:
    """Return what is said of ``text``."""
    with pytest.raises(WorkflowError) as error:
        read(text)
    return str(error.value)


def test_empty_profile():
    """Nothing need be said: partition, account and limits are then the cluster's own."""
    assert Profile() == read("")
    assert Profile() == read("# nothing\n")


def test_all_fields():
    """Every field of the page is read, amounts with the units of workflows."""
    text = """\
executor: slurm
partition: short
account: lab42
qos: normal
constraint: avx2
time: 1h
memory: 2GB
gpus: gpu:a100
extra: [--exclusive]
batch: {jobs: 50, time: 10m}
jobs: 200
lost: 5
store: /shared/store
cache: $HOME/cache
scratch: $TMPDIR
mode: one
driver: {partition: long, time: 7-0, memory: 1GB}
steps:
  align: {partition: big, batch: 1}
"""
    common = Placement(
        "short", "lab42", "normal", "avx2", 3600, 2 * 10**9, "gpu:a100", ("--exclusive",), Batching(50, 600)
    )
    driver = Placement(partition="long", time=7 * 86400, memory=10**9)
    own = Placement(partition="big", batch=Batching(1))
    places = {"store": "/shared/store", "cache": "$HOME/cache", "scratch": "$TMPDIR"}
    expected = Profile(common, {"align": own}, 200, 5, "slurm", mode="one", driver=driver, **places)
    assert expected == read(text)


def test_steps_go_before_the_rest():
    """A step has what its own entry says, and of all else what is said for all."""
    profile = read("partition: short\ntime: 1h\nsteps: {align: {partition: big}}\n")
    assert Placement(partition="big", time=3600) == profile.of("align")
    assert Placement(partition="short", time=3600) == profile.of("plot")


@pytest.mark.parametrize(
    ("text", "batch"),
    [("batch: 25", Batching(25)), ("batch: 10m", Batching(time=600)), ("batch: {jobs: 3}", Batching(3))],
)
def test_batches_in_short(text, batch):
    """A number counts jobs, a time is what they take together."""
    assert batch == read(text).placement.batch


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("partitoin: a", "1:1: partitoin", "did you mean 'partition'?"),
        ("a: 1\njobs: 0", "2:7: jobs", "at least 1"),
        ("time: soon", "1:7: time", "soon"),
        ("memory: 2", "1:9: memory", "2"),
        ("partition: a b", "1:12: partition", "no name that Slurm could have"),
        ("partition: --hold", "1:12: partition", "no name that Slurm could have"),
        ("steps: {aling: {}}", "1:9: steps.aling", "did you mean 'align'?"),
        ("steps: {align: {jobs: 3}}", "1:17: steps.align.jobs", "unknown key"),
        ("mode: root", "1:7: mode", "one of real, sub, one"),
        ("- a", "1:1", "a mapping"),
        ("extra: --exclusive", "1:8: extra", "a list of options"),
    ],
)
def test_mistakes_are_located(text, place, said):
    """A mistake names file, line, column and field, and what would be right."""
    told = mistakes(text)
    assert f"profiles/slurm.yaml:{place}" in told
    assert said in told


def test_all_mistakes_at_once():
    """One look shows them all."""
    assert "3 mistakes" in mistakes("partitoin: a\njobs: none\nmode: root\n")
