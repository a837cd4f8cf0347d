"""SMB without a mount, against a real server: the suite of shares, logins, and names that SMB cannot hold."""

from __future__ import annotations

import os
import time

import pytest

from repro.data.answers import NotThereError
from repro.data.sources.model import DeniedError, ExistsError
from repro.data.sources.smb import SmbSource, SmbTarget
from repro.errors import DataError, UsageError
from repro.names import DataUri
from tests.data.served.smb import SmbServer, missing
from tests.data.shares import BIG, ShareSuite, hidden, publish, reach, stage, whole

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"missing: {missing()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server for all tests of this module."""
    server = SmbServer(tmp_path_factory.mktemp("smb"))
    try:
        server.start()
        yield server
    finally:
        server.close()


class TestSmb(ShareSuite):
    """The suite, and what only SMB has."""

    scheme = "smb"
    make_source = SmbSource
    make_target = SmbTarget

    def test_links_are_what_the_server_makes_of_them(self, server, source):
        """A link to a file is a file, one to a folder a folder, one to a folder above ends there, a dangling one is none."""
        server.put("sub/real.txt", b"real")
        for name, to in {"link.txt": "sub/real.txt", "folder": "sub", "sub/up": "..", "nowhere": "gone"}.items():
            (server.data / name).symlink_to(to)
        assert sorted(file.name for file in source.files()) == ["folder/real.txt", "link.txt", "sub/real.txt"]

    def test_a_wrong_login_is_denied_and_not_told(self, server):
        """A wrong password, an unknown user, none at all: no message shows one."""
        try:
            for user, password in ((server.user, "topsecret"), ("nobody-known", "topsecret"), (server.user, "")):
                server.login(user, password)
                with pytest.raises(DeniedError, match="refuses the login") as caught:
                    self.open_source(server.root, server).stat("a")
                assert "topsecret" not in f"{caught.value}{caught.value.__cause__!r}"
                assert "smbcredentials" in caught.value.hint
        finally:
            server.login(server.user, server.password)
        with pytest.raises(DeniedError):
            SmbSource(DataUri.parse(server.root), reach({"HOME": "/nonexistent"})).stat("a")

    def test_a_user_in_the_address_must_be_the_one_of_the_login(self, server):
        """With the name that the file has it is let in, with another it has no password."""
        server.put("a", b"a")
        named = server.root.replace("smb://", f"smb://{server.user}@")
        assert whole(self.open_source(named, server), "a") == b"a"
        with pytest.raises(DeniedError):
            self.open_source(server.root.replace("smb://", "smb://other@"), server).stat("a")

    def test_a_login_of_the_netrc_file_is_taken(self, server, tmp_path):
        """Where there are no credentials of SMB's own."""
        server.put("a", b"a")
        path = tmp_path / ".netrc"
        path.write_text(f"machine 127.0.0.1 login {server.user} password {server.password}\n")
        path.chmod(0o600)
        source = SmbSource(DataUri.parse(server.root), reach({"HOME": str(tmp_path)}))
        assert whole(source, "a") == b"a"

    def test_what_the_server_denies_is_said(self, server, source, target, file):
        """A share that is closed to the user, a file and a folder that are."""
        server.put("secret", b"secret")
        os.chown(server.data / "secret", 0, 0)
        (server.data / "secret").chmod(0o600)
        with pytest.raises(DeniedError, match="secret"):
            whole(source, "secret")
        with pytest.raises(DeniedError):
            self.open_source(f"smb://{server.host}/closed/data/", server).stat("a")
        (server.data / "theirs").mkdir(mode=0o755)
        with pytest.raises(DeniedError):
            publish(target, "theirs/a", file)

    def test_names_that_smb_cannot_hold_are_refused(self, server, target, source, file):
        """Nothing is staged for them, and no stream of another file is read."""
        for name in ("a:b", "what?", "*", "dot.", "folder./a", "blank ", "back\\slash", 'quo"te', "a<b", "a|b"):
            with pytest.raises(DataError, match="can be called"):
                stage(target, name, file)
            with pytest.raises(DataError):
                source.stat(name)
        assert (server.names(), hidden(server.data)) == ([], [])

    def test_an_address_needs_a_share_that_is_there(self, server):
        """None is a mistake in the address, another one is not there."""
        with pytest.raises(UsageError, match="no share"):
            self.open_source(f"smb://{server.host}/", server)
        with pytest.raises(UsageError, match="host and a port"):
            self.open_source("smb://h:port/share/", server)
        with pytest.raises(NotThereError):
            self.open_source(f"smb://{server.host}/nope/", server).stat("a")

    def test_a_whole_share_is_a_source(self, server):
        """Its root needs no folder."""
        server.put("a", b"a")
        source = self.open_source(f"smb://{server.host}/data/", server)
        assert [file.name for file in source.files()] == ["data/a"]

    def test_a_name_is_taken_whatever_the_case_of_its_letters(self, server, target, file):
        """As on the server."""
        server.put("Name", b"theirs")
        token = stage(target, "nAME", file)
        with pytest.raises(ExistsError):
            target.commit("nAME", token, replaces=None)
        target.discard("nAME", token)
        assert (server.get("Name"), hidden(server.data)) == (b"theirs", [])

    def test_a_commit_whose_answer_was_lost_is_known_again(self, server, target, file):
        """Its own file is no one else's."""
        token = stage(target, "a", file)
        os.rename(server.data / token["staged"], server.data / "a")  # the server did this, and died
        assert target.commit("a", token, replaces=None).size == len(BIG)
        assert (server.names(), hidden(server.data)) == (["a"], [])

    def test_a_file_that_is_open_elsewhere_may_still_be_read(self, server, source):
        """Readers do not lock each other out."""
        server.put("big", BIG)
        first, second = source.pieces(source.stat("big"), 0), self.open_source(server.root, server)
        next(first)
        assert whole(second, "big") == BIG
        assert len(b"".join(first)) == len(BIG) - (1 << 20)

    def test_messages_are_encrypted_where_the_server_can(self, server, source):
        """Samba can, unless it is told not to."""
        server.put("a", b"a")
        source.stat("a")
        assert [session.encrypt_data for session in sessions(source)] == [True]


def test_a_server_that_cannot_encrypt_is_spoken_to_with_signatures(tmp_path):
    """The second attempt is as good as the first."""
    server = SmbServer(tmp_path / "smb", encrypt="off")
    try:
        server.start()
        server.put("a", b"a")
        source = SmbSource(DataUri.parse(server.root), reach(server.settings))
        start = time.monotonic()
        assert whole(source, "a") == b"a"
        assert [(one.encrypt_data, one.signing_required) for one in sessions(source)] == [(False, True)]
        assert time.monotonic() - start < 5
        source.close()
    finally:
        server.close()


def sessions(source) -> list:
    """Return the client's sessions of a source."""
    connections = [one for client in source._share._idle for one in client.connections]
    return [session for one in connections for session in one.session_table.values()]
