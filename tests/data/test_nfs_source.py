"""NFS without a mount, against a real server: reading, publishing, and a server that dies."""

from __future__ import annotations

import errno
import os

import pytest

from repro.data.sources.model import ChangedError, DeniedError, Reach
from repro.data.sources.nfs import NfsSource, NfsTarget
from repro.names import DataUri
from tests.data.served.nfs import NfsData, missing
from tests.data.shares import BIG, ShareSuite, hidden, publish, stage, whole

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"missing: {missing()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server for all tests of this module."""
    server = NfsData(tmp_path_factory.mktemp("nfs"))
    server.start()
    yield server
    server.stop()


class TestNfs(ShareSuite):
    """The suite, and what only NFS has."""

    scheme = "nfs"
    odd = "mit Leerzeichen/nfs4::ü ñ 漢字 +%25 %#?;&:*.txt"
    make_source = NfsSource
    make_target = NfsTarget

    def test_links_to_files_are_files_and_links_to_folders_are_not_followed(self, server, source):
        """Nor is a link to nowhere a file."""
        server.put("sub/real.txt", b"real")
        for name, to in {"link.txt": "sub/real.txt", "folder": "sub", "nowhere": "gone"}.items():
            (server.data / name).symlink_to(to)
        assert {file.name: file.size for file in source.files()} == {"sub/real.txt": 4, "link.txt": 4}
        assert whole(source, "link.txt") == b"real"

    def test_the_caller_is_named_to_the_server(self, server, file):
        """Whoever this process is, as root in a user namespace: the caller's files are open to him, others' not."""
        for name, owner in (("mine", 4321), ("theirs", 0)):
            server.put(name, name.encode())
            os.chown(server.data / name, owner, owner)
            (server.data / name).chmod(0o600)
        caller = Reach(server.settings, 4321, 4322, timeout=10)
        source, target = (kind(DataUri.parse(server.root), caller) for kind in (NfsSource, NfsTarget))
        assert whole(source, "mine") == b"mine"
        with pytest.raises(DeniedError, match="theirs"):
            whole(source, "theirs")
        publish(target, "new", file)
        found = (server.data / "new").stat()
        assert (found.st_uid, found.st_gid) == (4321, 4322)
        assert (os.geteuid(), os.getegid()) == (0, 0)
        assert whole(self.open_source(server.root, server), "theirs") == b"theirs"

    def test_a_caller_whom_this_process_cannot_be_is_told(self, server, monkeypatch):
        """His IDs may not be in the user namespace."""

        def refused(uid: int, gid: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr("repro.runtime.syscalls.act_as", refused)
        source = NfsSource(DataUri.parse(server.root), Reach({}, 12345, 12345))
        with pytest.raises(DeniedError, match="12345"):
            source.stat("a")

    def test_a_commit_whose_answer_was_lost_is_known_again(self, server, target, file):
        """Its own file is no one else's."""
        token = stage(target, "a", file)
        staged = server.data / token["staged"]
        os.link(staged, server.data / "a")  # the server did this, and died
        assert target.commit("a", token, replaces=None).size == len(BIG)
        assert target.commit("a", token, replaces=None).size == len(BIG)
        assert (server.names(), hidden(server.data)) == (["a"], [])

    def test_a_file_whose_time_was_set_back_has_changed(self, server, source):
        """The server counts changes."""
        server.put("a", b"before")
        listed = source.stat("a")
        times = os.stat(server.data / "a")
        server.put("a", b"after!")
        os.utime(server.data / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(ChangedError):
            list(source.pieces(listed, 0))
