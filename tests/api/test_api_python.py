"""`repro.api` from Python: the examples of its page, failures, interrupts and threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base

PAGE = PROJECT / "docs" / "reference" / "api.md"
FAILING = """\
repro: 1
name: failing
environments: {tools: {image: tools}}
defaults: {environment: tools}
steps:
  bad: {outputs: {o: bad.txt}, run: "echo so it is; exit 3"}
  good: {outputs: {o: good.txt}, run: "echo > good.txt"}
  slow: {outputs: {o: slow.txt}, run: "echo begun; sleep 60; echo > slow.txt"}
"""


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def script(tmp_path):
    """A function that runs Python text in a project whose store has the image `tools`."""
    store = Store(tmp_path / "store", MODE.value)
    store.tag("tools", put_base(store))
    project = tmp_path / "project"
    (project / "texts").mkdir(parents=True)
    (project / "texts/one.txt").write_text("a b c\n")
    (project / "texts/two.txt").write_text("d e\n")
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store.root), "PYTHONWARNINGS": "error"}

    def run(workflow: str, text: str) -> str:
        (project / "workflow.yaml").write_text(workflow)
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=project, env=env, text=True, capture_output=True, check=False, timeout=120)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    return run


def test_the_examples_of_the_page_hold(script):
    """Each block of Python on the page runs after those before it, in the project that the page shows."""
    (workflow,) = blocks("yaml")
    examples = blocks("python")
    assert len(examples) > 6
    script(workflow, "\n".join(examples))


def test_failures_and_wrong_words_are_errors_with_a_way_out(script):
    """A failed job raises JobsFailed unless it is not to; unknown targets and files are UsageErrors."""
    out = script(
        FAILING,
        """
from repro import api
from repro.errors import JobsFailed, UsageError
workflow = api.load()
assert "failed" == workflow.run(["bad", "good"], keep_going=True, check=False).status
assert (workflow.root / "good.txt").exists()
for action in (lambda: workflow.run("bad"), lambda: workflow.plan("none.txt"), lambda: api.load("none.yaml")):
    try:
        action()
    except (JobsFailed, UsageError) as error:
        print(type(error).__name__, error.message)
print(workflow.log("bad"), end="")
""",
    )
    assert [
        "JobsFailed bad failed",
        "UsageError no step makes none.txt",
        "UsageError there is no workflow file none.yaml",
        "so it is",
    ] == out.splitlines()


def test_a_run_in_a_thread_is_stopped_from_another(script):
    """`stop` before the first job and during one; neither needs a signal, and the second run carries on."""
    out = script(
        FAILING,
        """
import threading
from repro import api
workflow = api.load()
def start(**options):
    running = api.Run(workflow.host, None, selection=api.Selection(targets=("slow",)), **options)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(running.execute()))
    return running, thread, ended
running, thread, ended = start()
assert running.stop() is False
thread.start(); thread.join()
print(ended[0].status)
begun = threading.Event()
running, thread, ended = start(output=lambda job, line: begun.set())
thread.start()
assert begun.wait(60)
assert running.stop() is True
thread.join()
print(ended[0].status)
""",
    )
    assert ["interrupted", "interrupted"] == out.split()


def test_an_interrupt_in_the_main_thread_stops_the_jobs(script):
    """As in a notebook: SIGINT raises KeyboardInterrupt there, the run ends its jobs and raises Interrupted."""
    out = script(
        FAILING,
        """
import os, signal
from repro import api
from repro.errors import Interrupted
try:
    api.load().run("slow", on_output=lambda job, line: os.kill(os.getpid(), signal.SIGINT))
except Interrupted as error:
    print(error.message)
""",
    )
    assert "stopped before the end\n" == out
