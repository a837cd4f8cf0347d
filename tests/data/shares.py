"""The tests of NFS and of SMB: one suite, against a real server of each."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, DeniedError, ExistsError, Found, Reach, SourceFile
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.names import DataUri
from tests.servers import free_port

BIG = bytes(range(256)) * 20_000  # 5 MB


def reach(settings: dict, timeout: float = 20.0) -> Reach:
    """The caller's reach, with a server's settings."""
    return Reach(settings, os.getuid(), os.getgid(), timeout=timeout, attempts=3, pause=0.1)


def whole(source, name: str = "", start: int = 0) -> bytes:
    """Read a file of a source as it is now."""
    return b"".join(source.pieces(source.stat(name), start))


def stage(target, name: str, file: Path, *, before=None, note=lambda token: None, told=lambda count: None):
    """Stage a local file; return its token."""
    size = file.stat().st_size
    return target.stage(name, file, Digest.of_file(file), size, before=before, note=note, told=told)


def publish(target, name: str, file: Path, replaces=None):
    """Stage and commit a local file; return what is there then."""
    return target.commit(name, stage(target, name, file), replaces=replaces)


def hidden(folder: Path) -> list[str]:
    """Return what begins with a dot anywhere below ``folder``: nothing of a publication may stay."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


class ShareSuite:
    """What a share does, whatever its protocol; a subclass gives the fixture ``served`` and how it is opened."""

    scheme: str
    odd = "mit Leerzeichen/ü ñ 漢字 +%25 %#;&.txt"

    @staticmethod
    def make_source(uri: DataUri, reach: Reach):
        """Return the protocol's source."""
        raise NotImplementedError

    @staticmethod
    def make_target(uri: DataUri, reach: Reach):
        """Return the protocol's target."""
        raise NotImplementedError

    def open_source(self, address: str, server, timeout: float = 20.0):
        """Return a source at an address."""
        return self.make_source(DataUri.parse(address), reach(server.settings, timeout))

    def open_target(self, address: str, server, timeout: float = 20.0):
        """Return a target at an address."""
        return self.make_target(DataUri.parse(address), reach(server.settings, timeout))

    @pytest.fixture
    def server(self, served):
        """The server, with an empty folder that a test may fill."""
        for path in served.data.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return served

    @pytest.fixture
    def source(self, server):
        """The folder as a source."""
        source = self.open_source(server.root, server)
        yield source
        source.close()

    @pytest.fixture
    def target(self, server):
        """The folder as a target."""
        target = self.open_target(server.root, server)
        yield target
        target.close()

    @pytest.fixture
    def file(self, tmp_path):
        """A local file to publish."""
        path = tmp_path / "local.bin"
        path.write_bytes(BIG)
        return path

    def test_a_file_is_read_whole_and_from_an_offset(self, server, source):
        """From the beginning, from within, and from its end."""
        server.put("big.bin", BIG)
        assert whole(source, "big.bin") == BIG
        assert whole(source, "big.bin", 1_234_567) == BIG[1_234_567:]
        assert whole(source, "big.bin", len(BIG)) == b""

    def test_a_single_file_is_a_source(self, server):
        """An address without a slash at its end is the file itself."""
        server.put("one.txt", b"one")
        source = self.open_source(f"{server.root}one.txt", server)
        found = source.stat()
        assert (found.name, found.size) == ("", 3)
        assert b"".join(source.pieces(found, 0)) == b"one"

    def test_folders_are_listed_with_all_that_is_below(self, server, source):
        """Nested folders, an empty file, and names in any letters; each with what stat says of it."""
        names = ["a.txt", "deep/er/b.txt", "empty", self.odd]
        for name in names:
            server.put(name, b"" if name == "empty" else name.encode())
        (server.data / "no files").mkdir()
        found = sorted(source.files())
        assert [file.name for file in found] == sorted(names)
        assert [source.stat(file.name) for file in found] == found
        assert [whole(source, file.name) for file in found if file.size] == [
            name.encode() for name in sorted(names) if name != "empty"
        ]

    def test_an_empty_folder_has_no_files(self, source):
        """It is there, and that is all."""
        assert list(source.files()) == []

    def test_what_is_not_there_is_said(self, server, source):
        """A file, a folder, an export; a folder that is asked for as a file, and the other way round."""
        server.put("sub/a", b"a")
        for name in ("gone", "sub", "gone/deep", "sub/a/b"):
            with pytest.raises(NotThereError, match=f"127.0.0.1:.*{name}"):
                source.stat(name)
        for address in (f"{server.root}gone/", f"{server.root}sub/a/", f"{self.scheme}://{server.host}/no/such/place/"):
            with pytest.raises(NotThereError):
                list(self.open_source(address, server).files())

    def test_versions_and_ways_out_of_the_folder_are_refused(self, server, source):
        """A file system keeps no versions, and a name stays below the folder."""
        server.put("a", b"a")
        with pytest.raises(FetchError, match="no versions"):
            source.stat("a", version="1")
        for name in ("../secret", "a/../../b", "/etc/passwd"):
            with pytest.raises(DataError):
                source.stat(name)

    def test_a_file_that_changed_since_it_was_listed_is_refused(self, server, source):
        """Of the same size, too."""
        server.put("a", b"before")
        listed = source.stat("a")
        server.put("a", b"after!")
        with pytest.raises(ChangedError):
            list(source.pieces(listed, 0))

    def test_a_file_that_changes_while_it_is_read_is_refused(self, server, source):
        """What came of it is not taken for a file."""
        server.put("a", BIG)
        pieces = source.pieces(source.stat("a"), 0)
        next(pieces)
        server.put("a", b"!" * len(BIG))
        with pytest.raises(ChangedError):
            list(pieces)

    def test_eight_threads_read_at_once(self, server, source):
        """Each gets its own file."""
        for number in range(16):
            server.put(f"n/{number}", bytes([number]) * 3_000_000)
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda number: whole(source, f"n/{number}"), range(16)))
        assert all(read[number] == bytes([number]) * 3_000_000 for number in range(16))

    def test_an_export_to_read_from_is_read_and_not_written(self, server, file):
        """Publishing there is denied, in words."""
        server.put("a", b"a")
        assert whole(self.open_source(server.read_only, server), "a") == b"a"
        target = self.open_target(server.read_only, server)
        with pytest.raises(DeniedError, match=r"(smb|nfs)://"):
            publish(target, "b", file)
        assert server.names() == ["a"]

    def test_a_port_that_nobody_listens_on_may_be_tried_again(self, server):
        """It is no final failure."""
        with pytest.raises(Broken):
            self.open_source(f"{self.scheme}://127.0.0.1:{free_port()}/data/", server, timeout=3).stat("a")
        with pytest.raises(Broken):
            self.open_source(f"{self.scheme}://no-such-host.invalid/data/", server, timeout=3).stat("a")

    def test_a_file_is_published_out_of_sight_and_then_at_once(self, server, target, file):
        """Until the commit no listing shows it, afterwards nothing but it is there."""
        told: list[int] = []
        tokens: list[dict] = []
        token = stage(target, "deep/er/ü.bin", file, note=tokens.append, told=told.append)
        assert (server.names(), sum(told), tokens[-1]) == ([], len(BIG), token)
        assert target.find("deep/er/ü.bin") is None
        assert list(self.open_source(server.root, server).files()) == []
        found = target.commit("deep/er/ü.bin", token, replaces=None)
        assert found == target.find("deep/er/ü.bin")
        assert (found.size, found.digest, server.get("deep/er/ü.bin")) == (len(BIG), None, BIG)
        assert (server.names(), hidden(server.data)) == (["deep/er/ü.bin"], [])
        assert target.read("deep/er/ü.bin") == BIG

    def test_an_empty_file_is_published(self, server, target, tmp_path):
        """Nothing is a content, too."""
        (tmp_path / "empty").touch()
        assert publish(target, "empty", tmp_path / "empty").size == 0
        assert server.get("empty") == b""

    def test_a_folder_is_made_where_there_is_none(self, server, file):
        """Those above it, too."""
        target = self.open_target(f"{server.root}new/folder/", server)
        assert target.find("a") is None
        publish(target, "a", file)
        assert server.names() == ["new/folder/a"]

    def test_what_is_there_is_not_overwritten(self, server, target, file):
        """Unless it is said what is replaced, and that is still there."""
        server.put("a", b"theirs")
        token = stage(target, "a", file)
        with pytest.raises(ExistsError):
            target.commit("a", token, replaces=None)
        with pytest.raises(ExistsError):
            target.commit("a", token, replaces=Found(6, etag="another"))
        assert server.get("a") == b"theirs"
        target.commit("a", token, replaces=target.find("a"))
        assert (server.get("a"), hidden(server.data)) == (BIG, [])

    def test_of_two_writers_at_once_one_is_refused(self, server, file, tmp_path):
        """Ten times over, each name holds the bytes of the one who was told that he won."""
        other = tmp_path / "other"
        other.write_bytes(b"other")
        targets = [self.open_target(server.root, server) for _ in range(2)]
        for number in range(10):
            name = f"both/{number}"
            tokens = [stage(targets[0], name, file), stage(targets[1], name, other)]
            ready = threading.Barrier(2)

            def commit(which, name=name, tokens=tokens, ready=ready):
                ready.wait()
                try:
                    targets[which].commit(name, tokens[which], replaces=None)
                except ExistsError:
                    targets[which].discard(name, tokens[which])
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                won = list(pool.map(commit, (0, 1)))
            assert sorted(won) == [False, True]
            assert server.get(name) == (BIG if won[0] else b"other")
        assert hidden(server.data) == []

    def test_a_stage_that_broke_off_goes_on(self, server, target, file):
        """With the bytes that are right; wrong ones are sent again."""
        for kept in (BIG[:3_000_000], b"x" * 3_000_000):
            tokens: list[dict] = []
            token = stage(target, "a", file, note=tokens.append)
            (server.data / tokens[0]["staged"]).write_bytes(kept)
            again = stage(target, "a", file, before=tokens[0])
            assert (again["staged"] == token["staged"]) == (kept == BIG[:3_000_000])
            target.commit("a", again, replaces=target.find("a"))
            assert (server.get("a"), hidden(server.data)) == (BIG, [])

    def test_a_local_file_that_changed_is_not_published(self, server, target, file):
        """Its bytes must be those of its digest."""
        nothing = {"before": None, "note": lambda token: None, "told": lambda count: None}
        with pytest.raises(DataError, match="is not what it was"):
            target.stage("a", file, Digest.of(b"other"), len(BIG), **nothing)
        assert (server.names(), hidden(server.data)) == ([], [])

    def test_what_was_staged_or_placed_can_be_taken_back(self, server, target, file):
        """Twice as well as once; what is another's by now stays."""
        token = stage(target, "a", file)
        target.discard("a", token)
        target.discard("a", token)
        assert (server.names(), hidden(server.data)) == ([], [])
        with pytest.raises(NotThereError, match="staged"):
            target.commit("a", token, replaces=None)
        placed = publish(target, "a", file)
        target.withdraw("a", placed)
        target.withdraw("a", placed)
        assert server.names() == []
        placed = publish(target, "a", file)
        server.put("a", b"theirs")
        target.withdraw("a", placed)
        assert server.get("a") == b"theirs"

    def test_tokens_of_others_are_refused(self, target, file):
        """A token cannot name a file to remove."""
        for staged in ("a", "../x", ".repro-staging-0123456789abcdef/../../x", 7):
            with pytest.raises(DataError, match="token"):
                target.discard("a", {"staged": staged})

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
    def test_a_server_that_goes_away_breaks_a_read_in_time_and_serves_again(self, server, how):
        """Killed or hung in mid-transfer: within the timeout it is said, and the same source works when it is back."""
        server.put("big", BIG * 4)
        source = self.open_source(server.root, server, timeout=3)
        listed = source.stat("big")
        pieces = source.pieces(listed, 0)
        next(pieces)
        server.signal(how)
        start = time.monotonic()
        try:
            with pytest.raises(Broken):
                list(pieces)
            with pytest.raises(Broken):
                source.stat("big")
            assert time.monotonic() - start < 7.5  # twice the timeout, and some
        finally:
            server.signal(signal.SIGCONT)
            if how == signal.SIGKILL:
                server.kill()
                server.start()
        assert b"".join(source.pieces(listed, 0)) == BIG * 4
        source.close()

    def test_a_server_that_dies_while_it_is_written_to_breaks_the_stage(self, server, file):
        """And the next attempt goes on with what the server has."""
        target = self.open_target(server.root, server, timeout=3)
        tokens: list[dict] = []

        def told(count: int) -> None:
            if count and server.process.poll() is None:
                server.kill()

        with pytest.raises(Broken):
            stage(target, "a", file, note=tokens.append, told=told)
        server.start()
        token = stage(target, "a", file, before=tokens[-1])
        target.commit("a", token, replaces=None)
        assert (server.get("a"), hidden(server.data)) == (BIG, [])
        target.close()

    def test_close_is_idempotent_and_the_source_opens_again(self, server, source):
        """After it the next call makes a new session."""
        server.put("a", b"a")
        assert source.stat("a") == SourceFile("a", 1, etag=source.stat("a").etag)
        source.close()
        source.close()
        assert source.stat("a").size == 1
