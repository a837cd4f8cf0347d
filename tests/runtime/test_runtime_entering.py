"""The move into a user namespace with subordinate IDs: what it gives, what can be in the way, and being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.accounts import Account
from tests.runtime.conftest import processes_with

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can make a user with subordinate ranges")

CHOOSE = """
import os, sys
from repro.errors import HostError
from repro.runtime.modes import choose
ids = os.getuid(), os.getgid()
choice = choose(*ids, *sys.argv[1:2])
"""
BEGIN = (
    CHOOSE
    + """
try:
    choice.begin()
except HostError as error:
    print(error)
"""
)
OWNERS = (
    BEGIN
    + """
for number, (uid, gid) in enumerate([(0, 0), (33, 42), (65534, 65534)]):
    with open(f"f{number}", "wb"):
        pass
    os.chown(f"f{number}", uid, gid)
    status = os.stat(f"f{number}")
    print(status.st_uid, status.st_gid)
print(choice.mode.value, os.getuid(), os.getgid(), os.getsid(0) == int(os.environ["SESSION"]))
again = choose(*ids)
again.begin()
print(again == choice, choose(0, 0).mode.value, choose(0, 0).form == choice.form)
"""
)
THREADS = (
    CHOOSE
    + """
import threading
ended = threading.Event()
threading.Thread(target=ended.wait).start()
choice = choose(*ids)
print(choice.mode.value, choice.surprising, choice.why)
try:
    choose(*ids, "sub").begin()
except HostError as error:
    print(error)
print(os.getuid() == ids[0])
ended.set()
"""
)


def python(account: Account, script: str, *arguments: str, **more) -> list[str]:
    """Run the script as the user and return the lines that it printed."""
    done = account.run(account.python, "-c", script, *arguments, **more)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


@pytest.fixture
def place(with_ranges, tmp_path) -> Path:
    """A folder of the user's own."""
    folder = Path(with_ranges.home, tmp_path.name)
    folder.mkdir()
    with_ranges.give(folder)
    return folder


def test_process_becomes_root_of_its_ids(with_ranges, place):
    """Files can be given to every ID that an image has; outside they belong to the range, and the rest is as before."""
    session = str(os.getsid(0))
    *owners, now, again = python(with_ranges, OWNERS, cwd=place, env={"SESSION": session})
    assert ["0 0", "33 42", "65534 65534"] == owners
    assert "sub 0 0 True" == now
    assert "True real True" == again, "who is in already stays, and a Host taken inside means the same layers"
    first = int(
        next(line for line in Path("/etc/subuid").read_text().splitlines() if line.startswith(with_ranges.name)).split(
            ":"
        )[1]
    )
    found = [(place / f"f{number}").stat().st_uid for number in range(3)]
    assert [with_ranges.uid, first + 32, first + 65533] == found


def test_threads_stand_in_the_way(with_ranges):
    """A process with threads is not moved: it gets one ID and is told so; asked to, it gets an error, unchanged."""
    first, *rest, same = python(with_ranges, THREADS)
    assert first == "one True this process has 2 threads, and only with one could it enter a user namespace"
    assert rest[0] == "this process cannot enter a user namespace"
    assert "True" == same


def test_root_cannot_be_wished_for(with_ranges):
    """`REPRO_MODE=real` of somebody who is not root is an error, not another mode."""
    done = with_ranges.repro("doctor", env={"REPRO_MODE": "real"})
    assert (125, "") == (done.returncode, done.stdout)
    assert "this process is not root" in done.stderr


def test_one_id_can_be_wished_for(with_ranges):
    """`REPRO_MODE=one` leaves the subordinate range alone."""
    done = with_ranges.repro("doctor", env={"REPRO_MODE": "one"})
    assert (0, "") == (done.returncode, done.stderr)
    assert "containers: in user namespaces with a single ID" in done.stdout


def test_missing_newuidmap_is_told(with_ranges, place):
    """Without newuidmap containers run with one ID; doctor names the package to ask for."""
    (place / "bin").mkdir()
    done = with_ranges.repro("doctor", env={"PATH": str(place / "bin")})
    assert 0 == done.returncode, done.stderr
    assert "--  subordinate IDs     newuidmap is not installed" in done.stdout
    assert "better: ask the administrator for the package uidmap" in done.stdout
    assert "containers: in user namespaces with a single ID" in done.stdout


@pytest.fixture
def programs(with_ranges) -> Path:
    """A folder for programs of root's, on a file system where set-user-ID counts, at a path that the user can reach."""
    folder = Path(with_ranges.home).parent / f"bin-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o755)
    return folder


def install(folder: Path, source: str, mode: int) -> None:
    """Put a program in the place of newuidmap and newgidmap."""
    for name in ("newuidmap", "newgidmap"):
        shutil.copyfile(source, folder / name)
        (folder / name).chmod(mode)


def test_newuidmap_without_set_id_is_told(with_ranges, programs):
    """A newuidmap that lost its set-user-ID bit, as in a copied root, is found before it fails."""
    install(programs, "/usr/bin/newuidmap", 0o755)
    done = with_ranges.repro("doctor", env={"PATH": str(programs)})
    assert "neither set-user-ID root nor has file capabilities" in done.stdout
    assert f"better: ask the administrator for: chmod u+s {programs}/newuidmap" in done.stdout


def test_refusal_leaves_the_process_as_it_was(with_ranges, programs):
    """When newuidmap refuses after all, the error says so, and the process can still be used."""
    install(programs, "/usr/bin/false", 0o4755)
    script = BEGIN + "print(os.getuid() == ids[0], os.waitstatus_to_exitcode(os.system('true')))\n"
    script += "try:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    print('no child')\n"
    told = python(with_ranges, script, "sub", env={"PATH": f"{programs}:/usr/bin:/bin"})
    assert "the subordinate IDs cannot be had" == told[0]
    assert ["True 0", "no child"] == told[-2:]


def test_kill_while_entering_leaves_no_process(with_ranges, programs):
    """Kill -9 while the IDs are mapped: the child that holds the namespace ends with its parent."""
    install(programs, "/usr/bin/sleep", 0o4755)  # it sleeps for the sum of its arguments
    token = f"entering-{uuid.uuid4().hex}"
    argv = with_ranges.command(with_ranges.python, "-c", BEGIN, "sub", token, env={"PATH": f"{programs}:/usr/bin:/bin"})
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_for(lambda: len(processes_with(token)) == 2), (
                "the parent and the child that holds the namespace"
            )
            assert wait_for(lambda: processes_with(f"{programs}/newuidmap"))
        finally:
            process.kill()
    try:
        assert wait_for(lambda: not processes_with(token))
    finally:
        for pid in processes_with(f"{programs}/newuidmap"):  # the sleeping one is no part of us
            os.kill(pid, signal.SIGKILL)


def wait_for(what) -> bool:
    """Return whether ``what()`` becomes true soon."""
    for _ in range(500):
        if what():
            return True
        time.sleep(0.02)
    return False


def test_no_new_privileges_are_told(with_ranges):
    """Where set-user-ID programs get no rights, one ID is used, and doctor says why."""
    done = subprocess.run(
        ["setpriv", "--no-new-privs", *with_ranges.command(with_ranges.python, "-m", "repro.cli.main", "doctor")],
        cwd=with_ranges.home, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert "newuidmap would get no rights here: no_new_privs is set" in done.stdout, done.stderr
    assert "containers: in user namespaces with a single ID" in done.stdout


def test_doctor_says_that_images_are_roots_own(with_ranges):
    """With a range and the rights to use it, doctor shows both, tried where the store will be."""
    done = with_ranges.repro("doctor")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "ok  subordinate IDs     uids " in done.stdout
    assert "containers: in a user namespace with subordinate IDs; images are the same as root's" in done.stdout


GROUPS = (
    BEGIN
    + """
from pathlib import Path
from repro.runtime.container import Launcher
from repro.runtime.spec import Bind, ContainerSpec, Privileges
launcher = Launcher(choice.mode)
for privileges in Privileges:
    place = Path(privileges.value)
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True)
    spec = ContainerSpec(
        lowers=(Path("image"),), upper=place / "upper", work=place / "work", argv=("sh", "-c", "cat /in; id -G"),
        env={"PATH": "/bin"}, binds=(Bind(Path("shared"), "/in"),), privileges=privileges,
    )
    launcher.run(spec, stdin=0, stdout=1, stderr=2)
"""
)


def test_steps_keep_the_callers_groups(with_ranges, place, image):
    """A step reads what only a group of the caller's may read; a build has no group that its image could tell."""
    shutil.copytree(image, place / "image", symlinks=True)
    with_ranges.give(place)
    (place / "shared").write_text("for the group\n")
    os.chown(place / "shared", 0, 50)
    (place / "shared").chmod(0o640)
    argv = with_ranges.command(with_ranges.python, "-c", GROUPS)
    argv[argv.index("--clear-groups")] = "--groups=50"
    done = subprocess.run(argv, cwd=place, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    build, step = done.stdout.split("\n", 1)
    assert "0" == build, "the file's group is none that the build has, and its owner is nobody here"
    assert "for the group\n0 65534\n" == step
    assert ["cat: /in: Permission denied"] == done.stderr.splitlines()
