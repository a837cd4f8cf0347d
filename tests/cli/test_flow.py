"""Rate and time left of what takes long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from repro.cli.flow import Flow
from repro.events import Progress
from tests.cli.terminal import run_on_terminal

PROJECT = Path(__file__).resolve().parents[2]


def test_a_transfer_says_how_fast_it_goes_and_how_long_it_takes():
    """The rate is that of the last seconds, not of all the time."""
    clock = iter([0.0, 0.0, 1.0, 20.0, 22.0])
    flow = Flow(lambda: next(clock))
    first = flow.add(Progress("x", 0, 100_000_000, "bytes"))
    assert first == "[....................] 0 B of 100.0 MB"
    then = flow.add(Progress("x", 10_000_000, 100_000_000, "bytes"))
    assert then == "[##..................] 10.0 MB of 100.0 MB, 10.0 MB/s, 9 s left"
    flow.add(Progress("x", 10_000_000, 100_000_000, "bytes"))
    late = flow.add(Progress("x", 12_000_000, 100_000_000, "bytes"))
    assert late.endswith("1.0 MB/s, 88 s left")


def test_what_is_not_bytes_has_no_rate_but_a_time_left():
    """Packages are counted, and the wait is said; at the end nothing is left."""
    clock = iter([0.0, 0.0, 60.0, 61.0])
    flow = Flow(lambda: next(clock))
    flow.add(Progress("x", 0, 300, "packages"))
    assert flow.add(Progress("x", 1, 300, "packages")).endswith("1 of 300 packages, 5.0 h left")
    assert flow.add(Progress("x", 300, 300, "packages")) == "[####################] 300 of 300 packages"


def test_nothing_to_do_is_all_done():
    """An empty file's bar is full."""
    assert Flow().add(Progress("x", 0, 0, "bytes")).startswith("[####################]")


_DRAW = """
import os
from repro.cli.console import Console
from repro.events import Notice, Progress
console = Console(os.environ)
for done in (0, 50, 100):
    console(Progress("a.txt", done, 200, "bytes"))
    console(Progress("b.txt", done, 100, "bytes"))
console(Notice("info", "a line"))
console.finish()
"""


def test_each_transfer_has_a_bar_of_its_own_on_a_terminal(tmp_path):
    """What has ended is gone; what goes on is drawn below the lines that stay; elsewhere only the end is a line."""
    env = {"PYTHONPATH": str(PROJECT), "NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-c", _DRAW]
    status, _, screen, sent = run_on_terminal(command, cwd=tmp_path, env=env)
    assert 0 == status, sent
    assert "a.txt: [#####...............] 50 B of 200 B" in sent
    assert "b.txt: [##########..........] 50 B of 100 B" in sent
    assert ["a line"] == [row for row in screen.rows if row]
    plain = subprocess.run(command, env=env, text=True, capture_output=True, check=True)
    assert plain.stderr.splitlines() == ["b.txt: 100 B of 100 B", "a line"]
