"""Standard streams that are closed, full or left by their reader; and what a terminal is shown."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from repro.cli.console import Console
from repro.cli.run_console import RunConsole
from repro.events import JobFailed, Notice

REPRO = [sys.executable, "-m", "repro.cli.main"]
WORKFLOW = """\
repro: 1
name: small
environments: {base: {base: {archive: debian, suite: bookworm}}}
steps: {one: {environment: base, outputs: {o: out.txt}, run: echo > out.txt}}
"""


def shell(command: str, folder) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `repro` is ours."""
    line = f'repro() {{ "{sys.executable}" -m repro.cli.main "$@"; }}; set -o pipefail; {command}'
    env = {**os.environ, "REPRO_STORE": str(folder / "store"), "PYTHONPATH": os.getcwd()}
    return subprocess.run(["bash", "-c", line], cwd=folder, text=True, capture_output=True, env=env, check=False)


@pytest.fixture
def folder(tmp_path):
    """A project that can be validated."""
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    return tmp_path


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_stream_changes_nothing(folder, closed):
    """A command that was started with a closed stream does its work, and no file gets the stream's number."""
    done = shell(f"repro validate {closed}", folder)
    assert (0, "workflow.yaml: in order; 1 steps, 1 jobs\n") == (done.returncode, done.stdout)


def test_closed_stderr_hides_the_message_alone(folder):
    """The exit status of an error stays what it is."""
    assert 2 == shell("repro validate nothing.yaml 2>&-", folder).returncode


def test_full_disk_for_results_is_told(folder):
    """Results that cannot be written are an error with a status of its own, not a mistake in repro."""
    done = shell("repro validate > /dev/full", folder)
    assert 74 == done.returncode
    assert done.stderr.startswith("error: No space left on device\n  fix: ")
    assert 2 == len(done.stderr.splitlines())


def test_reader_that_leaves_is_no_error(folder):
    """`repro ... | head -1` ends as other programs do then, without a word."""
    done = shell("repro --help | true; echo ${PIPESTATUS[0]} >&2", folder)
    assert done.stderr.splitlines()[-1] in ("0", "141")
    assert 1 == len(done.stderr.splitlines())


def test_folder_that_may_not_be_written_is_named(folder):
    """An error of the system names the file that it is about."""
    (folder / ".repro").write_text("")  # a file where the folder should come: root may write anywhere
    done = shell("repro lock", folder)
    assert 74 == done.returncode
    assert f"error: {folder}/.repro" in done.stderr
    assert "mistake in repro" not in done.stderr


class Broken(io.StringIO):
    """A stream whose reader has left after ``room`` writes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, text: str) -> int:
        """Take the text, or fail as the kernel does."""
        self.room -= 1
        if self.room < 0:
            raise BrokenPipeError
        return super().write(text)


def test_console_without_reader_stays_quiet(monkeypatch):
    """Once progress cannot be shown the run goes on: no event raises."""
    stream = Broken(1)
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console({})
    for number in range(3):
        console(Notice("info", f"line {number}"))
    console.finish()
    assert "line 0\n" == stream.getvalue()


def test_failure_after_exit_zero_names_no_status(monkeypatch):
    """A command that ended well but left the wrong files did not fail with exit status 0."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    RunConsole({})(JobFailed("a", 0, "output o: x was not made", "make it", ""))
    RunConsole({})(JobFailed("b", 3, "exit status 3", "", ""))
    first, second = (line for line in stream.getvalue().splitlines() if "failed" in line)
    assert first.endswith("a: failed")
    assert second.endswith("b: failed with exit status 3")


def test_doctor_json_can_be_read(folder):
    """`repro doctor --json` prints the same report for programs."""
    done = shell("repro doctor --json", folder)
    assert done.returncode in (0, 125), done.stderr
    assert {"checks", "mode"} <= json.loads(done.stdout).keys()
