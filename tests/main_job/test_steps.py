"""What a user meets on the way: undeclared reads, no network, kills, mistakes. Real containers on the archive's base."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.timeout(600)]

HEAD = """\
repro: 1
name: small
environments:
  base: {base: {archive: debian, suite: bookworm}}
defaults: {environment: base}
steps:
"""


def processes(token: str) -> list[str]:
    """Return the command lines of all processes that have ``token`` in theirs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if token in line and int(folder.name) != os.getpid():
            found.append(line)
    return found


def until(condition, seconds: float = 60) -> None:
    """Wait until ``condition()`` holds; fail when it does not within a generous time."""
    for _ in range(int(seconds * 20)):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("what was waited for did not come")


def test_undeclared_read_fails_and_is_named(desk):
    """A step that reads a project file it did not declare fails, and the message names the file to declare."""
    desk.write("data/genes.txt", "BRCA1\n")
    desk.write(
        "workflow.yaml",
        HEAD + "  count:\n    outputs: {n: results/n.txt}\n    run: wc -l < data/genes.txt > {{ outputs.n }}\n",
    )
    done = desk.repro("run")
    assert 1 == done.returncode, done.stderr
    assert "data/genes.txt" in done.stderr
    assert "inputs" in done.stderr
    assert not (desk.project / "results").exists()


def test_no_network_in_a_step(desk):
    """A step cannot reach a server on the host's loopback; one that declares the network can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        step = "  {name}:\n    outputs: {{t: {name}.txt}}\n{more}    run: bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached' > {{{{ outputs.t }}}}\n"
        closed = step.format(name="closed", more="", port=port)
        opened = step.format(name="opened", more="    network: true\n", port=port)
        desk.write("workflow.yaml", HEAD + closed + opened)
        done = desk.repro("run", "-k")
    assert 1 == done.returncode, done.stderr
    assert "closed: failed" in done.stderr
    assert "opened: done" in done.stderr
    assert not (desk.project / "closed.txt").exists()
    assert "reached\n" == (desk.project / "opened.txt").read_text()


def test_five_mistakes_are_five_located_messages(desk):
    """Five different mistakes give five located messages at once, and exit status 2."""
    desk.write(
        "workflow.yaml",
        "repro: 1\nname: wrong\n"
        "environments:\n  base: {base: {archive: debian, suite: bookworm}, apt: [samtools], colour: red}\n"
        "steps:\n"
        "  a:\n    environment: bass\n    outputs: {x: results/x.txt}\n    run: echo {{ params.missing }} > {{ outputs.x }}\n"
        "  b:\n    environment: base\n    inputs: {y: {from: a.z}, f: data/none.txt}\n    outputs: {y: y.txt}\n    run: 'true'\n",
    )
    done = desk.repro("validate")
    assert 2 == done.returncode
    located = re.findall(r"^workflow\.yaml:(\d+):(\d+): ", done.stderr, re.MULTILINE)
    assert ["4", "7", "9", "12", "12"] == [line for line, _ in located]
    assert "Traceback" not in done.stderr


def test_too_much_memory_is_told_before_anything_begins(desk):
    """A job that no host room can take is a located mistake; no run is begun that could not end."""
    desk.write("workflow.yaml", HEAD + "  big: {outputs: {x: x.txt}, run: echo > x.txt, resources: {memory: 900TB}}\n")
    done = desk.repro("run")
    assert 2 == done.returncode, done.stderr
    assert re.search(r"^workflow\.yaml:7:\d+: steps\.big\.resources\.memory: 900000\.0 GB", done.stderr, re.MULTILINE)
    assert "no run yet" in desk.repro("status").stdout


def start(desk, *arguments: str) -> subprocess.Popen[str]:
    """Start `repro` in the project's folder, in a session of its own."""
    command = desk.account.command(desk.account.python, "-m", "repro.cli.main", *arguments, env=desk.env)
    return subprocess.Popen(
        command,
        cwd=desk.project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def mounts() -> list[str]:
    """Return the mounts of this namespace that have to do with containers."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "overlay" in line]


def kill_repro(child: subprocess.Popen[str]) -> None:
    """Kill `repro` itself, and nothing else: the process that setpriv and env have become."""
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def test_kill_in_a_job_leaves_nothing_and_the_next_run_completes(desk):
    """kill -9 in the middle of a job: no process, no mount, no half output; then `repro run` completes."""
    before = mounts()
    desk.write(
        "workflow.yaml",
        HEAD + "  slow:\n    outputs: {x: x.txt}\n    run: |\n"
        "      echo half > {{ outputs.x }}\n      sleep 7.0625 || true\n      echo whole > {{ outputs.x }}\n",
    )
    child = start(desk, "run")
    until(lambda: processes("sleep 7.0625"), 120)
    kill_repro(child)
    until(lambda: not processes("sleep 7.0625"))
    until(lambda: not [line for line in processes("repro") if str(desk.account.home) in line and "runtime" in line])
    assert before == mounts()
    assert not (desk.project / "x.txt").exists()
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "whole\n" == (desk.project / "x.txt").read_text()


def test_kill_in_a_build_leaves_nothing_and_the_next_run_completes(desk):
    """kill -9 in the middle of a build: no process, no mount; then `repro run` completes without being asked."""
    before = mounts()
    token = f"5.{time.time_ns() % 10**9:09d}"
    desk.write(
        "workflow.yaml",
        HEAD.replace("bookworm}}", f"bookworm}}, run: [sleep {token}; touch /made]}}")
        + "  look:\n    outputs: {x: x.txt}\n    run: ls /made > {{ outputs.x }}\n",
    )
    child = start(desk, "run")
    until(lambda: processes(f"sleep {token}"), 120)
    kill_repro(child)
    until(lambda: not processes(f"sleep {token}"))
    assert before == mounts()
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "/made\n" == (desk.project / "x.txt").read_text()
    assert [] == [path for path in (desk.store / "tmp").iterdir() if path.is_dir()]


def test_interrupt_stops_jobs_and_says_so(desk):
    """Ctrl-C: exit status 130, no process left, and the next run carries on."""
    desk.write(
        "workflow.yaml",
        HEAD + "  quick:\n    outputs: {q: q.txt}\n    run: echo q > {{ outputs.q }}\n"
        "  slow:\n    inputs: {q: {from: quick.q}}\n    outputs: {x: x.txt}\n    run: sleep 3.0625; echo x > {{ outputs.x }}\n",
    )
    child = start(desk, "run")
    until(lambda: processes("sleep 3.0625"), 120)
    os.kill(child.pid, signal.SIGINT)
    assert 130 == child.wait(60)
    assert [] == processes("sleep 3.0625")
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "1 ran, 1 cached" in done.stderr


def test_failing_job_stops_only_what_needs_it(desk):
    """With -k a failing job skips its consumers; everything else runs, and logs stay."""
    desk.write(
        "workflow.yaml",
        HEAD + "  bad:\n    outputs: {x: bad.txt}\n    run: echo reason >&2; exit 3\n"
        "  after:\n    inputs: {x: {from: bad.x}}\n    outputs: {y: after.txt}\n    run: cp {{ inputs.x }} {{ outputs.y }}\n"
        "  good:\n    outputs: {z: good.txt}\n    run: echo fine > {{ outputs.z }}\n",
    )
    done = desk.repro("run", "-k")
    assert 1 == done.returncode, done.stderr
    assert "bad: failed with exit status 3" in done.stderr
    assert "after: skipped, bad failed" in done.stderr
    assert "fine\n" == (desk.project / "good.txt").read_text()
    log = re.search(r"log: (\S+)", done.stderr)
    assert log is not None
    assert "reason" in (desk.project / log[1]).read_text()


def test_user_dockerfile_environment(desk):
    """An environment with the user's own multi-stage Dockerfile FROM the archive base is built and runs."""
    desk.write(
        "docker/Dockerfile",
        (
            'FROM archive:debian/bookworm AS maker\nARG WORD\nRUN --network=none echo "$WORD" > /word\n'
            "FROM archive:debian/bookworm\nLABEL kind=test\nWORKDIR /opt/tool\nCOPY --from=maker /word ./\nCOPY tool.sh .\n"
            'ENV TOOL=/opt/tool/tool.sh\nCMD ["bash"]\n'
        ),
    )
    desk.write("docker/tool.sh", "cat /opt/tool/word\n")
    desk.write("docker/.dockerignore", "*\n!tool.sh\n")
    desk.write(
        "workflow.yaml",
        "repro: 1\nname: own\nenvironments:\n"
        "  own: {dockerfile: docker/Dockerfile, context: docker, args: {WORD: hello}}\n"
        "steps:\n  say:\n    environment: own\n    outputs: {x: x.txt}\n    run: bash $TOOL > {{ outputs.x }}\n",
    )
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "hello\n" == (desk.project / "x.txt").read_text()
    again = desk.repro("run")
    assert "0 ran, 1 cached" in again.stderr


def test_what_a_failed_job_leaves_and_how_it_goes_on(desk):
    """Its log and checkpoint are kept, one can step into its world, and the next run takes it up; what passed is gone."""
    text = HEAD + (
        "  make:\n    outputs: {n: {path: work/n.txt, temporary: true}}\n    run: seq 3 > {{ outputs.n }}\n"
        "  sum:\n    inputs: {n: {from: make.n}}\n    outputs: {s: s.txt}\n    logs: {l: sum.log}\n    checkpoint: part/\n"
        "    retries: {count: 1, pause: 0}\n    run: |\n"
        "      echo try >> part/tries; cp part/tries {{ logs.l }}\n"
        "      test $(wc -l < part/tries) -gt 2\n"
        "      sort -r {{ inputs.n }} > {{ outputs.s }}\n"
    )
    desk.write("workflow.yaml", text)
    failed = desk.repro("run")
    assert 1 == failed.returncode, failed.stderr
    assert "repro debug sum" in failed.stderr
    assert "try\ntry\n" == (desk.project / "sum.log").read_text()
    assert (desk.project / "work/n.txt").exists()
    looked = desk.repro("debug", "sum", "--", "sh", "-c", "cat work/n.txt; tail -n 1 /run/repro/command.sh")
    assert (0, "1\n2\n3\nsort -r work/n.txt > s.txt\n") == (looked.returncode, looked.stdout), looked.stderr
    done = desk.repro("run")
    assert 0 == done.returncode, done.stderr
    assert "3\n2\n1\n" == (desk.project / "s.txt").read_text()
    assert not (desk.project / "work/n.txt").exists()
    again = desk.repro("run")
    assert "0 ran, 2 cached" in again.stderr
