"""A container's command: how it starts, what it finds, how it ends."""

from __future__ import annotations

import os
import signal
import time

import pytest

from repro.runtime.spec import Privileges


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status_is_the_commands_own(sandbox, status):
    """The command's exit status comes back unchanged."""
    assert status == sandbox.sh(f"exit {status}").status


def test_missing_command_is_127(sandbox):
    """A command that is nowhere on PATH gives 127 and says so."""
    done = sandbox.run("no-such-program")
    assert (127, "repro: no-such-program: not found in the container\n") == (done.status, done.err)


def test_unexecutable_command_is_126(sandbox):
    """A file without the execute bit gives 126."""
    done = sandbox.run("/etc/issue")
    assert (126, "repro: /etc/issue: Permission denied\n") == (done.status, done.err)


def test_missing_interpreter_is_named(sandbox):
    """A script whose interpreter is not there gives 127 and the reason, not a bare 'not found'."""
    spec = sandbox.spec("/script")
    (spec.upper / "script").write_text("#!/no/such/interpreter\n")
    (spec.upper / "script").chmod(0o755)
    done = sandbox.run_spec(spec)
    assert (127, True) == (done.status, "interpreter" in done.err)


def test_path_is_the_specs(sandbox):
    """The command is looked up by the PATH in env, in order, over folders that do not exist."""
    spec = sandbox.spec("tool", env={"PATH": "/nowhere:/opt/a:/opt/b"})
    for name in "ab":
        (spec.upper / "opt" / name).mkdir(parents=True)
        (spec.upper / "opt" / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (spec.upper / "opt" / name / "tool").chmod(0o755)
    assert "a\n" == sandbox.run_spec(spec).out


def test_death_by_signal_is_128_and_its_number(sandbox):
    """A command that a signal kills ends with 128+n."""
    assert 128 + signal.SIGTERM == sandbox.sh("kill -TERM $$").status


@pytest.mark.parametrize("privileges", list(Privileges))
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_signals_reach_the_command(sandbox, name, privileges):
    """`Running.kill` delivers the signal to the command itself, which may handle it."""
    script = f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    running, reader = sandbox.start("bash", "-c", script, privileges=privileges)
    with os.fdopen(reader) as out:
        assert "ready\n" == out.readline()
        running.kill(getattr(signal, f"SIG{name}"))
        assert (7, "got\n") == (running.wait().exit_status, out.read())


def test_signal_to_pid_1_is_forwarded(sandbox):
    """What is sent to the container's pid 1 from inside goes to the command."""
    done = sandbox.run("bash", "-c", "trap 'exit 9' TERM; kill -TERM 1; while :; do sleep 0.05; done")
    assert 9 == done.status


def test_sigkill_ends_everything(sandbox):
    """SIGKILL takes the whole container, also what has left the command's session."""
    running, reader = sandbox.start("bash", "-c", "setsid sleep 1000 & echo ready; wait")
    with os.fdopen(reader) as out:
        assert "ready\n" == out.readline()
        running.kill(signal.SIGKILL)
        assert 137 == running.wait().exit_status
        assert "" == out.read()  # nobody holds the pipe any more


def test_kill_after_the_end_is_nothing(sandbox):
    """Signalling a container that has ended does nothing, and `wait` answers again."""
    running, reader = sandbox.start("true")
    os.close(reader)
    first = running.wait()
    running.kill(signal.SIGTERM)
    assert first == running.wait()


def test_orphans_are_reaped_by_pid_1(sandbox):
    """A grandchild whose parent is gone leaves no zombie: it becomes pid 1's, and is reaped."""
    script = "(sleep 0.1 & ) ; sleep 0.5; for s in /proc/[0-9]*/stat; do cat $s; done"
    out = sandbox.sh(script).out
    assert [] == [line for line in out.splitlines() if line.split()[2] == "Z"]


def test_left_over_processes_end_with_the_command(sandbox):
    """Background processes do not outlive the command."""
    started = time.monotonic()
    assert 3 == sandbox.sh("sleep 100 & exit 3").status
    assert time.monotonic() - started < 50


def test_environment_is_exact(sandbox, monkeypatch):
    """No variable of the host comes in, and none is added."""
    monkeypatch.setenv("UNDECLARED", "secret")
    done = sandbox.run("env", env={"PATH": "/bin", "A": "1 2", "Ü": "é"})
    assert ["A=1 2", "PATH=/bin", "Ü=é"] == sorted(done.out.splitlines())


def test_only_three_descriptors(sandbox):
    """The command has stdin, stdout and stderr, and nothing else open."""
    assert "0 1 2 3 " == sandbox.sh("ls /proc/self/fd | while read n; do printf '%s ' $n; done").out  # 3: ls's own


def test_stdin_reaches_the_command(sandbox):
    """The command reads the stdin that was given."""
    assert "hello" == sandbox.run("cat", stdin=b"hello").out


def test_signals_are_default_and_unblocked(sandbox):
    """No signal is ignored or blocked in the command, whatever the launching process does (SIGPIPE in Python)."""
    done = sandbox.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    library = 1 << 31 | 1 << 32  # signals 32 and 33 belong to the C library, whose posix_spawn ignores them
    assert {0} == {int(line.split()[1], 16) & ~library for line in done.out.splitlines()}


def test_command_leads_its_session(sandbox):
    """The command has a session of its own, without a terminal."""
    pid, _name, _state, parent, group, session, terminal = sandbox.run("cat", "/proc/self/stat").out.split()[:7]
    assert ("1", pid, pid, "0") == (parent, group, session, terminal)


def test_umask_and_folder(sandbox):
    """Umask and working folder are the spec's; a folder that is missing is made."""
    done = sandbox.sh("umask; readlink /proc/self/cwd; touch x; stat -c %a x", umask=0o027, cwd="/made/deep")
    assert ["0027", "/made/deep", "640"] == done.out.split()


def test_user_and_groups(sandbox):
    """The command runs as the given user; where only one ID is mapped, that one is shown as the user."""
    done = sandbox.run("id", user=(1234, 567), groups=(89,))
    uid, gid, groups = (word.partition("=")[2].partition("(")[0] for word in done.out.split())
    assert ("1234", "567") == (uid, gid)
    if sandbox.mode.value == "real":
        assert "567,89" == groups


def test_usage_is_measured(sandbox):
    """Wall and CPU seconds and memory cover what the command did, its children included."""
    result = sandbox.run("bash", "-c", "(for ((i=0; i<200000; i++)); do :; done); sleep 0.2").result
    assert result.wall >= 0.2
    assert result.user + result.system > 0.05
    assert result.max_rss > 1 << 20


def test_large_command_and_environment(sandbox):
    """An order far larger than one packet arrives whole."""
    env = {"PATH": "/bin", **{f"V{n}": "x" * 20000 for n in range(40)}}
    assert "800000\n" == sandbox.run("bash", "-c", "t=; for v in ${!V*}; do t+=${!v}; done; echo ${#t}", env=env).out
