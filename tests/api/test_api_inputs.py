"""Inputs on this machine: what of them is noticed, whole and in parts; and which words upgrade them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.api.engine import opened
from repro.api.host import Host
from repro.api.inputs import Inputs
from repro.api.lockfile import LockFile
from repro.api.project import open_project
from repro.data.drift import DriftError
from repro.errors import ReproError
from repro.events import ignore

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOW = """\
repro: 1
environments: {any: {image: "127.0.0.1:1/none"}}
inputs:
  db/: {uri: ../shared/, mount: true, fingerprint: FINGERPRINT}
  one.txt: ../shared/sub/u
steps: {any: {environment: any, inputs: {d: db/}, outputs: {o: out}, run: "true"}}
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A project with a folder and a file of this machine, and its store; a function gives its inputs."""
    for name in ("u", "v"):
        path = tmp_path / "shared/sub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1, 1))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("REPRO_STORE", str(tmp_path / "store"))
    (tmp_path / "registries.toml").write_text('[registry."127.0.0.1:1"]\nattempts = 1\n')  # nobody is there
    monkeypatch.setenv("REPRO_REGISTRIES", str(tmp_path / "registries.toml"))
    return tmp_path


def _written(desk, fingerprint="sha256"):
    (desk / "project/workflow.yaml").write_text(WORKFLOW.replace("FINGERPRINT", fingerprint))


@pytest.mark.parametrize("fingerprint", ["sha256", "stat"])
@pytest.mark.parametrize("change", ["remove", "add", "rewrite"])
def test_a_change_in_a_part_is_drift(desk, fingerprint, change):
    """Also where the folder was looked at before, and whatever of it is asked about."""
    _written(desk, fingerprint)
    sub = desk / "shared/sub"
    host = Host.current()
    project = open_project(host, None)
    with opened(host, ignore) as engine:
        inputs = Inputs(project, engine, LockFile(project, engine))
        before = inputs.check("db/sub/")[0]
        assert inputs.check("db/sub/")[0] == before
        assert inputs.place("db/sub/u") == desk / "shared/sub/u"
        if change == "remove":
            (sub / "v").unlink()
        elif change == "add":
            (sub / "w").write_text("w")
        else:
            (sub / "v").write_text("V")
        with pytest.raises(DriftError, match=r"db/ is not what was locked"):
            inputs.check("db/sub/")


def test_a_label_stands_for_whatever_is_there(desk):
    """Nobody looks; the files in it are told as asserted."""
    _written(desk, "{label: nt-1}")
    host = Host.current()
    project = open_project(host, None)
    with opened(host, ignore) as engine:
        inputs = Inputs(project, engine, LockFile(project, engine))
        before = inputs.check("db/sub/u")[0]
        (desk / "shared/sub/u").write_text("other")
        after = inputs.check("db/sub/u")[0]
        assert (before.digest, before.asserted) == (after.digest, "label")


def _repro(*arguments):
    command = [sys.executable, "-m", "repro", *arguments]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=env, text=True, capture_output=True, check=False)


def test_the_words_that_a_drift_advises_accept_it(desk):
    """`repro lock --upgrade PATH` as it stands in the message, for a file and for a folder; a workflow is no input."""
    _written(desk)
    host = Host.current()
    project = open_project(host, None)
    with opened(host, ignore) as engine:
        Inputs(project, engine, LockFile(project, engine)).pin()
    (desk / "shared/sub/u").write_text("other")
    with opened(host, ignore) as engine, pytest.raises(ReproError) as caught:
        Inputs(project, engine, LockFile(project, engine)).check("one.txt")
    words = (caught.value.hint or "").split("`")[1].split()[1:]
    assert words == ["lock", "--upgrade", "one.txt"]
    for arguments in (words, ["lock", "--upgrade", "db/"]):
        done = _repro(*arguments)
        assert "there is no workflow file" not in done.stderr
        assert "there is no environment, base, input" not in done.stderr
    with opened(host, ignore) as engine:
        inputs = Inputs(project, engine, LockFile(project, engine))
        inputs.check("one.txt")
        inputs.check("db/")
    shown = _repro("lock", "--diff", "--upgrade", "workflow.yaml")
    assert "there is no environment, base, input" not in shown.stderr
