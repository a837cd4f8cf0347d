"""SFTP against OpenSSH: who the server is, who the caller is, and a connection that ends."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from repro.data.answers import Broken, NotThereError
from repro.data.sources.known_hosts import HostKey, check_host_key, kinds_known, read_known_hosts
from repro.data.sources.model import ChangedError, DeniedError, ExistsError, Reach
from repro.data.sources.opening import open_source
from repro.digest import Digest
from repro.errors import FetchError, UsageError
from repro.names import DataUri
from repro.workflow.model import Access
from tests.data.served.sftp import SftpServer, below, missing
from tests.servers import free_port

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not here: {missing()}")

DATA = os.urandom(3 << 20)


@pytest.fixture
def server(tmp_path):
    """A server with one file."""
    server = SftpServer(tmp_path / "server", forwarding="yes")
    server.start()
    server.put("x.bin", DATA)
    yield server
    server.kill()


@pytest.fixture
def open_at(server):
    """Opens sources, which are closed at the test's end."""
    opened = []

    def make(address: str = "", settings: dict | None = None, kind: str = "Source", timeout: float = 10.0):
        from repro.data.sources import sftp

        reach = Reach(settings or server.settings, os.getuid(), os.getgid(), timeout=timeout)
        one = getattr(sftp, f"Sftp{kind}")(DataUri.parse(address or server.root), reach)
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


def read(source, name: str = "x.bin") -> bytes:
    """Return a file's bytes."""
    return b"".join(source.pieces(source.stat(name), 0))


def stage(target, file: Path, name: str = "x", told=lambda _: None):
    """Stage a local file under a name."""
    return target.stage(
        name, file, Digest.of_file(file), file.stat().st_size, before=None, note=lambda _: None, told=told
    )


def test_an_unknown_server_gets_nothing(server, open_at):
    """The error has the key's fingerprint, as ssh-keygen prints it, and the command that makes it known."""
    server.know("")
    with pytest.raises(DeniedError, match="is not known here") as caught:
        open_at().stat("x.bin")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=server.host_key, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] in caught.value.why
    command = caught.value.hint.partition("then: ")[2]
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> ~/.ssh/known_hosts" == command
    subprocess.run(command.replace("~", str(server.home)), shell=True, check=True, capture_output=True)
    assert DATA == read(open_at())


def test_another_key_than_the_known_one_is_said_loudly(server, open_at):
    """Nothing is sent to such a server, whatever ~/.ssh/config says; the file and line of the known key are named."""
    server.make_host_key()
    server.kill()
    server.start()
    with (server.ssh / "config").open("a") as config:
        config.write("  StrictHostKeyChecking no\n")
    with pytest.raises(DeniedError, match="IS NOT THE ONE THAT IS KNOWN") as caught:
        open_at().stat("x.bin")
    assert f"{server.ssh}/known_hosts:1" in caught.value.why
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.hint


@pytest.mark.parametrize("names", ["[127.0.0.1]:{port}", "127.0.0.1", "[127.0.0.*]:*,!other", "hashed"])
def test_known_hosts_are_read_as_ssh_reads_them(server, open_at, names):
    """With the port and without, with wildcards, and hashed."""
    file = server.know(server.host_key, names.format(port=server.port) if names != "hashed" else "")
    if names == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
        assert "127.0.0.1" not in file.read_text()
    assert DATA == read(open_at())


def test_lines_of_known_hosts(tmp_path):
    """Revoked keys, excluded names, comments, other types, and lines that are none."""
    file = tmp_path / "known_hosts"
    file.write_text(
        "# a comment\n"
        "*.lab,!bad.lab ssh-ed25519 b25l\n"
        "@cert-authority *.lab ssh-ed25519 Y2E=\n"
        "@revoked * ssh-ed25519 b2xk\n"
        "one.lab ssh-rsa dHdv # the older one\n"
        "one.lab ssh-rsa not/base64=\n"
        "|1|broken ssh-rsa dHdv\n\nshort line\n"
    )
    known = read_known_hosts([file, tmp_path / "nothing"])
    ed, rsa = HostKey("ssh-ed25519", b"one"), HostKey("ssh-rsa", b"two")
    assert ["ssh-ed25519", "ssh-rsa"] == kinds_known(known, "one.lab")
    check_host_key(known, "ONE.lab", 22, ed)
    check_host_key(known, "one.lab", 22, rsa)
    for host, key, said in [
        ("bad.lab", ed, "is not known here"),
        ("one.lab", HostKey("ssh-ed25519", b"ca"), "IS NOT THE ONE"),
        ("two.lab", rsa, "is not known here"),
        ("one.lab", HostKey("ssh-ed25519", b"old"), "revoked"),
    ]:
        with pytest.raises(DeniedError, match=said):
            check_host_key(known, host, 22, key)


def test_the_configuration_says_how_a_name_is_reached(server, open_at):
    """An alias with host, port, user, key and file of known hosts; in a file that another includes."""
    config = server.ssh / "config"
    config.write_text("Include conf.d/*\nHost other\n  Port 1\n")
    (server.ssh / "conf.d").mkdir()
    (server.ssh / "known_hosts").rename(server.ssh / "theirs")
    (server.ssh / "id").rename(server.ssh / "its key")
    (server.ssh / "conf.d/lab").write_text(
        f'Host lab\n HostName 127.0.0.1\n Port {server.port}\n User={getpass.getuser()}\n IdentityFile "~/.ssh/its key"\n'
        " UserKnownHostsFile %d/.ssh/theirs\n"
    )
    assert DATA == read(open_at(f"sftp://lab{server.data}/"))
    with pytest.raises(Broken):
        open_at(f"sftp://other{server.data}/").stat("x.bin")


def test_a_configuration_that_is_none_is_said(server, open_at):
    """A mistake in it is the user's, and no traceback."""
    (server.ssh / "config").write_text("Host *\n  Port many\n")
    with pytest.raises(UsageError, match="SSH configuration"):
        open_at(f"sftp://127.0.0.1{server.data}/").stat("x.bin")
    with pytest.raises(UsageError, match="not a host and a port"):
        open_at(f"sftp://127.0.0.1:99999{server.data}/").stat("x.bin")


@pytest.mark.parametrize("jump", ["command", "jump"])
def test_a_server_behind_another_is_reached(server, open_at, jump):
    """By a command, and by ssh itself, with the port of the address; the server's own key is checked at the end."""
    known = f"[127.0.0.1]:{server.port} {server.host_key}\ninner {server.host_key}\n"
    (server.ssh / "known_hosts").write_text(known)
    own = f"  UserKnownHostsFile {server.ssh}/known_hosts\n  User {getpass.getuser()}\n  IdentityFile {server.ssh}/id\n"
    between = f"ProxyJump 127.0.0.1:{server.port}"
    if jump == "command":
        relay = server.home / "relay.py"
        relay.write_text(_RELAY)
        between = f"ProxyCommand {sys.executable} {shlex.quote(str(relay))} %h %p"
    inner = f"Host inner\n  HostName 127.0.0.1\n  HostKeyAlias inner\n  {between}\n"
    (server.ssh / "config").write_text(f"{inner}{own}Host 127.0.0.1\n{own}")
    source = open_at(f"sftp://inner:{server.port}{server.data}/", {**server.settings, "PATH": os.environ["PATH"]})
    assert DATA == read(source)


@pytest.mark.parametrize("address", ["sftp://x;touch${IFS}made/y", "sftp://-oLocalCommand/y", "sftp://a;b@host/y"])
def test_no_address_is_read_by_a_shell(server, open_at, address):
    """The command of a ProxyCommand has host and user in it: they are nothing else than names."""
    (server.ssh / "config").write_text("Host *\n  ProxyCommand echo %h %r\n")
    with pytest.raises(UsageError, match="not a"):
        open_at(address).stat()


def test_a_command_between_that_fails_says_why(server, open_at):
    """What it wrote to its standard error is shown."""
    (server.ssh / "config").write_text("Host *\n  ProxyCommand echo the way is closed >&2\n")
    with pytest.raises(Broken, match="the way is closed"):
        open_at().stat("x.bin")


_RELAY = """
import socket, sys, threading, os
end = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def copy():
    while data := end.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=copy, daemon=True).start()
while data := os.read(0, 65536):
    end.sendall(data)
"""


def test_a_key_in_the_agent_is_used(server, open_at, tmp_path):
    """With a passphrase it is of use there only; without the agent the message says so."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", server.ssh / "id"], check=True)
    with pytest.raises(DeniedError, match="does not accept") as caught:
        open_at().stat("x.bin")
    assert "has a passphrase, and is not in the agent" in caught.value.why
    socket = f"/tmp/repro-agent-{os.getpid()}"
    agent = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE
    )
    try:
        agent.stdout.readline()
        askpass = tmp_path / "askpass"
        askpass.write_text("#!/bin/sh\necho secret words\n")
        askpass.chmod(0o700)
        environ = {"SSH_AUTH_SOCK": socket, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(
            ["ssh-add", "-q", server.ssh / "id"], env={**os.environ, **environ}, check=True, stdin=subprocess.DEVNULL
        )
        settings = {**server.settings, "SSH_AUTH_SOCK": socket}
        assert DATA == read(open_at(settings=settings))
        (server.ssh / "id").unlink()
        with (server.ssh / "config").open("a") as config:
            config.write("  IdentitiesOnly yes\n")
        assert DATA == read(open_at(settings=settings))
    finally:
        agent.kill()
        agent.communicate()
        Path(socket).unlink(missing_ok=True)
    with pytest.raises(DeniedError, match="does not accept"):
        open_at(settings=settings).stat("x.bin")


def test_a_user_without_a_key_is_denied(server, open_at):
    """The user and the server are named, and what would help."""
    (server.ssh / "id").unlink()
    with pytest.raises(DeniedError, match=f"does not accept the user {getpass.getuser()}") as caught:
        open_at().stat("x.bin")
    assert "no key was found" in caught.value.why
    assert "ssh-add" in caught.value.hint


def test_paths_may_begin_at_home(server, open_at):
    """``/~/`` is the folder in which the server lets a user begin."""
    source = open_at(f"sftp://{server.host}/~/")
    assert ["x.bin"] == [file.name for file in source.files()]
    assert DATA == read(source)
    assert DATA == read(open_at(f"sftp://{server.host}/~/x.bin"), "")
    with pytest.raises(NotThereError, match="/~/gone"):
        source.stat("gone")


def test_links_to_files_are_files(server, open_at):
    """Links to folders, and to nothing, are left out."""
    server.put("sub/y.txt", b"real")
    for name, to in {"link": "sub/y.txt", "folder": "sub", "nowhere": "gone"}.items():
        (server.data / name).symlink_to(to)
    assert {"link", "sub/y.txt", "x.bin"} == {file.name for file in open_at().files()}
    assert b"real" == read(open_at(), "link")


def test_a_server_that_dies_is_broken_and_is_reached_anew(server, open_at):
    """In the middle of a transfer and between two; what had come was right."""
    server.put("big", DATA * 8)
    source = open_at()
    file = source.stat("big")
    found = bytearray()
    with pytest.raises(Broken):
        for piece in source.pieces(file, 0):
            if not found:
                server.kill()
            found += piece
    assert found == (DATA * 8)[: len(found)]
    with pytest.raises(Broken, match="refused"):
        source.stat("big")
    server.start()
    assert DATA * 8 == bytes(found) + b"".join(source.pieces(file, len(found)))


def test_a_server_that_is_silent_is_broken(server, open_at):
    """After the seconds of the caller's reach: stopped, it neither answers nor hangs up."""
    source = open_at(timeout=1.0)
    file = source.stat("x.bin")
    children = below(server.process.pid)
    try:
        for child in children:
            os.kill(child, signal.SIGSTOP)
        with pytest.raises(Broken, match="no answer in time"):
            b"".join(source.pieces(file, 0))
    finally:
        for child in children:
            os.kill(child, signal.SIGCONT)
    assert DATA == read(source)


def test_a_port_without_a_server_is_broken(server, open_at):
    """Nobody listens there, or something that is no SSH server."""
    with pytest.raises(Broken, match="refused"):
        open_at(f"sftp://127.0.0.1:{free_port()}/x").stat()
    from tests.data.loopback import Loopback

    other = Loopback()
    try:
        with pytest.raises(Broken):
            open_at(f"sftp://127.0.0.1:{other.server.server_port}/x", timeout=2.0).stat()
    finally:
        other.close()


def test_more_threads_than_a_connection_has_channels(server, open_at):
    """Each gets its bytes; the channels are used again, and connections are few."""
    source = open_at()
    file = source.stat("x.bin")
    found, failed = [], []

    def work() -> None:
        try:
            found.extend(b"".join(source.pieces(file, 0)) == DATA for _ in range(3))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [True] * 60 == found
    assert len(source._share._lines._open) <= 3


def test_reading_that_is_given_up_harms_no_other(server, open_at):
    """A reader that goes away after its first piece leaves no answers behind."""
    source = open_at()
    file = source.stat("x.bin")
    pieces = source.pieces(file, 0)
    next(pieces)
    pieces.close()
    assert DATA == read(source)


def test_a_server_may_give_less_than_asked_for(server, open_at, monkeypatch):
    """OpenSSH gives 256 KiB at most: what is missing is asked for again."""
    from repro.data.sources import sftp

    monkeypatch.setattr(sftp, "_PIECE", 400_000)
    source = open_at()
    assert DATA == read(source)
    assert DATA[1_000_001:] == b"".join(source.pieces(source.stat("x.bin"), 1_000_001))


def test_a_file_that_grows_while_it_is_read_is_noticed(server, open_at):
    """What was listed has ended, and is not what is there now."""
    source = open_at()
    pieces = source.pieces(source.stat("x.bin"), 0)
    next(pieces)
    with (server.data / "x.bin").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ChangedError):
        b"".join(pieces)


def test_a_server_that_is_only_read_from_denies(tmp_path):
    """Publishing is refused in plain words."""
    server = SftpServer(tmp_path / "server", options="-R")
    server.start()
    file = tmp_path / "local"
    file.write_bytes(b"data")
    try:
        from repro.data.sources.sftp import SftpTarget

        target = SftpTarget(DataUri.parse(server.root), Reach(server.settings, os.getuid(), os.getgid(), timeout=10))
        with pytest.raises(DeniedError, match="refuses"):
            stage(target, file)
        target.close()
    finally:
        server.kill()


def test_a_file_of_the_same_size_and_second_is_not_taken_for_ours(server, open_at, tmp_path):
    """SFTP has no number of a file: neither a commit nor a withdrawal trusts size and time, only bytes."""
    file = tmp_path / "local"
    file.write_bytes(DATA)
    target = open_at(kind="Target")
    token = stage(target, file)
    staged = server.data / token["staged"]
    (server.data / "x").write_bytes(DATA[::-1])
    os.utime(server.data / "x", (staged.stat().st_atime, staged.stat().st_mtime))
    staged.unlink()  # as after a commit
    with pytest.raises(ExistsError):
        target.commit("x", token, replaces=None)
    found = target.find("x")
    with pytest.raises(ExistsError, match="stays"):
        target.withdraw("x", replace(found, digest=Digest.of(DATA)))
    assert DATA[::-1] == server.get("x")
    target.withdraw("x", replace(found, digest=Digest.of(DATA[::-1])))
    target.discard("x", token)
    assert ["x.bin"] == sorted(os.listdir(server.data))


def test_two_that_commit_at_once_are_told_apart(server, open_at, tmp_path, monkeypatch):
    """A file that appears between the look and the rename is not overwritten."""
    file = tmp_path / "local"
    file.write_bytes(b"late")
    target = open_at(kind="Target")
    token = stage(target, file)
    place = target._share.place

    def raced(staged, path):
        server.put("x", b"early")
        place(staged, path)

    monkeypatch.setattr(target._share, "place", raced)
    with pytest.raises(ExistsError):
        target.commit("x", token, replaces=None)
    assert b"early" == server.get("x")


def test_a_full_disk_is_an_error_and_no_short_file(server, open_at, tmp_path):
    """Each answer to a write is looked at: the last ones, too."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    small = server.data / "small"
    small.mkdir()
    file = tmp_path / "local"
    file.write_bytes(DATA)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=True)
    try:
        target = open_at(f"{server.root}small/", kind="Target")
        with pytest.raises(FetchError, match="cannot be used"):
            stage(target, file)
        target.close()
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_missing_library_is_named(server, monkeypatch):
    """With the command that brings it."""
    monkeypatch.setitem(sys.modules, "paramiko", None)
    for module in ("sftp", "ssh"):
        monkeypatch.delitem(sys.modules, f"repro.data.sources.{module}", raising=False)
    with pytest.raises(UsageError, match="paramiko") as caught:
        open_source(DataUri.parse(server.root), Access(), Reach({}, 0, 0))
    assert "pip install 'repro-workflow[sftp]'" == caught.value.hint


@pytest.mark.parametrize(("age", "settled"), [(24 * 3600, True), (60, False)])
def test_a_file_written_just_now_is_not_settled(server, open_at, age, settled):
    """Its time has whole seconds, of a clock that the protocol does not tell."""
    then = int(time.time()) - age
    os.utime(server.data / "x.bin", (then, then))
    listed = {file.name: file for file in open_at().files()}
    assert [settled, settled] == [open_at().stat("x.bin").settled, listed["x.bin"].settled]
