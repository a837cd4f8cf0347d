"""A Slurm for the session, and projects whose jobs go there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from repro.digest import Digest
from tests.slurm import lab as slurm_lab
from tests.slurm.lab import Lab

APPLETS = ("sh", "cat", "sleep", "echo", "seq", "mkdir", "cp", "true", "false", "test", "rm", "ls", "head")
PROFILE = "partition: lab\nmemory: 64MB\nbatch: 1\n"
HEAD = """\
repro: 1
name: lab
environments: {box: {dockerfile: Dockerfile, context: .}}
defaults: {environment: box}
"""


@dataclass(frozen=True)
class Desk:
    """A project, whose environment is one static program, and the Slurm that its jobs go to."""

    root: Path
    store: Path
    lab: Lab

    @property
    def env(self) -> dict[str, str]:
        """The environment of `repro` here."""
        return {**os.environ, **self.lab.env, "REPRO_STORE": str(self.store), "CI": ""}

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def steps(self, text: str) -> None:
        """Write the workflow with these steps."""
        self.write("workflow.yaml", HEAD + text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `repro` with these arguments."""
        argv = [sys.executable, "-m", "repro", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.root, env=self.env, stdout=pipe, stderr=pipe, text=True)

    def repro(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `repro` to its end."""
        argv = [sys.executable, "-m", "repro", *arguments]
        return subprocess.run(
            argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow on Slurm; it must succeed."""
        done = self.repro("run", "--executor", "slurm", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done

    def logs(self) -> str:
        """Return what Snakemake and Slurm's jobs of the last run printed."""
        runs = sorted((self.root / ".repro/runs").glob("*/cluster"))
        files = sorted(runs[-1].rglob("*.log")) if runs else []
        return "\n".join(f"== {file}\n{file.read_text()[-3000:]}" for file in files)

    def events(self, kind: str) -> list[dict[str, object]]:
        """Return the entries of this kind in the journal of the last run."""
        journal = max((self.root / ".repro/runs").glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        entries = [json.loads(line) for line in journal.read_text().splitlines()]
        return [entry for entry in entries if entry["kind"] == kind]

    def digests(self, *folders: str) -> dict[str, str]:
        """Return the digest of every file in the folders of the project."""
        files = [path for name in folders for path in sorted((self.root / name).rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.root)): str(Digest.of_file(path)) for path in files}

    def end(self, running: subprocess.Popen[str], number: signal.Signals, seconds: float = 60) -> str:
        """Send the signal and wait for the end; return what it printed."""
        running.send_signal(number)
        out, err = running.communicate(timeout=seconds)
        return out + err

    def wait_empty(self, seconds: float = 30) -> None:
        """Wait until the queue is empty."""
        deadline = time.monotonic() + seconds
        while self.lab.queue():
            assert time.monotonic() < deadline, self.lab.queue()
            time.sleep(0.2)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A Slurm of one node with two processors."""
    lacking = slurm_lab.missing()
    if lacking:
        pytest.skip(f"Slurm cannot be started here: no {lacking}")
    with slurm_lab.running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A store for all projects."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def desk(lab, store, tmp_path):
    """An empty project with a profile."""
    made = Desk(tmp_path / "project", store, lab)
    box = made.root / "box"
    box.mkdir(parents=True)
    shutil.copy("/bin/busybox", box / "busybox")
    for name in APPLETS:
        (box / name).symlink_to("busybox")
    made.write("Dockerfile", "FROM scratch\nCOPY box/ /bin/\n")
    made.write("profiles/slurm.yaml", PROFILE)
    yield made
    for line in lab.queue():
        lab.ask("scancel", line.partition(" ")[0], check=False)
