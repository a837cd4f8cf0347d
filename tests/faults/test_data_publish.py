"""Results on their way to servers that die, refuse, fill up and are used by others: all are seen, or none."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from dataclasses import dataclass

import pytest

from repro.data.publication import MANIFEST
from repro.data.sums_text import list_text
from repro.digest import Digest
from tests.data.served.s3 import READER
from tests.data.served.sftp import SftpServer
from tests.faults.data_lab import MIB, Desk, Wired, some_bytes, some_of
from tests.faults.warm import Done

FAR = ("nfs", "s3", "sftp", "smb")
KINDS = ("folder", *FAR)
SIZE = 20 * MIB  # several parts of an upload
FILES = {
    "large.bin": some_bytes(SIZE, "large"),
    "sub/small.txt": b"small\n" * 1000,
    **{f"sub/{number}.bin": some_bytes(MIB // 8, f"published {number}") for number in range(6)},
}
EXPECTED = {**FILES, MANIFEST: list_text({name: Digest.of(data) for name, data in FILES.items()})}
KILLS = [1, pytest.param(10, marks=pytest.mark.judge)]


@dataclass
class Shelf:
    """A folder of a server that ``desk`` publishes to; ``area`` is its name there."""

    server: Wired
    desk: Desk
    area: str

    @property
    def put(self) -> tuple[str, ...]:
        """The command that publishes."""
        return "data", "put", "made", f"{self.server.root}{self.area}/"

    def has_all(self):
        """See that all files are there with their list, and nothing else is, seen or unseen."""
        assert EXPECTED == self.server.seen(self.area)
        assert [] == self.server.unseen(self.area)

    def has_none(self):
        """See that nobody sees anything."""
        assert {} == self.server.seen(self.area)


def shelf_at(servers, machines, folder, kind, *, timeout=20.0):
    """Return a shelf of a server, and a machine with the files to publish in ``made``."""
    server = servers[kind]
    desk = machines(folder / kind, server.settings, timeout=timeout)
    for name, data in FILES.items():
        (desk.project / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.project / "made" / name).write_bytes(data)
    return Shelf(server, desk, f"{folder.name}-{kind}")


@pytest.fixture
def shelf(servers_of_data, machines, tmp_path):
    """A function that gives a shelf of a server."""
    return lambda kind, **more: shelf_at(servers_of_data, machines, tmp_path, kind, **more)


# ---- one after the other


@pytest.mark.parametrize("kind", some_of(FAR, "s3", "smb"))
def test_a_server_that_dies_and_comes_back_is_waited_for(shelf, kind):
    """What it has is not sent again."""
    one = shelf(kind, timeout=6)
    before = one.server.wire.passed["up"]
    one.server.wire.at("up", SIZE * 3 // 4, one.server.die_and_rise)
    one.desk.works(*one.put)
    assert one.server.wire.passed["up"] - before < SIZE * (2 if kind == "s3" else 1.6)  # parts that were under way
    one.has_all()


@pytest.mark.parametrize("kind", some_of(("s3", "sftp", "smb"), "s3"))
def test_a_bit_that_is_changed_on_the_way_is_noticed(shelf, kind):
    """By the checksum that S3 is sent along, by the seal of the others; it is sent again."""
    one = shelf(kind)
    one.server.wire.at("up", SIZE // 4, lambda: one.server.wire.garble("up"))
    one.desk.works(*one.put)
    one.has_all()


@pytest.mark.judge
def test_a_server_that_gets_other_bytes_each_time_is_given_up(shelf):
    """Nothing of it is seen; on a good line all comes."""
    one = shelf("s3")
    one.server.wire.at("up", MIB, lambda: [one.server.wire.garble("up") for _ in range(10_000)])
    one.desk.refused(4, "s3://data/", command=one.put)
    one.has_none()
    one.server.wire.honest()
    one.desk.works(*one.put)
    one.has_all()


@pytest.mark.parametrize("kind", some_of(KINDS, "s3", "sftp"))
def test_what_somebody_else_puts_there_meanwhile_stays(shelf, kind):
    """Both cannot be right: it is told, ours is taken back, and theirs is as it was."""
    one = shelf(kind)
    name = f"{one.area}/sub/small.txt"
    if kind == "folder":
        one.server.server.put(name, b"theirs")
    else:
        one.server.wire.at("up", SIZE // 2, lambda: one.server.server.put(name, b"theirs"))
    one.desk.refused(4, "already", name, command=one.put)
    assert {"sub/small.txt": b"theirs"} == one.server.seen(one.area)
    one.server.server.remove(name)
    one.desk.works(*one.put)
    one.has_all()


@pytest.mark.parametrize("kind", some_of(FAR, "sftp"))
def test_a_file_that_changes_here_while_it_is_sent(shelf, kind):
    """Is not what was to be published: nothing is seen; as it is then, it can be."""
    one = shelf(kind)
    made = one.desk.project / "made/large.bin"
    one.server.wire.at("up", SIZE // 4, lambda: made.write_bytes(b"other" + FILES["large.bin"][5:]))
    one.server.wire.pause = 0.002
    done = one.desk.run(*one.put)
    if done.status:
        one.desk.failed(done, 4, "large.bin")
        one.has_none()
        made.write_bytes(FILES["large.bin"])
        one.server.wire.honest()
        one.desk.works(*one.put)
    one.has_all()


# ---- refused


def test_a_reader_may_not_publish(shelf):
    """S3 says so before anything is sent, or after; nothing is seen, and who may does it."""
    one = shelf("s3")
    reader = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True))
    one.desk.refused(4, "access was denied", f"s3://data/{one.area}/", command=one.put, **reader)
    one.desk.refused(4, "the login is not accepted", command=one.put, AWS_SECRET_ACCESS_KEY="topsecret")
    one.has_none()
    one.desk.works(*one.put)
    one.has_all()


@pytest.mark.parametrize("kind", some_of(("nfs", "smb"), "nfs"))
def test_a_share_that_is_only_read_from(shelf, kind):
    """Its server refuses; the same folder in another share takes all."""
    one = shelf(kind)
    read_only = one.server.through(one.server.server.read_only)
    one.desk.refused(4, read_only, command=(*one.put[:3], f"{read_only}{one.area}/"))
    one.has_none()
    one.desk.works(*one.put)
    one.has_all()


def test_an_ssh_server_that_is_only_read_from(machines, tmp_path, servers_of_data):
    """It says no more than that it is not permitted."""
    one = shelf_at(servers_of_data, machines, tmp_path, "sftp")
    server = SftpServer(tmp_path / "read-only", options="-R")
    server.start()
    try:
        shutil.copytree(server.ssh, tmp_path / "home/.ssh")
        address = f"{server.root}{one.area}/"
        one.desk.refused(4, server.host, command=(*one.put[:3], address), HOME=str(server.home))
        assert [] == server.names()
    finally:
        server.stop()


# ---- a full disk


@pytest.mark.parametrize("kind", some_of(("folder", "sftp", "smb"), "folder"))
def test_a_target_without_room(shelf, kind):
    """Nothing is seen there; with room all comes."""
    one = shelf(kind)
    folder = one.server.server.data / one.area
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "mode=1777,size=8m", "repro-test", folder]
    made = subprocess.run(options, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        done = one.desk.run(*one.put)
        assert done.status in (4, 5), done.error
        assert [] == [words for words in ("room", "why: ", "fix: ") if words not in done.error], done.error
        one.has_none()
        subprocess.run(["mount", "-o", "remount,size=80m", folder], check=True)
        one.desk.works(*one.put)
        one.has_all()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# ---- all protocols at once: what takes its time


@dataclass
class Outcome:
    """How a publication went, and how many bytes had gone up."""

    shelf: Shelf
    done: Done
    passed: int


def at_once(servers, machines, folder, act, *, timeout=2.0):
    """Publish to all servers at the same time, each of which ``act`` makes fail; return how each went."""
    shelves = {kind: shelf_at(servers, machines, folder, kind, timeout=timeout) for kind in filter(servers.has, FAR)}
    before = {kind: one.server.wire.passed["up"] for kind, one in shelves.items()}
    for one in shelves.values():
        act(one.server)
    running = {kind: one.desk.start(*one.put) for kind, one in shelves.items()}
    ended = {kind: one.desk.judged(running[kind].end()) for kind, one in shelves.items()}
    return {
        kind: Outcome(one, ended[kind], one.server.wire.passed["up"] - before[kind]) for kind, one in shelves.items()
    }


def of_kind(outcomes, kind):
    """Return how it went for a protocol."""
    if kind not in outcomes:
        pytest.skip(f"the server for {kind} is not here: see tests/run")
    return outcomes[kind]


@pytest.fixture(scope="module")
def killed(servers_of_data, machines, tmp_path_factory):
    """Publications whose servers die in the middle, and stay dead."""
    folder = tmp_path_factory.mktemp("killed")
    return at_once(servers_of_data, machines, folder, lambda server: server.wire.at("up", SIZE * 3 // 4, server.die))


@pytest.mark.judge
@pytest.mark.parametrize("kind", FAR)
def test_a_server_that_stays_dead_is_told_and_gone_on_from(killed, kind):
    """Nobody sees anything of it; once the server is back, what it has is not sent again."""
    outcome = of_kind(killed, kind)
    one = outcome.shelf
    one.desk.failed(outcome.done, 4, "cannot be reached", one.area, "publish again", "what was sent is kept")
    one.server.rise()
    one.server.wire.honest()
    one.has_none()
    before = one.server.wire.passed["up"]
    one.desk.works(*one.put)
    # Of S3 all parts may have been under way, and none there.
    assert one.server.wire.passed["up"] - before < SIZE * (1.1 if kind == "s3" else 0.9)
    one.has_all()


@pytest.fixture(scope="module")
def slow(servers_of_data, machines, tmp_path_factory):
    """Publications that take far longer than a server may be silent."""
    folder = tmp_path_factory.mktemp("slow")
    return at_once(servers_of_data, machines, folder, lambda server: setattr(server.wire, "pause", 0.05))


@pytest.mark.judge
@pytest.mark.parametrize("kind", FAR)
def test_a_slow_server_is_as_good_as_any(slow, kind):
    """As long as bytes go, they are sent."""
    outcome = of_kind(slow, kind)
    assert outcome.done.status == 0, outcome.done.error
    outcome.shelf.server.wire.honest()
    outcome.shelf.has_all()


@pytest.fixture(scope="module")
def hanging(servers_of_data, machines, tmp_path_factory):
    """Publications over connections that hang from the middle on; new ones do not."""
    folder = tmp_path_factory.mktemp("hanging")
    return at_once(
        servers_of_data, machines, folder, lambda server: server.wire.at("up", SIZE * 3 // 4, server.wire.silence)
    )


@pytest.mark.judge
@pytest.mark.parametrize("kind", FAR)
def test_a_connection_that_hangs_is_left_for_another(hanging, kind):
    """After the silence that is borne."""
    outcome = of_kind(hanging, kind)
    assert outcome.done.status == 0, outcome.done.error
    assert outcome.done.seconds < 25
    outcome.shelf.has_all()


# ---- kills


@pytest.mark.parametrize("count", KILLS)
@pytest.mark.parametrize("kind", some_of(KINDS, "folder", "sftp"))
def test_a_put_that_is_killed(shelf, kind, count):
    """Nobody takes what is seen for whole, and the same command completes it; nothing foreign is left."""
    moments = random.Random(f"{kind} {count}")
    one = shelf(kind)
    one.server.wire.pause = 0.002
    took = one.desk.works(*one.put).seconds
    alive = 0
    for turn in range(count):
        one.area = f"{one.desk.project.parent.parent.name}-{kind}-{turn}"
        running = one.desk.start(*one.put)
        time.sleep(moments.uniform(0.2, 0.9) * took)
        alive += running.kill()
        seen = one.server.seen(one.area)
        assert [name for name, data in seen.items() if EXPECTED[name] != data] == []
        assert MANIFEST not in seen or seen == EXPECTED
        one.desk.works(*one.put)
        one.has_all()
    assert alive * 3 >= count - 1


# ---- results of a run


@pytest.mark.judge
def test_of_two_targets_one_of_which_is_dead_none_gets_anything(servers_of_data, machines, tmp_path):
    """`repro publish` brings all to both, or nothing to either; killed, it goes on."""
    s3, sftp = servers_of_data["s3"], servers_of_data["sftp"]
    desk = machines(tmp_path, {**sftp.settings, **s3.settings, "HOME": sftp.settings["HOME"]}, timeout=1)
    area = tmp_path.name
    desk.declare({})
    (desk.project / "workflow.yaml").write_text(
        "repro: 1\nenvironments: {any: {image: base}}\nsteps:\n"
        '  any: {environment: any, outputs: {o: out.txt, p: more/}, run: "echo one > out.txt; mkdir more; '
        'cat /usr/bin/* > more/large; echo two > more/small"}\n'
        f"publish:\n  out.txt: s3://data/{area}/out.txt\n  more/: {sftp.root}{area}/\n"
    )
    desk.works("run")
    made = {path.name: path.read_bytes() for path in (desk.project / "more").iterdir()}
    sftp.wire.at("up", MIB // 4, sftp.die)
    desk.refused(4, "cannot be reached", area, command=("publish",))
    assert {} == s3.seen(area)
    sftp.rise()
    sftp.wire.honest()
    assert {} == sftp.seen(area)
    sftp.wire.pause = 0.02
    running = desk.start("publish")
    time.sleep(0.6)
    running.kill()
    sftp.wire.honest()
    desk.works("publish")
    assert {"out.txt": b"one\n"} == s3.seen(area)
    listed = list_text({name: Digest.of(data) for name, data in made.items()})
    assert {**made, MANIFEST: listed} == sftp.seen(area)
    assert [] == sftp.unseen(area) + s3.unseen(area)
    assert {"there"} == {file["state"] for file in json.loads(desk.works("publish", "--json").out)}
