"""Runs in a process of their own: killed in the middle, and by an ordinary user."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from repro.errors import DataError
from repro.files import remove_tree
from tests.execution.driver import Pipeline

PROJECT = Path(__file__).resolve().parents[2]
STEP = "steps: {{s: {{inputs: {{x: data/a.txt}}, outputs: {{y: out/y.txt}}, run: '{}'}}}}\n"


def start(pipeline, run_id):
    """Start the driver on the pipeline's project."""
    argv = [sys.executable, "-m", "tests.execution.driver", str(pipeline.root), str(pipeline.rootfs), run_id]
    return subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def wait_for(process, kind):
    """Read the driver's events up to one of this kind."""
    for line in process.stdout:
        if json.loads(line)["kind"] == kind:
            return
    raise AssertionError(f"the driver ended without {kind}")


def processes_with(mark):
    """Return the ids of all processes that have ``mark`` on their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in command:
                found.append(int(entry))
    return found


def until(condition):
    """Wait, for a minute at most, until ``condition()`` holds."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass within a minute")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "stop"])
def test_driver_is_killed_in_the_middle_of_a_job(pipeline, number):
    """No process and no mount of it is left, nothing is in the project, and the next run completes."""
    mark = f"mark-{uuid.uuid4().hex}"
    pipeline.steps(STEP.format(f'cat {{{{ inputs.x }}}} > out/y.txt; bash -c "exec -a {mark} sleep 600"'))
    pipeline.write({"data/a.txt": "one\n"})
    with start(pipeline, "first") as driver:
        wait_for(driver, "job-started")
        until(lambda: processes_with(mark))
        driver.send_signal(number)
        driver.wait(timeout=60)
    until(lambda: not processes_with(mark))
    assert str(pipeline.root) not in Path("/proc/self/mountinfo").read_text()
    assert not (pipeline.root / "out").exists()
    assert (number == signal.SIGKILL) == (pipeline.root / ".repro/scratch/first").exists()
    pipeline.steps(STEP.format("cat {{ inputs.x }} > {{ outputs.y }}"))
    assert 1 == pipeline.run("second").ran
    assert "one\n" == pipeline.text("out/y.txt")
    assert not (pipeline.root / ".repro/scratch").exists()


def test_ordinary_user(ordinary, rootfs):
    """An ordinary user without subuid ranges gets outputs of their own, twice, and an isolated step."""
    root = ordinary.home / f"project-{uuid.uuid4().hex[:8]}"
    root.mkdir()
    pipeline = Pipeline(root, rootfs).write({"data/a.txt": "one\n", "data/secret.txt": "s\n"})
    text = STEP.format(
        "mkdir out/y.txt.d; tr a-z A-Z < {{ inputs.x }} > {{ outputs.y }}; chown 12:34 out/y.txt; chmod 000 out/y.txt; "
        "mkdir closed; touch closed/f; chmod 000 closed; ls data; ! echo x > data/a.txt"
    )
    pipeline.steps(text)
    ordinary.give(root)
    driver = ("-m", "tests.execution.driver", str(root), str(rootfs))
    try:
        first = ordinary.run(ordinary.python, *driver, "first")
        assert 0 == first.returncode, first.stdout + first.stderr
        assert "ONE\n" == (root / "out/y.txt").read_text()
        status = (root / "out/y.txt").stat()
        assert (ordinary.uid, ordinary.gid, 0o600) == (status.st_uid, status.st_gid, status.st_mode & 0o777)
        assert "a.txt" == (root / ".repro/runs/first/logs/s.log").read_text().splitlines()[0]
        assert not (root / ".repro/scratch").exists()
        second = ordinary.run(ordinary.python, *driver, "second")
        kinds = [json.loads(line)["kind"] for line in second.stdout.splitlines()]
        assert ["job-cached", "run-finished"] == kinds
    finally:
        remove_tree(root)


def test_ordinary_user_as_another(ordinary, rootfs):
    """With one ID alone a job can be any user of its container; its files are the caller's all the same."""
    root = ordinary.home / f"project-{uuid.uuid4().hex[:8]}"
    root.mkdir()
    Pipeline(root, rootfs).write({"data/a.txt": "one\n"}).steps(
        "steps:\n  s:\n    inputs: {x: data/a.txt}\n    outputs: {y: out/y.txt}\n    logs: {l: log.txt}\n"
        "    checkpoint: cp/\n    user: 1234\n    resources: {shm: 1MiB, time: 50s}\n"
        "    run: id -u > {{ outputs.y }}; cat {{ inputs.x }} > {{ logs.l }}; touch cp/f $HOME/f /dev/shm/f\n"
    )
    ordinary.give(root)
    try:
        done = ordinary.run(ordinary.python, "-m", "tests.execution.driver", str(root), str(rootfs), "first")
        assert 0 == done.returncode, done.stdout + done.stderr
        assert ("1234\n", "one\n") == ((root / "out/y.txt").read_text(), (root / "log.txt").read_text())
        assert {ordinary.uid} == {(root / name).stat().st_uid for name in ("out/y.txt", "log.txt")}
    finally:
        remove_tree(root)


def test_missing_input_fails_its_job_alone(pipeline):
    """An input that goes away after planning fails the job that needs it, and assess says which."""
    pipeline.steps(
        "steps:\n  s:\n    foreach: {k: [a, b]}\n    inputs: {x: 'data/{{ k }}.txt'}\n    outputs: {y: 'out/{{ k }}'}\n"
        "    run: cp {{ inputs.x }} {{ outputs.y }}\n"
    ).write({"data/a.txt": "1\n", "data/b.txt": "2\n"})
    executor = pipeline.executor(None)
    (pipeline.root / "data/a.txt").unlink()
    with pytest.raises(DataError, match=r"data/a\.txt is missing"):
        executor.assess()
    pipeline.write({"data/a.txt": "1\n"})
    assert 2 == pipeline.run().ran


@pytest.mark.judge
@pytest.mark.parametrize("seed", range(5))
def test_killed_again_and_again(pipeline, seed):
    """However often the driver is killed at whatever moment, the next run completes and every result is right."""
    chance = random.Random(seed)
    names = [f"k{number}" for number in range(8)]
    pipeline.steps(
        f"steps:\n  a:\n    foreach: {{k: [{', '.join(names)}]}}\n    inputs: {{x: 'data/{{{{ k }}}}.txt'}}\n"
        "    outputs: {y: 'out/{{ k }}.txt', d: 'out/{{ k }}.d/'}\n"
        "    run: mkdir {{ outputs.d }}; seq 20000 > {{ outputs.d }}big; cat {{ inputs.x }} > {{ outputs.y }}\n"
        "  all:\n    inputs: {y: {from: a.y}}\n    outputs: {z: all.txt}\n    run: cat {{ inputs.y }} > {{ outputs.z }}\n"
    )
    pipeline.write({f"data/{name}.txt": f"{name}\n" for name in names})
    for number in range(10):
        pipeline.write({f"data/{chance.choice(names)}.txt": f"{chance.random()}\n"})
        with start(pipeline, f"killed-{number}") as driver:
            for _ in range(chance.randint(1, 14)):
                driver.stdout.readline()
            time.sleep(chance.random() / 10)
            driver.kill()
    assert "succeeded" == pipeline.run("last").status
    assert "".join(pipeline.text(f"data/{name}.txt") for name in names) == pipeline.text("all.txt")
    big = "".join(f"{number}\n" for number in range(1, 20001))
    assert {big} == {pipeline.text(f"out/{name}.d/big") for name in names}
    assert [".repro", "all.txt", "data", "out", "workflow.yaml"] == sorted(os.listdir(pipeline.root))
    assert 9 == pipeline.run("again").cached
