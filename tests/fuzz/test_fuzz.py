"""Mutated inputs to what reads other people's bytes: a few in every session, ten minutes of them with ``-m judge``."""

from __future__ import annotations

import time

import pytest

from tests.fuzz.campaign import campaign, verdict
from tests.fuzz.targets import TARGETS

A_FEW = {"parser": 400, "words": 2000, "ignore": 2000, "layer": 300, "template": 2000, "archive": 1000}
TEN_MINUTES = 600  # seconds


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_few_inputs_do_no_more_than_a_located_error(target):
    """The same inputs each time, the corpus and what once failed among them."""
    report = campaign(target, 1, until=lambda runs: runs >= A_FEW[target.name])
    assert {} == report.failures


@pytest.mark.judge
@pytest.mark.timeout(TEN_MINUTES + 300)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_ten_minutes_of_inputs_do_no_more_than_a_located_error(target):
    """Other inputs each time; the ten minutes are divided among the targets."""
    end = time.monotonic() + TEN_MINUTES / len(TARGETS)
    seed = time.time_ns()
    report = campaign(target, seed, until=lambda _: time.monotonic() >= end)
    print(f"{target.name}: {report.runs} inputs, seed {seed}")
    assert {} == report.failures, f"seed {seed}"


def test_a_failure_and_a_hang_are_noticed(monkeypatch):
    """A target that raises or stands still fails, with the place; an input that it takes does not."""
    from tests.fuzz import campaign as module
    from tests.fuzz.targets import Target

    def run(data: bytes) -> None:
        if data == b"raise":
            raise ValueError(data)
        while data == b"hang":
            pass

    target = Target("x", run, list, ())
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    assert verdict(target, b"good") is None
    assert (verdict(target, b"raise") or "").startswith("ValueError at test_fuzz.py:")
    assert (verdict(target, b"hang") or "").startswith("Hang at ")


def test_a_failing_input_is_made_smaller():
    """Only what is needed for the failure is kept."""
    from tests.fuzz.targets import Target

    def run(data: bytes) -> None:
        assert not (b"a" in data and b"z" in data)

    target = Target("x", run, lambda: [b"....a.......z..." * 20], (b"-",))
    report = campaign(target, 1, until=lambda runs: runs >= 1)
    assert [2] == [len(data) for data in report.failures.values()]
