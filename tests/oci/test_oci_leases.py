"""Leases of a store: many share it, one has it alone, and whoever is dead holds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from repro.errors import BusyError
from repro.oci.leases import Leases, file_system, on_network

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[True, False], ids=["local", "network"])
def local(request: pytest.FixtureRequest) -> bool:
    """Each of the two ways; the second is used on network file systems, and works on any."""
    return bool(request.param)


def other(root: Path, code: str, *, local: bool) -> subprocess.Popen[str]:
    """Start a process that runs ``code`` with ``leases``; it says when it got there and waits for a line."""
    start = f"""
        import sys, time
        from pathlib import Path
        from repro.oci.leases import Leases
        leases = Leases(Path({str(root)!r}), local={local})
        def ready():
            print("ready", flush=True)
            sys.stdin.readline()
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(start) + textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert running.stdout is not None
    assert "ready\n" == running.stdout.readline()
    return running


def free(leases: Leases) -> bool:
    """Whether the store can be had alone now."""
    try:
        with leases.alone():
            return True
    except BusyError:
        return False


def left(root: Path) -> list[str]:
    """Return the files of holders."""
    return [name for name in os.listdir(root / "leases") if name != "lock"]


def test_many_share_and_one_is_alone(tmp_path: Path, local: bool) -> None:
    """While one shares, others may share, none is alone; nothing is left in the end."""
    one, two, three = (Leases(tmp_path, local=local) for _ in range(3))
    one.share()
    two.share()
    assert not free(three)
    one.unshare()
    assert not free(three)
    two.unshare()
    assert free(three)
    assert [] == left(tmp_path)


def test_the_busy_error_names_process_host_command_and_start(tmp_path: Path, local: bool) -> None:
    """So that a person can find who is in the way, and decide to wait or to stop it."""
    worker = other(tmp_path, "leases.share(); ready()", local=local)
    with pytest.raises(BusyError) as caught, Leases(tmp_path, local=local).alone():
        pass
    worker.communicate("\n")
    text = str(caught.value)
    assert f"(pid {worker.pid} on {os.uname().nodename}, since {time.strftime('%Y-%m-%d')}" in text
    assert "`python`" in text
    assert "--wait" in text
    assert str(tmp_path) in text


def test_a_killed_process_holds_nothing(tmp_path: Path, local: bool) -> None:
    """Neither a share nor the whole, and its file is taken away by the next who looks."""
    for code in ("leases.share(); ready()", "with leases.alone(): ready()"):
        worker = other(tmp_path, code, local=local)
        assert not free(Leases(tmp_path, local=local))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        assert free(Leases(tmp_path, local=local))
    assert [] == left(tmp_path)


def test_who_shares_waits_for_who_is_alone_and_is_told(tmp_path: Path, local: bool) -> None:
    """It goes on as soon as the other has ended."""
    worker = other(tmp_path, "with leases.alone(): ready()", local=local)
    told = threading.Event()
    got = threading.Event()
    leases = Leases(tmp_path, local=local)

    def share() -> None:
        leases.share(lambda who: told.set() if str(worker.pid) in who else None)
        got.set()

    thread = threading.Thread(target=share)
    thread.start()
    assert told.wait(10)
    assert not got.is_set()
    worker.communicate("\n")
    assert got.wait(10)
    thread.join()
    leases.unshare()
    assert free(Leases(tmp_path, local=local))


def test_alone_waits_when_it_is_to(tmp_path: Path, local: bool) -> None:
    """Until the last of those who share has ended."""
    worker = other(tmp_path, "leases.share(); ready()", local=local)
    told: list[str] = []

    def waiting(who: str) -> None:
        told.append(who)
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.close()

    with Leases(tmp_path, local=local).alone(wait=True, waiting=waiting):
        assert 0 == worker.wait(10)
    assert worker.stdout is not None
    worker.stdout.close()
    assert 1 == len(told)


def test_who_shares_may_become_alone_and_shares_again(tmp_path: Path, local: bool) -> None:
    """A command that works in the store can clean up after itself; nested uses do not end the outer one."""
    mine, another = Leases(tmp_path, local=local), Leases(tmp_path, local=local)
    mine.share()
    with mine.alone():
        mine.share()
        mine.unshare()
        with mine.alone():
            pass
        assert not free(another)
    assert not free(another)
    another.share()
    assert not free(mine)
    another.unshare()
    assert free(mine)
    mine.unshare()
    assert free(another)
    assert [] == left(tmp_path)


def test_an_error_in_the_block_gives_the_lease_back(tmp_path: Path, local: bool) -> None:
    """However the block ends."""
    with pytest.raises(ZeroDivisionError), Leases(tmp_path, local=local).alone():
        _ = 1 // 0
    assert free(Leases(tmp_path, local=local))


# Files, where locks are not to be trusted


def stranger(root: Path, *, kind: str = "shared", old: float = 0.0, **more: object) -> Path:
    """Put down the file of a process on another machine, which showed itself ``old`` seconds ago; return it."""
    said = {"boot": "b", "command": "repro run", "host": "node7", "pid": 1, "pids": "p", "since": 1e9, "started": 1}
    path = root / "leases" / f"{kind}-0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(said | more))
    os.utime(path, (time.time() - old, time.time() - old))
    return path


def test_another_machine_is_believed_until_it_is_silent_too_long(tmp_path: Path) -> None:
    """Its process cannot be looked at: the time of its file tells. One that is too old is removed."""
    leases = Leases(tmp_path, local=False, stale=100)
    path = stranger(tmp_path, old=90)
    with pytest.raises(BusyError, match="others work") as caught, leases.alone():
        pass
    assert "`repro run` (pid 1 on node7, since 2001" in str(caught.value)
    assert path.exists()
    stranger(tmp_path, old=110)
    assert free(leases)
    assert not path.exists()


def test_a_stranger_alone_keeps_out_who_would_share(tmp_path: Path) -> None:
    """Until it is silent for too long."""
    stranger(tmp_path, kind="alone", old=0)
    leases = Leases(tmp_path, local=False, stale=0.5)
    start = time.monotonic()
    leases.share()
    assert 0.3 < time.monotonic() - start < 10
    leases.unshare()


def test_a_process_of_this_machine_is_looked_at(tmp_path: Path) -> None:
    """A PID that was given to another process since is not its holder, however fresh the file; silence means nothing."""
    leases = Leases(tmp_path, local=False)
    leases.share()
    (name,) = left(tmp_path)
    mine = json.loads((tmp_path / "leases" / name).read_bytes())
    leases.unshare()
    path = stranger(tmp_path, **mine, old=1e6)
    assert not free(leases)
    path = stranger(tmp_path, **{**mine, "started": mine["started"] - 1})
    assert free(leases)
    assert not path.exists()


def test_a_running_process_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file's time moves on, by a thread that ends with the lease."""
    monkeypatch.setattr("repro.oci.leases._BEAT", 0.01)
    leases = Leases(tmp_path, local=False)
    leases.share()
    (name,) = left(tmp_path)
    path = tmp_path / "leases" / name
    os.utime(path, (0, 0))
    leases.beat()
    leases.beat()
    deadline = time.monotonic() + 10
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > 0
    assert 1 == sum(thread.name == "lease" for thread in threading.enumerate())
    leases.unshare()
    assert 0 == sum(thread.name == "lease" for thread in threading.enumerate())


def test_of_many_who_want_it_alone_one_has_it(tmp_path: Path, local: bool) -> None:
    """A number in a file, read, kept for a while and written by five processes, misses no step."""
    number = tmp_path / "number"
    number.write_text("0")
    code = f"""
        ready()
        for _ in range(8):
            with leases.alone(wait=True):
                value = int(open({str(number)!r}).read())
                time.sleep(0.002)
                open({str(number)!r}, "w").write(str(value + 1))
    """
    workers = [other(tmp_path, code, local=local) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert ("24", [0, 0, 0]) == (number.read_text(), [worker.returncode for worker in workers])


# File systems


def test_the_file_system_of_a_path_is_told(tmp_path: Path) -> None:
    """By the longest mount point above it; links are followed."""
    link = tmp_path / "link"
    link.symlink_to("/proc/self")
    assert ("proc", "proc") == (file_system(Path("/proc/sys/kernel")), file_system(link))
    assert file_system(Path("/")) == file_system(Path("/nowhere"))


@pytest.mark.parametrize(
    ("line", "remote"),
    [
        ("36 1 0:32 / {} rw shared:1 - nfs4 server:/x rw", True),
        ("36 1 0:32 / {} rw - fuse.sshfs x rw", True),
        ("36 1 0:32 / {} rw - lustre x rw", True),
        ("36 1 0:32 / {} rw master:1 - ext4 /dev/x rw", False),
        ("36 1 0:32 / {} rw - fuseblk /dev/x rw", False),
        ("36 1 0:32 / {} rw - nfs4 a rw\n37 36 0:33 / {} rw - tmpfs b rw", False),
    ],
)
def test_network_file_systems_are_known_by_their_type(
    tmp_path: Path, line: str, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount on top of another counts, whatever is written in the optional fields; blanks in names are escaped."""
    folder = tmp_path / "a b"
    folder.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/root rw\n" + line.replace("{}", str(folder).replace(" ", "\\040")) + "\n"
    )
    monkeypatch.setattr("repro.oci.leases._MOUNTS", str(table))
    assert remote == on_network(folder / "store")
