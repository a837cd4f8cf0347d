"""Stepping into a job's world: what is there, the terminal, and what is left afterwards."""

from __future__ import annotations

import os
import select
import termios
import threading
import time
from contextlib import closing

import pytest

from repro.errors import DataError, UsageError
from repro.files import locked
from repro.runtime.container import Launcher
from tests.execution.driver import mode

STEP = """
steps:
  s:
    foreach: {k: [a, b]}
    inputs: {x: data/x.txt}
    outputs: {o: "out/{{ k }}.txt"}
    secrets: [token]
    checkpoint: cp/
    resources: {cpus: 2}
    env: {MINE: here}
    run: cat {{ inputs.x }} > {{ outputs.o }}; false
"""


@pytest.fixture
def failed(pipeline):
    """A project whose jobs fail."""
    pipeline.secrets = {"token": b"hidden"}
    pipeline.steps(STEP).write({"data/x.txt": "one\n"}).run()
    return pipeline


def look(pipeline, job, *command, typed=b"", **more):
    """Return exit status and output of ``command`` in the job's world, or of its shell with ``typed`` as input."""
    reading, writing = os.pipe()
    stdin, feed = os.pipe()
    os.write(feed, typed)
    os.close(feed)
    with closing(Launcher(mode())) as launcher, open(reading, "rb") as output:
        debugging = pipeline.executor(launcher).debugging(job)
        status = debugging.open(launcher, stdin=stdin, stdout=writing, stderr=writing, command=command, **more)
        os.close(stdin)
        os.close(writing)
        return status, output.read().decode()


def test_world_is_that_of_the_job(failed):
    """Inputs, environment, secrets and the command are there; the command can be run as it was."""
    status, shown = look(
        failed, "s[k=b]", typed=b"pwd; cat data/x.txt /run/secrets/token; echo $MINE; ls -d cp; exit 7\n"
    )
    assert (7, "/work\none\nhiddenhere\ncp\n") == (status, shown)
    status, shown = look(failed, "s[k=b]", "bash", "-c", ". /run/repro/command.sh; cat out/b.txt")
    assert (0, "one\n") == (status, shown)


def test_nothing_is_left(failed):
    """What is written there stays nowhere, also where an earlier look was killed; the project's files are read-only."""
    left = failed.root / ".repro/scratch-debug/job-dead"
    left.mkdir(parents=True)
    status, shown = look(failed, "s[k=a]", "bash", "-c", "echo x > out/a.txt; echo y > data/x.txt")
    assert 1 == status
    assert "Read-only file system" in shown
    assert "one\n" == failed.text("data/x.txt")
    assert not (failed.root / "out").exists()
    assert ["lock"] == os.listdir(failed.root / ".repro/scratch-debug")


def test_another_look_at_the_same_time(failed):
    """What somebody else looks at stays."""
    other = failed.root / ".repro/scratch-debug/job-other"
    other.mkdir(parents=True)
    with locked(other / "lock"):
        assert 0 == look(failed, "s[k=a]", "true")[0]
    assert other.exists()


def test_job_that_is_not_there(failed):
    """A name that is no job's is an error with those that are near."""
    with pytest.raises(UsageError, match="there is no job 's'") as raised:
        failed.executor(None).debugging("s")
    assert "`repro plan` lists them" == raised.value.hint
    with pytest.raises(UsageError) as raised:
        failed.executor(None).debugging("s[k=c]")
    assert "s[k=a]" in raised.value.hint


def test_temporary_input_that_is_gone(pipeline):
    """The error says how to have it again."""
    pipeline.steps(
        "steps:\n  a: {outputs: {o: {path: a.txt, temporary: true}}, run: echo 1 > a.txt}\n"
        "  b: {inputs: {x: {from: a.o}}, outputs: {o: b.txt}, run: cp a.txt b.txt}\n"
    ).run()
    with pytest.raises(DataError, match=r"input a\.txt was temporary, and is gone") as raised:
        look(pipeline, "b", "true")
    assert "make it again: repro run a.txt" == raised.value.hint


def test_terminal(failed):
    """On a terminal the shell is interactive, Ctrl-C ends what runs in it alone, and the terminal is as before."""
    person, ours = os.openpty()
    shown = []

    def watch(until):
        deadline = time.monotonic() + 30
        while until not in b"".join(shown) and time.monotonic() < deadline:
            if select.select([person], [], [], 0.2)[0]:
                shown.append(os.read(person, 4096))
        assert until in b"".join(shown), shown

    def type_in():
        watch(b"# ")
        os.write(person, b"echo an$((40 + 2))swer $TERM\n")
        watch(b"an42swer dumb")
        os.write(person, b"sleep 600; echo s$((40 + 2))lept\n")
        watch(b"lept\r\n")  # its echo
        time.sleep(0.5)
        os.write(person, b"\x03")
        os.write(person, b"test -t 0 && exit 5\n")

    before = termios.tcgetattr(ours)
    typist = threading.Thread(target=type_in)
    typist.start()
    with closing(Launcher(mode())) as launcher:
        debugging = failed.executor(launcher).debugging("s[k=a]")
        status = debugging.open(launcher, stdin=ours, stdout=ours, stderr=ours, term="dumb")
    typist.join()
    assert 5 == status
    assert b"s42lept" not in b"".join(shown)
    assert before == termios.tcgetattr(ours)
    os.close(person)
    os.close(ours)
