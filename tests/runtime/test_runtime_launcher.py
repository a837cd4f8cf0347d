"""The helper behind the launcher: many threads, and every way to die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repro.errors import ContainerError
from repro.runtime.container import Launcher
from tests.runtime.conftest import Sandbox, processes_with

TREE = Path(__file__).parents[2]
PARENT = '''
import os, sys
sys.path[:0] = [{tree!r}]
from pathlib import Path
from repro.runtime.container import Launcher
from repro.runtime.probe import choose_mode
from repro.runtime.spec import ContainerSpec, Privileges
STUBBORN = """trap '' TERM INT HUP; setsid bash -c 'while :; do sleep 1; done' "$0" & echo ready; wait"""
place = Path(sys.argv[2])
launcher = Launcher(choose_mode(os.getuid(), os.getgid()).mode)
for number in range(3):
    for name in ("upper", "work"):
        (place / str(number) / name).mkdir(parents=True)
    spec = ContainerSpec(
        lowers=(Path(sys.argv[1]),), upper=place / str(number) / "upper", work=place / str(number) / "work",
        argv=("bash", "-c", STUBBORN, "box-" + sys.argv[3]),
        env={{"PATH": "/bin"}}, privileges=Privileges.BUILD if number else Privileges.STEP,
    )
    launcher.start(spec, stdin=0, stdout=1, stderr=2)
if os.fork() == 0:  # a fork that keeps the launcher's socket open must not keep the containers alive
    os.closerange(0, 3)
    import time
    time.sleep(30)
    os._exit(0)
sys.stdin.read()
'''


def gone(token: str, parent: int) -> bool:
    """Return whether every process with ``token``, the parent's helper and its copies (pid 1s) end soon."""
    for _ in range(500):
        if not processes_with(token) and not processes_with(f"helper.py\0{parent}\0"):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def parent(image, tmp_path):
    """A program with three containers of stubborn processes; gives it and the token in their command lines."""
    token = uuid.uuid4().hex
    source = tmp_path / "parent.py"
    source.write_text(PARENT.format(tree=str(TREE)))
    process = subprocess.Popen(
        [sys.executable, str(source), str(image), str(tmp_path / "c"), token],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert [b"ready\n"] * 3 == [process.stdout.readline() for _ in range(3)]
    yield process, f"box-{token}"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert gone(f"box-{token}", process.pid)


def helper_of(pid: int) -> int:
    """Return the helper's pid."""
    return next(found for found in processes_with("helper.py") if int(stat_of(found)[3]) == pid)


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().split()


def test_kill_of_the_parent_leaves_nothing(parent):
    """Kill -9 of the launching process ends every process of its containers, and the helper."""
    process, token = parent
    process.kill()
    process.wait()
    assert gone(token, process.pid)


BUSY = """
import os, sys, threading
sys.path[:0] = [{tree!r}]
from pathlib import Path
from repro.runtime.container import Launcher
from repro.runtime.probe import choose_mode
from repro.runtime.spec import ContainerSpec
launcher = Launcher(choose_mode(os.getuid(), os.getgid()).mode)
null = os.open("/dev/null", os.O_RDWR)
def start_many(thread):
    for number in range(10**6):
        place = Path(sys.argv[2], f"{{thread}}-{{number}}")
        for name in ("upper", "work"):
            (place / name).mkdir(parents=True)
        spec = ContainerSpec(
            lowers=(Path(sys.argv[1]),), upper=place / "upper", work=place / "work",
            argv=("sh", "-c", "sleep 0.05; : ", sys.argv[3]), env={{"PATH": "/bin"}},
        )
        launcher.run(spec, stdin=null, stdout=null, stderr=null)
        if number == 0:
            os.write(1, b"ready\\n")  # in one piece: the threads' lines must not mix
for thread in range(4):
    threading.Thread(target=start_many, args=(thread,)).start()
"""


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.05, 0.11])
def test_kill_while_containers_start(image, tmp_path, delay):
    """Whatever state its containers are in, being set up or running or ending: kill -9 leaves nothing."""
    token = f"busy-{uuid.uuid4().hex}"
    argv = [sys.executable, "-c", BUSY.format(tree=str(TREE)), str(image), str(tmp_path), token]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert b"ready\n" == process.stdout.readline()
            time.sleep(delay)
        finally:
            process.kill()
    assert gone(token, process.pid)


def test_kill_of_the_helper_leaves_nothing(parent):
    """Kill -9 of the helper ends every process of its containers as well."""
    process, token = parent
    os.kill(helper_of(process.pid), signal.SIGKILL)
    assert gone(token, process.pid)


def test_terminal_signals_do_not_reach_the_helper(parent):
    """Ctrl-C and a hang-up are the parent's to decide on: the helper has a session of its own, and ignores them."""
    process, token = parent
    helper = helper_of(process.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(helper, number)
    time.sleep(0.2)
    assert helper == int(stat_of(helper)[5])
    assert len(processes_with(token)) >= 6


def test_dead_helper_is_reported(image, launcher, tmp_path):
    """When the helper dies, waiting containers and later ones fail with a clear error instead of hanging."""
    own = Launcher(launcher.mode)
    sandbox = Sandbox(image, own, tmp_path)
    running, reader = sandbox.start("sleep", "1000")
    os.kill(helper_of(os.getpid()) if own is launcher else own._process.pid, signal.SIGKILL)
    with pytest.raises(ContainerError, match="helper"):
        running.wait()
    with pytest.raises(ContainerError, match="helper"):
        sandbox.run("true")
    os.close(reader)
    own.close()


def test_close_ends_running_containers(image, launcher, tmp_path):
    """`close` ends what still runs, tells its waiter, and may be called again; then nothing starts any more."""
    own = Launcher(launcher.mode)
    sandbox = Sandbox(image, own, tmp_path)
    running, reader = sandbox.start("sleep", "1000")
    own.close()
    own.close()
    assert 137 == running.wait().exit_status
    assert b"" == os.read(reader, 1)
    os.close(reader)
    with pytest.raises(ContainerError, match="closed"):
        sandbox.run("true")


def test_closed_descriptor_is_refused_alone(sandbox):
    """A descriptor that is not open is the caller's mistake: other containers go on."""
    with pytest.raises(ContainerError, match="descriptor 99999"):
        sandbox.launcher.run(sandbox.spec("true"), stdin=0, stdout=99999, stderr=2)
    assert 0 == sandbox.run("true").status


def test_run_that_is_cut_short_kills(sandbox):
    """When a signal handler raises while `run` waits, the container is gone before the exception goes on."""
    token = f"cut-{uuid.uuid4().hex}"

    class CutShortError(Exception):
        pass

    def stop(number, frame):
        raise CutShortError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(CutShortError):
            sandbox.run("bash", "-c", "while :; do sleep 1; done", token)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [] == processes_with(token)


def test_unused_launcher_closes(launcher):
    """A launcher that started nothing has nothing to end."""
    Launcher(launcher.mode).close()


def test_64_containers_at_once(sandbox):
    """64 containers run side by side, started and awaited from many threads; each gets its own answer."""
    specs = [sandbox.spec("sh", "-c", f"sleep 0.3; exit {number}") for number in range(64)]
    barrier = threading.Barrier(16)

    def run(number: int) -> int:
        if number < 16:
            barrier.wait()
        return sandbox.run_spec(specs[number]).status

    with ThreadPoolExecutor(64) as pool:
        assert list(range(64)) == list(pool.map(run, range(64)))


def test_descriptors_do_not_leak(sandbox):
    """Starting containers leaves no descriptor behind, here or in the helper."""
    sandbox.run("true")
    helper = sandbox.launcher._process.pid
    before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), helper)]
    for _ in range(5):
        sandbox.run("true")
        with pytest.raises(ContainerError):
            sandbox.run("true", cwd="/etc/issue/below")
    assert before == [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), helper)]


def test_interpreter_that_is_not_there(image, launcher, tmp_path):
    """A helper that cannot be started is a ContainerError."""
    sandbox = Sandbox(image, Launcher(launcher.mode, python="/no/such/python"), tmp_path)
    with pytest.raises(ContainerError, match="/no/such/python"):
        sandbox.run("true")
