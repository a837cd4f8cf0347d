"""A cache of data whose disk is full, that several use at once, and whose users are killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time

import pytest

from repro.digest import Digest
from tests.faults.data_lab import MIB, some_bytes

MANY = {f"folder {number % 3}/{number}.bin": some_bytes(MIB // 4, f"many {number}") for number in range(24)}
ONE = some_bytes(6 * MIB, "one")


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a file system of so many mebibytes on a folder, or changes its size."""
    mounted = []

    def mount(folder, mebibytes):
        options = f"size={int(mebibytes * MIB)}" + (",remount" if folder in mounted else "")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "repro-test", folder]
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
        if folder not in mounted:
            mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def work(servers_of_data, machines, tmp_path):
    """A function that puts a file and a folder at a server, and declares them: gives the server, and a machine."""

    def work(kind, *, timeout=20):
        server = servers_of_data[kind]
        for name, data in {"one": ONE, **{f"many/{name}": data for name, data in MANY.items()}}.items():
            server.server.put(f"{tmp_path.name}/{name}", data)
        desk = machines(tmp_path / "machine", server.settings, timeout=timeout)
        root = f"{server.root}{tmp_path.name}"
        desk.declare({"one": f"{root}/one", "many/": f"{root}/many/"})
        return server, desk

    return work


def right(desk):
    """See that both inputs are here, whole."""
    assert desk.place("one").read_bytes() == ONE
    place = desk.place("many/")
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert found == MANY
    assert desk.wrong() == []
    assert desk.parts() == 0


# ---- a full disk


@pytest.mark.parametrize("kind", ["http", pytest.param("s3", marks=pytest.mark.judge)])
@pytest.mark.parametrize("command", [("lock",), ("data", "get", "one")], ids=["lock", "get"])
def test_a_full_cache_is_told_and_what_came_is_kept(work, disk, kind, command):
    """With room the same command goes on from there."""
    server, desk = work(kind)
    if command != ("lock",):
        desk.works("lock")
        desk.forget()
    disk(desk.cache, 4)
    desk.refused(5, "is full: No space left on device", str(desk.cache), command=command)
    assert list(desk.cache.glob("trees/[!.]*")) == []
    kept, before = desk.parts(), server.wire.passed["down"]
    assert kept > MIB
    disk(desk.cache, 40)
    desk.works(*command)
    more = sum(map(len, MANY.values())) if command == ("lock",) else 0
    assert server.wire.passed["down"] - before < len(ONE) - kept + more + MIB
    right(desk)


@pytest.mark.parametrize("path", ["one", "many/"])
def test_a_copy_for_which_there_is_no_room(work, disk, path):
    """Nothing is seen of it; with room it is there as a whole."""
    _, desk = work("http")
    desk.works("lock")
    shelf = desk.project / "shelf"
    disk(shelf, 3)
    desk.refused(5, "shelf", "No space left on device", command=("data", "get", path, "--to", "shelf"))
    assert [name for name in os.listdir(shelf) if not name.startswith(".")] == []
    disk(shelf, 20)
    desk.works("data", "get", path, "--to", "shelf")
    if path == "one":
        assert (shelf / path).read_bytes() == ONE
    else:
        assert {name: (shelf / path / name).read_bytes() for name in MANY} == MANY
    assert [name for name in os.listdir(shelf) if name.startswith(".")] == []


def test_a_lock_for_which_there_is_no_room(work, disk):
    """The lock file is as it was; what came is in the cache, and does not come twice."""
    server, desk = work("http")
    text = (desk.project / "workflow.yaml").read_bytes()
    disk(desk.project, 1)
    (desk.project / "workflow.yaml").write_bytes(text)
    filler = desk.project / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    done = desk.run("lock")
    assert done.status in (5, 74), done.error
    assert "No space left on device" in done.error
    assert "fix: " in done.error
    assert desk.locked("one") is None
    filler.unlink()
    before = server.wire.passed["down"]
    desk.works("lock")
    assert server.wire.passed["down"] - before < len(ONE) + MIB // 2 + sum(map(len, MANY.values()))
    right(desk)


# ---- several at once


def test_two_that_want_the_same_bytes_fetch_them_once(work):
    """The second waits for the first, and both have them."""
    server, desk = work("http")
    desk.works("lock")
    desk.forget()
    before = server.wire.passed["down"]
    running = [desk.start("data", "get") for _ in range(2)]
    assert [0, 0] == [desk.judged(one.end()).status for one in running]
    assert server.wire.passed["down"] - before < (len(ONE) + sum(map(len, MANY.values()))) * 1.1
    right(desk)


def test_nothing_is_removed_under_the_hands_of_a_download(work):
    """`repro data gc` says who is at work; afterwards it does what it should, and all can be had again."""
    server, desk = work("http")
    desk.works("lock")
    desk.forget()
    server.wire.pause = 0.02
    begun = threading.Event()
    server.wire.at("down", MIB, begun.set)
    getting = desk.start("data", "get")
    assert begun.wait(20)
    desk.refused(5, "is in use", command=("data", "gc", "--limit", "0"))
    assert 0 == desk.judged(getting.end()).status
    server.wire.honest()
    right(desk)
    desk.works("data", "gc", "--limit", "0")
    assert list(desk.cache.glob("sha256/*/*")) == []
    right(desk)


@pytest.mark.judge
def test_a_run_whose_data_cannot_be_had(work):
    """Fails before the job, with the reason; it runs once the server is back."""
    server, desk = work("http", timeout=2)
    text = (desk.project / "workflow.yaml").read_text()
    text = text.replace("outputs: {o: out}", "outputs: {o: out}").replace(
        'run: "true"', 'run: "cat one many/*/* | wc -c > out"'
    )
    (desk.project / "workflow.yaml").write_text(text)
    desk.works("lock")
    desk.forget()
    server.die()
    done = desk.run("run")
    assert done.status in (1, 4), done.error
    assert "cannot connect to" in done.error or "broke" in done.error
    assert not (desk.project / "out").exists()
    server.rise()
    desk.works("run")
    assert int((desk.project / "out").read_text()) == len(ONE) + sum(map(len, MANY.values()))
    server.server.put(f"{desk.project.parent.parent.name}/one", some_bytes(len(ONE), "other"))
    desk.forget()
    (desk.project / "out").unlink()
    (desk.project / "workflow.yaml").write_text(text.replace("> out", "> out # again"))
    done = desk.run("run")
    assert done.status in (1, 4), done.error
    for words in ("one is not what was locked", str(Digest.of(ONE)), "repro lock --upgrade one"):
        assert words in done.error
    assert not (desk.project / "out").exists()


# ---- kills

KILLS = [3, pytest.param(10, marks=pytest.mark.judge)]


def kill_each(desk, command, count, again, *, before=lambda: None):
    """Kill a command ``count`` times; after each nothing is wrong, and ``again`` is all there is.

    The moments are random, each in its own part of the time that the command takes. ``before`` makes ready for it;
    a command that is killed after its end counts, too, but not all may be.
    """
    moments = random.Random(f"{command} {count}")
    before()
    took = desk.works(*command).seconds
    alive = 0
    for number in range(count):
        before()
        running = desk.start(*command)
        time.sleep((number + moments.random()) / count * took)
        alive += running.kill()
        assert desk.wrong() == []
        desk.works(*command)
        again()
    assert alive * 2 >= count


@pytest.mark.judge
@pytest.mark.parametrize("count", [10])
def test_a_lock_that_is_killed(work, count):
    """The lock file is whole, the cache is right, and the same command has all."""
    server, desk = work("http")
    server.wire.pause = 0.005
    lock = desk.project / "workflow.lock"

    def before():
        desk.forget()
        lock.unlink(missing_ok=True)

    def again():
        assert {"one", "many/"} <= json.loads(lock.read_text())["inputs"].keys()
        right(desk)

    kill_each(desk, ("lock",), count, again, before=before)


@pytest.mark.parametrize("count", KILLS)
@pytest.mark.parametrize("kind", ["http", *(pytest.param(k, marks=pytest.mark.judge) for k in ("s3", "nfs", "smb"))])
def test_a_download_that_is_killed(work, kind, count):
    """What it brought is gone on from; a copy that it made is whole or not there."""
    server, desk = work(kind)
    desk.works("lock")
    server.wire.pause = 0.005
    shelf = desk.project / "shelf"

    def before():
        desk.forget()
        subprocess.run(["rm", "-rf", shelf], check=True)

    def again():
        assert (shelf / "one").read_bytes() == ONE
        assert {name: (shelf / "many" / name).read_bytes() for name in MANY} == MANY
        assert sorted(os.listdir(shelf)) == ["many", "one"]
        right(desk)

    kill_each(desk, ("data", "get", "--to", "shelf"), count, again, before=before)


@pytest.mark.parametrize("count", KILLS)
def test_a_removal_that_is_killed(work, count):
    """No tree is half there under its name, and what is gone comes again."""
    _, desk = work("http")
    desk.works("lock")
    kill_each(desk, ("data", "gc", "--limit", "2MB"), count, lambda: None, before=lambda: right(desk))
    right(desk)
