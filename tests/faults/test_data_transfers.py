"""Inputs from servers that die, lie, lag and are silent: recovery or a clear error, and never a wrong byte."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest

from repro.digest import Digest
from tests.faults.data_lab import MIB, Desk, Wired, some_bytes, some_of
from tests.faults.warm import Done

KINDS = ("http", "nfs", "s3", "sftp", "smb")
SIZE = 10 * MIB


@pytest.fixture
def work(servers_of_data, machines, tmp_path):
    """A function that puts bytes at a server, and declares them as the input ``one``: gives the server, a machine."""

    def work(kind: str, data: bytes, *, timeout: float = 2) -> tuple[Wired, Desk]:
        server = servers_of_data[kind]
        area = f"{tmp_path.name}/{kind}"
        server.server.put(f"{area}/one", data)
        desk = machines(tmp_path / kind, server.settings, timeout=timeout)
        desk.declare({"one": f"{server.root}{area}/one"})
        desk.name = f"{area}/one"
        return server, desk

    return work


def has(desk, data):
    """See that an input is here with these bytes, and locked as such; nothing is left of broken downloads."""
    assert desk.place().read_bytes() == data
    assert desk.locked()["digest"] == str(Digest.of(data))
    assert desk.parts() == 0


def once(kind):
    """Return how many bytes may pass where a transfer broke after three quarters, and went on from there.

    S3 has several ranges under way at a time, each of which breaks.
    """
    return SIZE * (2 if kind == "s3" else 1.5)


def nothing_locked(desk):
    """See that nothing is locked, and that the cache has no whole file."""
    assert desk.locked() is None
    assert list(desk.cache.glob("sha256/*/*")) == []


# ---- one after the other


@pytest.mark.parametrize("kind", some_of(KINDS, "s3", "sftp"))
def test_a_server_that_dies_and_comes_back_is_waited_for(kind, work):
    """In the middle of `repro lock`; what had come is not read again."""
    data = some_bytes(SIZE, kind)
    server, desk = work(kind, data, timeout=6)
    before = server.wire.passed["down"]
    server.wire.at("down", SIZE * 3 // 4, server.die_and_rise)
    desk.works("lock")
    assert server.wire.passed["down"] - before < once(kind)
    has(desk, data)


@pytest.mark.parametrize("kind", KINDS)
def test_other_bytes_of_the_same_length_are_drift(kind, work):
    """Refused with what was locked, what is there now and the way on; accepted they are what is locked."""
    data, other = some_bytes(MIB, "locked"), some_bytes(MIB, "other")
    server, desk = work(kind, data)
    desk.works("lock")
    server.server.put(desk.name, other)
    desk.forget()
    old, new = str(Digest.of(data)), str(Digest.of(other))
    desk.refused(4, "one is not what was locked", old, new, "repro lock --upgrade one")
    assert desk.locked()["digest"] == old
    assert list(desk.cache.glob("sha256/*/*")) == []
    assert f"{old} -> {new}" in desk.works("lock", "--upgrade", "one", "workflow.yaml").out
    has(desk, other)


@pytest.mark.parametrize("kind", ["http", "sftp"])
def test_a_file_written_twice_in_a_second_is_not_missed(kind, work):
    """Size and time are as they were when it was locked, and say nothing: it had just been written."""
    data, other = some_bytes(MIB, "first"), some_bytes(MIB, "second")
    server, desk = work(kind, data)
    place = server.server.data / desk.name
    now = int(time.time())
    os.utime(place, (now, now))
    desk.works("lock")
    has(desk, data)
    place.write_bytes(other)
    os.utime(place, (now, now))
    assert f"{Digest.of(data)} -> {Digest.of(other)}" in desk.works("lock", "--upgrade", "one", "workflow.yaml").out
    has(desk, other)


@pytest.mark.parametrize("kind", some_of(KINDS, "http", "nfs"))
def test_what_changes_while_it_is_locked_is_not_mixed(kind, work):
    """Half of the one and half of the other is neither: an error; the next attempt has what is there then.

    S3 may give all of what was asked for, for an object is never written in place.
    """
    data, other = some_bytes(SIZE, "before"), some_bytes(SIZE, "after")
    server, desk = work(kind, data, timeout=20)
    server.wire.pause = 0.005  # so that the second half is not on its way already
    server.wire.at("down", SIZE // 4, lambda: server.server.put(desk.name, other))
    done = desk.run("lock")
    server.wire.honest()
    if kind == "s3" and done.status == 0:
        has(desk, data)
    else:
        desk.failed(done, 4, "one", "wait until nothing")
        nothing_locked(desk)
    desk.works("lock", "--upgrade", "one", "workflow.yaml")
    has(desk, other)


@pytest.mark.parametrize("kind", some_of(KINDS, "http", "smb"))
def test_a_bit_that_is_changed_on_the_way_is_noticed(kind, work):
    """By the protocol where it seals what it sends, else by the digest; nothing wrong is kept."""
    data = some_bytes(SIZE, "sealed")
    server, desk = work(kind, data)
    desk.works("lock")
    desk.forget()
    server.wire.garble("down")
    done = desk.run("data", "get")
    if kind in ("sftp", "smb"):
        assert done.status == 0, done.error
    else:
        desk.failed(done, 4, "one is not what was locked", str(Digest.of(data)))
        assert list(desk.cache.glob("sha256/*/*")) == []
    has(desk, data)


# ---- all protocols at once: what takes its time


@dataclass
class Outcome:
    """What became of a download: how it ended, how many bytes had come, what was in the cache."""

    server: Wired
    desk: Desk
    done: Done
    passed: int
    parts: int


def at_once(servers, machines, folder, size, act, *, timeout=2.0):
    """Fetch from all servers at the same time, each of which ``act`` makes fail; return how each went."""
    under_way = {}
    for kind in filter(servers.has, KINDS):
        server = servers[kind]
        data = some_bytes(size, kind)
        server.server.put(f"{folder.name}/{kind}", data)
        desk = machines(folder / kind, server.settings, timeout=timeout)
        desk.declare({"one": f"{server.root}{folder.name}/{kind}"})
        desk.works("lock")
        desk.forget()
        under_way[kind] = server, desk, server.wire.passed["down"]
    for server, _, _ in under_way.values():
        act(server)
    running = {kind: desk.start("data", "get") for kind, (_, desk, _) in under_way.items()}
    outcomes = {}
    for kind, (server, desk, before) in under_way.items():
        done = desk.judged(running[kind].end())
        outcomes[kind] = Outcome(server, desk, done, server.wire.passed["down"] - before, desk.parts())
    return outcomes


def of_kind(outcomes, kind):
    """Return how it went for a protocol."""
    if kind not in outcomes:
        pytest.skip(f"the server for {kind} is not here: see tests/run")
    return outcomes[kind]


def completes(outcome, kind, size):
    """Fetch again from the server, alive and honest: what had come is not fetched again."""
    outcome.server.rise()
    outcome.server.wire.honest()
    before = outcome.server.wire.passed["down"]
    has(outcome.desk, some_bytes(size, kind))
    assert outcome.server.wire.passed["down"] - before < size - outcome.parts + MIB // 2


@pytest.fixture(scope="module")
def killed(servers_of_data, machines, tmp_path_factory):
    """Downloads whose servers die in the middle, and stay dead."""
    folder = tmp_path_factory.mktemp("killed")
    return at_once(
        servers_of_data, machines, folder, SIZE, lambda server: server.wire.at("down", SIZE // 2, server.die)
    )


@pytest.mark.judge
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_stays_dead_is_told_and_gone_on_from(killed, kind):
    """It ends by itself, keeps what had come, and completes that once the server is back."""
    outcome = of_kind(killed, kind)
    Desk.failed(outcome.done, 4, "one", "tried 5 times", "everything fetched is kept")
    assert outcome.parts > MIB
    completes(outcome, kind, SIZE)


@pytest.fixture(scope="module")
def slow(servers_of_data, machines, tmp_path_factory):
    """Downloads that take far longer than a server may be silent."""
    folder = tmp_path_factory.mktemp("slow")
    return at_once(servers_of_data, machines, folder, 2 * MIB, lambda server: setattr(server.wire, "pause", 0.15))


@pytest.mark.judge
@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_server_is_as_good_as_any(slow, kind):
    """As long as bytes come, they are taken; hardly any of them twice."""
    outcome = of_kind(slow, kind)
    assert outcome.done.status == 0, outcome.done.error
    assert outcome.done.seconds > 4
    assert outcome.passed < 3.2 * MIB  # the first piece of a share is as large as a fast line has them
    outcome.server.wire.honest()
    has(outcome.desk, some_bytes(2 * MIB, kind))


@pytest.fixture(scope="module")
def hanging(servers_of_data, machines, tmp_path_factory):
    """Downloads over connections that say nothing any more from the middle on; new ones do."""
    folder = tmp_path_factory.mktemp("hanging")
    return at_once(
        servers_of_data,
        machines,
        folder,
        SIZE,
        lambda server: server.wire.at("down", SIZE * 3 // 4, server.wire.silence),
    )


@pytest.mark.judge
@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_hangs_is_left_for_another(hanging, kind):
    """After the silence that is borne, and not much later; what had come is kept."""
    outcome = of_kind(hanging, kind)
    assert outcome.done.status == 0, outcome.done.error
    assert 1.5 < outcome.done.seconds < 15
    assert outcome.passed < once(kind)
    has(outcome.desk, some_bytes(SIZE, kind))


@pytest.fixture(scope="module")
def silent(servers_of_data, machines, tmp_path_factory):
    """Downloads from servers that take connections and say nothing from the middle on."""
    folder = tmp_path_factory.mktemp("silent")
    return at_once(
        servers_of_data,
        machines,
        folder,
        SIZE,
        lambda server: server.wire.at("down", SIZE // 2, lambda: setattr(server.wire, "deaf", True)),
    )


@pytest.mark.judge
@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_server_is_not_waited_for_without_end(silent, kind):
    """Each attempt takes as long as silence is borne; the error says what to do, and what had come is kept."""
    outcome = of_kind(silent, kind)
    Desk.failed(outcome.done, 4, "one", "tried 5 times", "everything fetched is kept")
    assert outcome.done.seconds < 45
    completes(outcome, kind, SIZE)


# ---- folders


@pytest.mark.parametrize("kind", some_of(KINDS, "s3"))
def test_a_folder_that_changes_while_it_is_locked(kind, servers_of_data, machines, tmp_path):
    """A file that goes meanwhile is an error which names it; what is locked then is what there is, as a whole."""
    server = servers_of_data[kind]
    files = {f"{number}.bin": some_bytes(MIB, f"{kind} {number}") for number in range(12)}
    area = f"{tmp_path.name}/{kind}"
    for name, data in files.items():
        server.server.put(f"{area}/{name}", data)
    desk = machines(tmp_path, server.settings, timeout=20)
    desk.declare({"many/": f"{server.root}{area}/"})
    server.wire.pause = 0.002
    server.wire.at("down", MIB, lambda: server.server.remove(f"{area}/9.bin"))
    desk.refused(4, "9.bin", command=("lock",))
    assert desk.locked("many/") is None
    server.wire.honest()
    began = time.monotonic()
    desk.works("lock")
    del files["9.bin"]
    assert {file["name"]: file["sha256"] for file in desk.locked("many/")["files"]} == {
        name: Digest.of(data).hex for name, data in files.items()
    }
    assert time.monotonic() - began < 20
    server.server.put(f"{area}/3.bin", some_bytes(MIB, "other"))
    desk.forget()
    desk.refused(4, "many/ is not what was locked", "3.bin", "repro lock --upgrade many/")
    assert list(desk.cache.glob("trees/[!.]*")) == []
    desk.works("lock", "--upgrade", "many/", "workflow.yaml")
    place = desk.place("many/")
    assert (place / "3.bin").read_bytes() == some_bytes(MIB, "other")
    assert sorted(path.name for path in place.iterdir()) == sorted(files)
