"""Runs killed at any moment, with `kill -9`: the run that follows ends with the bytes of one that was never killed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time

import pytest

from repro.data.checksum import StatCache
from repro.files import remove_tree
from tests.execution.driver import Pipeline
from tests.execution.test_driver import start

NAMES = ("a", "b", "c", "d")
STEPS = """
steps:
  first:
    foreach: {k: [a, b, c, d]}
    inputs: {x: "data/{{ k }}.txt"}
    outputs: {y: {path: "work/{{ k }}.txt", temporary: true}, d: "out/{{ k }}/"}
    logs: {l: "logs/{{ k }}.log"}
    run: |
      mkdir {{ outputs.d }}
      seq 3000 > {{ outputs.d }}big
      cat {{ outputs.d }}big {{ inputs.x }} > {{ outputs.y }}
      cp {{ inputs.x }} {{ logs.l }}
  second:
    foreach: {k: [a, b, c, d]}
    inputs: {y: {from: first.y}}
    outputs: {z: {path: "work/{{ k }}/", temporary: true}}
    checkpoint: "state/{{ k }}/"
    retries: {count: 2, pause: 0}
    run: |
      touch state/{{ k }}/tries/$$ 2> /dev/null || { mkdir state/{{ k }}/tries; false; }
      mkdir {{ outputs.z }}
      sort {{ inputs.y }} > {{ outputs.z }}sorted
  split:
    inputs: {z: {from: second.z}}
    outputs: {parts: parts/}
    run: |
      mkdir parts
      for d in {{ inputs.z }}; do wc -l < $d/sorted > parts/$(basename $d).txt; done
  each:
    foreach: {items: split.parts, pattern: "{{ n }}.txt"}
    inputs: {p: "{{ path }}"}
    outputs: {o: "each/{{ n }}.txt"}
    run: cat {{ inputs.p }} {{ inputs.p }} > {{ outputs.o }}
  last:
    inputs: {o: {from: each.o}}
    outputs: {all: all.txt}
    run: cat {{ inputs.o }} > {{ outputs.all }}
"""


def digest(project):
    """Return the digest of everything in the project but its state."""
    copy = project.with_name("copy")
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".repro"))
    try:
        return StatCache(copy / "unused").digest_folder(copy)[0]
    finally:
        remove_tree(copy)


class Campaign:
    """A project that is begun anew, killed and resumed, again and again."""

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.pipeline = pipeline
        self.chance = random.Random(seed)
        self.killed = 0
        started = time.monotonic()
        self._begin()
        self._end("whole")
        self.took = time.monotonic() - started
        self.wanted = digest(pipeline.root)

    def turn(self) -> None:
        """Kill a run, and sometimes the next as well, at any moment of it; the one after must end well."""
        self._begin()
        for number in range(self.chance.choice((1, 1, 1, 2))):
            with start(self.pipeline, f"killed-{number}") as driver:
                try:
                    driver.wait(self.chance.uniform(0, self.took * 1.05))
                except subprocess.TimeoutExpired:
                    self.killed += 1
                driver.kill()
                driver.stdout.read()
        self._end("resumed")
        assert self.wanted == digest(self.pipeline.root)
        state = self.pipeline.root / ".repro"
        assert [] == [name for name in ("scratch", "removed") if (state / name).exists()]
        assert [] == list(state.glob("checkpoints/*"))
        assert [] == list(state.glob("records/**/*.tmp"))

    def _begin(self) -> None:
        root = self.pipeline.root
        remove_tree(root)
        root.mkdir()
        self.pipeline.steps(STEPS).write({f"data/{name}.txt": f"{name}\n" for name in NAMES})

    def _end(self, run_id: str) -> None:
        with start(self.pipeline, run_id) as driver:
            told = driver.stdout.read()
        assert 0 == driver.returncode, told


def judge(pipeline, kills, seed):
    """Kill that many times."""
    campaign = Campaign(pipeline, seed)
    try:
        while campaign.killed < kills:
            campaign.turn()
    except BaseException as error:
        error.add_note(f"seed {seed}, after {campaign.killed} kills")
        raise
    again = pipeline.run("again")
    assert (14, 0) == (again.cached, again.ran)


def test_a_few_kills_do_no_harm(pipeline):
    """At the same moments each time."""
    judge(pipeline, 5, 1)


@pytest.mark.judge
@pytest.mark.timeout(3600)
def test_two_hundred_kills_do_no_harm(pipeline):
    """At other moments each time; REPRO_KILLS sets another number, REPRO_SEED repeats one campaign."""
    seed = int(os.environ.get("REPRO_SEED") or time.time_ns() % 2**32)
    judge(pipeline, int(os.environ.get("REPRO_KILLS") or 200), seed)
