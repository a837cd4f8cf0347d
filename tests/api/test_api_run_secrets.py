"""`repro run --secret`: from the command line into a step, and nowhere else; `why` on what it read from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.oci.store import Store
from tests.build.conftest import MODE, put_base

PROJECT = Path(__file__).resolve().parents[2]
TOKEN = "s3cr3t/t0ken-value"
WORKFLOW = """\
repro: 1
name: secrets
environments: {tool: {image: base}}
inputs:
  words.txt: {uri: ../elsewhere/words.txt}
steps:
  login:
    environment: tool
    network: true
    secrets: [token]
    inputs: {words: words.txt}
    outputs: {count: count.txt}
    run: |
      echo "using $(cat /run/secrets/token)"
      cat {{ inputs.words }} > {{ outputs.count }}
"""


@pytest.fixture
def repro(tmp_path):
    """A function that runs `repro` in a project with that workflow; it returns what the process left."""
    store = Store(tmp_path / "store", MODE.value)
    store.tag("base", put_base(store))
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/words.txt").write_text("a\nb\n")
    (project / "workflow.yaml").write_text(WORKFLOW)
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store.root), "NO_COLOR": "1", "TOKEN": TOKEN}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "repro", *words]
        return subprocess.run(command, cwd=project, env=env, text=True, capture_output=True, check=False)

    run.project = project
    return run


def test_secret_from_a_variable_or_a_file(repro):
    """Both ways of giving it do; without it the job fails and says how; no file of the project has its bytes."""
    refused = repro("run")
    assert 1 == refused.returncode, refused.stderr
    assert "step login needs the secret 'token', which was not given" in refused.stderr
    assert "repro run --secret id=token,src=FILE (or env=VAR)" in refused.stderr
    done = repro("run", "--secret", "id=token,env=TOKEN")
    assert 0 == done.returncode, done.stderr
    assert "a\nb\n" == (repro.project / "count.txt").read_text()
    log = next(repro.project.glob(".repro/runs/*/logs/login.log"))
    assert "using ***\n" == log.read_text()
    assert [] == [path for path in repro.project.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    (repro.project / "count.txt").unlink()
    (repro.project.parent / "token").write_text(TOKEN)
    again = repro("run", "--secret", "id=token,src=../token")
    assert 0 == again.returncode, again.stderr
    assert 0 == repro("run").returncode  # cached: nothing needs it
    wrong = repro("run", "--secret", "id=token,env=NOWHERE")
    assert (2, True) == (wrong.returncode, "the variable NOWHERE is not set" in wrong.stderr)


def test_why_names_the_address(repro):
    """The lineage of a result ends in the address of what was read from elsewhere, in text and as JSON."""
    assert 0 == repro("run", "--secret", "id=token,env=TOKEN").returncode
    text = repro("why", "count.txt")
    assert "    from ../elsewhere/words.txt" in text.stdout.splitlines(), text.stdout + text.stderr
    found = json.loads(repro("why", "--json", "count.txt").stdout)
    assert [("words.txt", "../elsewhere/words.txt", "sha256")] == [
        (source["path"], source["uri"], source["fingerprint"]) for source in found["elsewhere"]
    ]
    assert "  read by  login" in repro("why", "words.txt").stdout.splitlines()
