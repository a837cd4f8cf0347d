"""Amounts as they are written, and what attempts at jobs are granted."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.workflow.amounts import UNITS, Kind, parse_amount
from repro.workflow.expand import job_document, render_command
from repro.workflow.loader import load
from repro.workflow.model import Job
from repro.workflow.plan import plan
from repro.workflow.project import FolderProject
from repro.workflow.resources import AmountError, Granted, granted, told
from repro.workflow.template import TemplateError

HEAD = "repro: 1\nenvironments: {e: {base: debian:bookworm}}\ndefaults: {environment: e}\n"


def jobs(tmp_path, text: str) -> dict[str, Job]:
    """Return the jobs of a workflow's text by id."""
    return {job.id: job for job in plan(load(HEAD + text, "workflow.yaml"), FolderProject(tmp_path)).jobs}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d 2h 3m 4s", 93784),
        ("2:00:00", 7200),
        ("100:00:01", 360001),
        ("1-0", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:05", 131405),
    ],
)
def test_times(text: str, seconds: int) -> None:
    """Times are read as people write them, and as sbatch(1) says; each has the seconds that it says."""
    assert seconds == parse_amount(text, Kind.TIME)


@pytest.mark.parametrize(
    "text",
    ["", "90", "2:00", "1:60:00", "1-24", "1-1:60", "h", "1h2", "m5", "1.2.3h", "-1h", "1h-2", "soon", "2 hours"],
)
def test_no_times(text: str) -> None:
    """What could mean two things, or nothing, is refused with words about time."""
    with pytest.raises(TemplateError, match="is not a time"):
        parse_amount(text, Kind.TIME)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " "]))
def test_sizes(number: int, unit: str, blank: str) -> None:
    """A whole number of a unit is exactly so many bytes."""
    assert number * UNITS[unit] == parse_amount(f"{number}{blank}{unit}", Kind.SIZE)


@given(st.decimals(0, 10**4, places=3, allow_nan=False), st.sampled_from(sorted(UNITS)))
def test_sizes_with_decimals(number, unit: str) -> None:
    """A decimal number of a unit is the nearest number of bytes."""
    assert abs(Fraction(str(number)) * UNITS[unit] - parse_amount(f"{number:f}{unit}", Kind.SIZE)) <= 1


@given(st.text(max_size=12), st.sampled_from(Kind))
def test_any_text_is_an_amount_or_refused(text: str, kind: Kind) -> None:
    """No text makes the readers of amounts crash, and what they give is never negative."""
    try:
        amount = parse_amount(text, kind)
    except TemplateError:
        return
    assert amount >= 0


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_times_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    """The same time in Slurm's form and in letters is the same number of seconds."""
    slurm = parse_amount(f"{days}-{hours:02}:{minutes:02}:{seconds:02}", Kind.TIME)
    assert slurm == parse_amount(f"{days}d{hours}h{minutes}m{seconds}s", Kind.TIME)


def test_granted_grows_with_the_attempt(tmp_path) -> None:
    """Templates see the attempt, params (also the step's own) and foreach values; the rest stays as declared."""
    text = """
params: {base: {memory: 2}, hours: 3, own: 1}
steps:
  a:
    foreach: {size: ["1", "4"]}
    params: {own: 5}
    resources:
      cpus: "{{ size }}"
      memory: "{{ params.base.memory * attempt * size | int }}GiB"
      time: "{{ params.hours * 2 ** (attempt - 1) }}h"
      disk: 1GB
      gpus: "{{ 0 if attempt == 1 else 1 }}"
      licences: "{{ params.own }}"
    outputs: {o: "o/{{ size }}"}
    run: echo
"""
    job = jobs(tmp_path, text)["a[size=4]"]
    first = Granted(4, 8 * 2**30, 10**9, None, 3 * 3600, 0, {"licences": 5})
    assert first == granted(job)
    assert first == granted(job, 1)
    assert Granted(4, 24 * 2**30, 10**9, None, 12 * 3600, 1, {"licences": 5}) == granted(job, 3)
    expected = {
        "cpus": "4",
        "memory": str(8 * 2**30),
        "disk": "1000000000",
        "time": "10800",
        "gpus": "0",
        "licences": "5",
    }
    assert expected == told(job, first)


def test_nothing_declared(tmp_path) -> None:
    """A step that asks for nothing gets one processor, and is told of no more."""
    job = jobs(tmp_path, "steps: {a: {outputs: {o: o}, run: echo}}\n")["a"]
    assert Granted() == granted(job)
    assert {"cpus": "1"} == told(job, granted(job))


def test_resources_are_in_no_key_part(tmp_path) -> None:
    """A param and a column that only amounts mention are not among what the key holds, nor are the amounts."""
    (tmp_path / "t.csv").write_text("s,mem\nx,3\n")
    text = """
params: {factor: %s}
steps:
  a:
    foreach: {table: t.csv}
    resources: {memory: "{{ mem | int * params.factor }}GB", cpus: %s}
    outputs: {o: "o/{{ s }}"}
    run: echo {{ resources.memory }}
"""
    one, other = (jobs(tmp_path, text % values)["a[s=x]"] for values in ((2, 1), (3, 8)))
    assert (6 * 10**9, 9 * 10**9) == (granted(one).memory, granted(other).memory)
    for job in (one, other):
        assert ({}, ("s",)) == (job.params, job.used)
        assert "echo {{ resources.memory }}" == render_command(job, resources=None)
    assert job_document(one, {}) == job_document(other, {})
    assert "echo 6000000000" == render_command(one, resources=told(one, granted(one)))


def test_a_later_attempt_may_fail(tmp_path) -> None:
    """Amounts that only an attempt beyond the planned ones cannot have are an error with the job's name."""
    text = 'steps: {a: {resources: {cpus: "{{ 3 - attempt }}"}, retries: 1, outputs: {o: o}, run: echo}}\n'
    job = jobs(tmp_path, text)["a"]
    assert [2, 1] == [granted(job, attempt).cpus for attempt in (1, 2)]
    with pytest.raises(AmountError, match=r"at least 1 is needed here \(resources.cpus of a, attempt 3\)"):
        granted(job, 3)
