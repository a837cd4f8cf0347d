"""A store on a network file system, used from two machines whose layers are their own: none breaks, none is lost.

The server is a real one (nfs-ganesha, NFS 4.2); each machine has a mount of its own (`tests.nfs_bridge`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time

import pytest

from repro.files import remove_tree
from repro.oci.leases import STALE
from repro.oci.store import Store
from tests import nfs, servers
from tests.accounts import PROJECT
from tests.build.conftest import MODE, put_base
from tests.nfs import Machine, nfs_mount, nfs_server

pytestmark = pytest.mark.skipif(bool(nfs.missing()), reason=f"not here: {nfs.missing()}; see tests/run")

BUSY = 5  # exit status: others work in the store
DOCKERFILE = """# check=skip=all
FROM base:1
ARG N
COPY many /many
RUN echo $N > /n && for i in 1 2 3 4 5; do echo $N$i > /file$i; done
"""
SLOW = "# check=skip=all\nFROM base:1\nARG N\nRUN echo $N && sleep 2 && echo slow > /slow\nRUN cat /slow\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry without a login."""
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    with servers.plain_registry(tmp_path_factory.mktemp("registry")) as served:
        yield served.host


@pytest.fixture(scope="module")
def lab(tmp_path_factory, registry):
    """A server, its store with the image ``base:1``, and two machines in folders with a Dockerfile."""
    tmp_path = tmp_path_factory.mktemp("network")
    settings = tmp_path / "registries.toml"
    settings.write_text(f'[registry."{registry}"]\ninsecure = true\n')
    env = {"REPRO_MODE": MODE.value, "PYTHONPATH": str(PROJECT), "REPRO_REGISTRIES": str(settings)}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(nfs_server(tmp_path / "nfs"))
        machines = []
        for name in ("ada", "bob"):
            stack.enter_context(nfs_mount(server, tmp_path / "mnt" / name))
            machines.append(Machine(name, tmp_path / "mnt" / name / "store", tmp_path / name, env))
            stack.callback(machines[-1].close)
            many = machines[-1].folder / "many"
            many.mkdir()
            for number in range(20):
                (many / str(number)).write_bytes(b"%d" % number * 5000)
            (machines[-1].folder / "Dockerfile").write_text(DOCKERFILE)
            (machines[-1].folder / "Slow").write_text(SLOW)
        store = Store(machines[0].store, MODE.value, machines[0].folder / "layers")
        store.tag("base:1", put_base(store))
        yield server, *machines
    remove_tree(tmp_path)


def build(turn: object, *, name: str = "work", file: str = "Dockerfile") -> tuple[str, ...]:
    """Return the arguments of a build that makes a layer of its own for each turn."""
    return ("image", "build", "-q", "-t", name, "--build-arg", f"N={turn}", "-f", file, ".")


def assert_whole(machine: Machine) -> None:
    """See that the store is good as ``machine`` sees it, and that its base can be used."""
    done = machine.finish(machine.start("store", "check", "--json"))
    assert [] == json.loads(done.stdout)["findings"], done.stderr
    assert machine.run("image", "inspect", "base:1", "--format", "{{ .Id }}").startswith("sha256:")


def await_lease(machine: Machine) -> None:
    """Wait until a command of the machine works in the store; what was left long ago is none."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for lease in (machine.store / "leases").glob("shared-*"):
            with contextlib.suppress(FileNotFoundError):  # given back meanwhile
                young = time.time() - lease.stat().st_mtime < STALE
                if young and json.loads(lease.read_bytes())["host"] == machine.name:
                    return
        time.sleep(0.05)
    pytest.fail(f"{machine.name} never came to work")


def age_leases(server: nfs.NfsServer) -> int:
    """Let all the leases that are there be of so long ago that their processes count as dead; return how many."""
    leases = list((server.export / "store" / "leases").glob("*.json"))
    for lease in leases:
        os.utime(lease, (time.time() - STALE - 1,) * 2)
    time.sleep(1.1)  # as long as a mount remembers times
    return len(leases)


def test_what_one_machine_builds_the_other_has(lab, registry):
    """It inspects, builds upon, saves and pushes the image; its own build of the same gives the same ID."""
    _, ada, bob = lab
    image_id = ada.run(*build(1))
    assert image_id == bob.run("image", "inspect", "work", "--format", "{{ .Id }}")
    (bob.folder / "Next").write_text("# check=skip=all\nFROM work\nRUN cat /n /file5 > /both\n")
    bob.run("image", "build", "-q", "-t", "next", "-f", "Next", ".")
    assert image_id == bob.run(*build(1, name="again"))
    bob.run("image", "save", "-o", "work.tar", "work")
    assert (bob.folder / "work.tar").stat().st_size > 20 * 5000
    name = f"{registry}/network/work:1"
    bob.run("image", "tag", "next", name)
    bob.run("image", "push", "-q", name)
    next_id = bob.run("image", "inspect", "next", "--format", "{{ .Id }}")
    for arguments in (("image", "rm", "-f", name, "next"), ("store", "gc", "--cache")):
        bob.run(*arguments)
    ada.run("image", "pull", "-q", name)
    assert next_id == ada.run("image", "inspect", name, "--format", "{{ .Id }}")
    for machine in (ada, bob):
        assert_whole(machine)


def test_two_machines_work_at_once(lab):
    """Builds of the same and of different images, under one name and under many: all are there, and whole."""
    _, ada, bob = lab
    running = [(one, one.start(*build(turn, name=f"n{turn}"))) for turn in (1, 2) for one in (ada, bob)]
    said = [one.finish(command) for one, command in running]
    assert [0] * 4 == [done.returncode for done in said], [done.stderr for done in said]
    ids = [done.stdout.strip() for done in said]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    for machine in (ada, bob):
        for turn in (1, 2):
            got = machine.run("image", "inspect", f"n{turn}", "--format", "{{ .Id }}")
            assert ids[2 * turn - 2] == got
        assert_whole(machine)


def test_what_a_machine_works_with_the_other_does_not_collect(lab):
    """It is told which machine works there; once that has ended the same command collects."""
    _, ada, bob = lab
    running = ada.start(*build("gc", name="slow", file="Slow"))
    await_lease(ada)
    done = bob.finish(bob.start("store", "gc", "--cache"))
    assert BUSY == done.returncode
    assert "on ada" in done.stderr
    built = ada.finish(running)
    assert 0 == built.returncode, built.stderr
    bob.run("store", "gc", "--cache")
    assert built.stdout.strip() == bob.run("image", "inspect", "slow", "--format", "{{ .Id }}")
    assert_whole(bob)


def kills(lab, registry: str, count: int, seed: int, file: str = "Dockerfile") -> int:
    """Kill commands of one machine; each time the other finds the store whole, and both go on. Return how many."""
    server, ada, bob = lab
    chance = random.Random(seed)
    name = f"{registry}/network/kills:{seed}"
    ada.run(*build("pulled", name=name))
    ada.run("image", "push", "-q", name)
    killed = 0
    for turn in range(count):
        if turn % 3 == 1:
            ada.run("image", "rm", "-f", name)
            ada.run("store", "gc", "--cache")
        command = (build(turn, file=file), ("image", "pull", "-q", name), ("store", "gc", "--cache"))[turn % 3]
        running = ada.start(*command)
        time.sleep(chance.uniform(0.2, 1.6))
        killed += ada.kill(running)
        age_leases(server)  # else only ada knows at once that the process is dead, and bob waits for a dead gc
        assert_whole(bob)
        for machine in (bob, ada):
            machine.run(*command)
            assert_whole(machine)
    return killed


def test_a_kill_on_one_machine_harms_neither(lab, registry):
    """A build that is surely not at its end yet."""
    assert kills(lab, registry, 1, 5, "Slow") == 1


@pytest.mark.judge
@pytest.mark.timeout(3600)
def test_many_kills_on_one_machine_harm_neither(lab, registry):
    """At other moments each time; REPRO_KILLS sets another number, REPRO_SEED repeats one campaign."""
    seed = int(os.environ.get("REPRO_SEED") or time.time_ns() % 2**32)
    count = int(os.environ.get("REPRO_KILLS") or 60)
    assert kills(lab, registry, count, seed) > count // 4, f"seed {seed}"


def test_the_dead_of_another_machine_are_waited_for(lab):
    """Nobody there can see that a process is dead: a quarter of an hour after its last sign of life it counts so."""
    server, ada, bob = lab
    running = ada.start(*build("dead", file="Slow"))
    await_lease(ada)
    assert ada.kill(running)
    assert BUSY == bob.finish(bob.start("store", "gc")).returncode
    assert age_leases(server) == 1
    bob.run("store", "gc")
    assert age_leases(server) == 0
    ada.run(*build(1))


def test_a_mount_that_is_lost_is_told_of(lab, tmp_path):
    """The mount goes under a running build: an error with the file, no traceback; elsewhere all goes on."""
    server, ada, bob = lab
    with nfs_mount(server, tmp_path / "mnt") as mount:
        eve = Machine("eve", tmp_path / "mnt/store", tmp_path / "eve", {"PYTHONPATH": str(PROJECT)})
        try:
            (eve.folder / "Slow").write_text(SLOW)
            running = eve.start(*build("lost", file="Slow"))
            await_lease(eve)
            mount.kill()
            done = eve.finish(running)
        finally:
            eve.close()
    assert 0 < done.returncode < 125
    assert "Traceback" not in done.stderr
    assert "not connected" in done.stderr or "aborted" in done.stderr, done.stderr
    age_leases(server)
    for machine in (ada, bob):
        machine.run(*build("lost", file="Slow"))
    assert_whole(bob)


@pytest.mark.judge
def test_a_server_that_starts_again_harms_nothing(lab):
    """Killed under a build on one machine: that ends well or says why, and afterwards all is whole on both."""
    server, ada, bob = lab
    running = ada.start(*build("again", file="Slow"))
    await_lease(ada)
    server.kill()
    server.start()
    done = ada.finish(running)
    assert "Traceback" not in done.stderr
    assert 0 == done.returncode or "error" in done.stderr
    for machine in (bob, ada):
        machine.run(*build("again", file="Slow"))
        assert_whole(machine)
