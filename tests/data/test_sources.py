"""What every protocol must do alike: one suite for all sources and targets, as the tests' user and as an ordinary one."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from repro.data.answers import NotThereError
from repro.data.sources.model import ChangedError, ExistsError
from repro.digest import Digest
from repro.errors import DataError, FetchError
from tests import accounts
from tests.data.served.calls import Other, close_all, perform

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.data.served import DataServer

SERVERS = {
    "folder": ("folder", "FolderServer", ()),
    "http": ("web", "WebServer", ("http",)),
    "https": ("web", "WebServer", ("https",)),
    "nfs": ("nfs", "NfsData", ()),
    "s3": ("s3", "S3Server", ()),
    "sftp": ("sftp", "SftpServer", ()),
    "smb": ("smb", "SmbServer", ()),
}
READ_ONLY = ("http", "https")
LIBRARIES = ("fsspec", "nfs4fs", "paramiko", "s3fs", "smbprotocol")
BIG = os.urandom(1 << 20) * 5
NAMES = ("a b.txt", "a+b.txt", "a%20b.txt", "100%.txt", "x#y.txt", "ünï-名.txt", "sub folder/é+#%.txt")


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    """A server of each kind."""
    module, name, arguments = SERVERS[request.param]
    served = importlib.import_module(f"tests.data.served.{module}")
    if absent := served.missing():
        pytest.skip(f"not here: {absent}")
    folder = Path(tempfile.mkdtemp(prefix="repro-served-", dir="/var/tmp"))
    folder.chmod(0o755)
    server = getattr(served, name)(folder / "server", *arguments)
    (folder / "server").chmod(0o755)
    server.start()
    yield server
    server.kill()  # what it has is not needed any more, and some end slowly
    if hasattr(server, "close"):
        server.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["this-user", "ordinary-user"])
def who(request):
    """What performs requests: this process, or one of an ordinary user; and what ends them."""
    if request.param == "this-user":
        yield perform, close_all
        return
    if os.geteuid() != 0:
        pytest.skip("the tests' user is an ordinary one already")
    account = request.getfixturevalue("ordinary")
    accounts.add_libraries(account, *LIBRARIES)
    other = Other(account)
    yield other.perform, other.close_all
    other.close()


@pytest.fixture
def readable():
    """A folder that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="repro-local-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Place:
    """A folder of a server that only one test knows, and requests about it."""

    _count = 0

    def __init__(self, server: DataServer, perform: Callable) -> None:
        Place._count += 1
        self.server = server
        self.prefix = f"place {Place._count}/"
        self.address = (server.root + self.prefix).replace(" ", "%20" if server.kind in READ_ONLY else " ")
        self._perform = perform

    def put(self, name: str, data: bytes) -> None:
        """Have a file hold ``data``, by the back door."""
        self.server.put(self.prefix + name, data)

    def get(self, name: str) -> bytes | None:
        """Return what a file holds, by the back door."""
        return self.server.get(self.prefix + name)

    def names(self) -> list[str]:
        """Return the files that anybody sees, by the back door."""
        return [name.removeprefix(self.prefix) for name in self.server.names() if name.startswith(self.prefix)]

    def __call__(self, function: str, *arguments: object, **more: object) -> object:
        """Perform a request for the folder."""
        return self._perform(function, self.address, self.server.settings, *arguments, **more)

    def at(self, below: str, function: str, *arguments: object) -> object:
        """Perform a request for an address below the folder."""
        return self._perform(function, self.address + below, self.server.settings, *arguments)


@pytest.fixture
def place(server, who):
    """A folder to read from."""
    perform, close_all = who
    yield Place(server, perform)
    close_all()


@pytest.fixture
def writable(server, place):
    """A folder to write to."""
    if server.kind in READ_ONLY:
        pytest.skip("web servers are only read from")
    return place


@pytest.fixture
def local(readable):
    """Makes local files to be published."""

    def make(data: bytes) -> str:
        path = readable / f"local-{len(list(readable.iterdir()))}"
        path.write_bytes(data)
        return str(path)

    return make


def test_a_file_is_looked_at(place):
    """Its size is told, and something that is the same as long as the file is."""
    place.put("x.txt", b"hello")
    found = place("stat", "x.txt")
    assert ("x.txt", 5) == (found.name, found.size)
    assert found.etag
    assert found == place("stat", "x.txt")


def test_an_address_may_be_that_of_the_file(place):
    """A source that is a file has it under the empty name."""
    place.put("x.txt", b"hello")
    found = place.at("x.txt", "stat")
    assert ("", 5) == (found.name, found.size)
    assert b"hello" == place.at("x.txt", "read", found)


def test_a_missing_file_is_not_there(place):
    """It is told from other failures, whether its folder is there or not, looked at or read."""
    place.put("sub/x.txt", b"hello")
    with pytest.raises(NotThereError):
        place("stat", "nothing")
    with pytest.raises(NotThereError):
        place("stat", "nowhere/nothing")
    gone = place("stat", "sub/x.txt")
    place.server.remove(f"{place.prefix}sub/x.txt")
    with pytest.raises((NotThereError, ChangedError)):
        place("read", gone)


def test_a_folder_is_no_file(place):
    """Looked at as a file, it is not there: nobody reads a list of names as data."""
    place.put("sub/x.txt", b"hello")
    with pytest.raises(NotThereError):
        place("stat", "sub")


def test_a_missing_folder_is_not_there(place):
    """A folder of another name is no empty one."""
    with pytest.raises(NotThereError):
        place.at("nowhere/", "files")


def test_an_empty_file_has_no_bytes(place):
    """It is listed and read as any other."""
    place.put("empty", b"")
    assert [("empty", 0)] == [(file.name, file.size) for file in place("files")]
    assert b"" == place("read", place("stat", "empty"))


@pytest.mark.parametrize("start", [0, 1, 3_000_001, len(BIG) - 1, len(BIG)])
def test_a_file_is_read_from_an_offset(place, start):
    """Whole, from the middle, and from its end."""
    place.put("big", BIG)
    assert BIG[start:] == place("read", place("stat", "big"), start)


def test_all_files_below_a_folder_are_listed(place):
    """However deep they lie; each as `stat` gives it, whose bytes can be read."""
    wanted = {"a.txt": b"a", "b/c.txt": b"cc", "b/d/e/f.txt": b"fff", "g/h.txt": b"hhhh"}
    for name, data in wanted.items():
        place.put(name, data)
    found = place("files")
    assert wanted == {file.name: place("read", file) for file in found}
    assert found == [place("stat", file.name) for file in found]


def test_names_mean_themselves(place):
    """Blanks, signs that addresses have a meaning for, and letters beyond ASCII."""
    for name in NAMES:
        place.put(name, name.encode())
    assert sorted(NAMES) == [file.name for file in place("files")]
    for name in NAMES:
        assert name.encode() == place("read", place("stat", name))


def test_a_changed_file_is_noticed(place):
    """Bytes other than those listed are not given for them, from any offset."""
    place.put("x.txt", b"as it was")
    listed = place("stat", "x.txt")
    place.put("x.txt", b"another text")
    assert listed != place("stat", "x.txt")
    for start in (0, 4):
        with pytest.raises(ChangedError):
            place("read", listed, start)


def test_many_threads_share_a_source(place):
    """Each gets the bytes of its own file."""
    wanted = {f"f{number:02}": BIG[number : number + 700_000] for number in range(16)}
    for name, data in wanted.items():
        place.put(name, data)
    assert list(wanted.values()) == place("read_many", place("files"))


def test_what_is_staged_is_seen_once_it_is_committed(writable, local):
    """Nobody sees a file before; then it is there with its bytes, in folders that are made for it."""
    token = writable("stage", "deep/er/x y.bin", local(BIG))
    assert [] == writable.names()
    assert writable("find", "deep/er/x y.bin") is None
    placed = writable("commit", "deep/er/x y.bin", token)
    assert ["deep/er/x y.bin"] == writable.names()
    assert BIG == writable.get("deep/er/x y.bin")
    assert BIG == writable("read_target", "deep/er/x y.bin")
    assert len(BIG) == placed.size
    assert placed.digest in (None, Digest.of(BIG))
    assert placed == writable("find", "deep/er/x y.bin")
    assert ["deep/er/x y.bin"] == [file.name for file in writable("files")]


def test_an_empty_file_is_published(writable, local):
    """It is there, with no bytes."""
    placed = writable("commit", "empty", writable("stage", "empty", local(b"")))
    assert 0 == placed.size
    assert b"" == writable.get("empty")


def test_what_is_there_is_not_overwritten_unknowingly(writable, local):
    """A second file for a name that is taken is refused; the first stays as it is."""
    first = writable("stage", "x", local(b"first"))
    second = writable("stage", "x", local(b"second, and longer"))
    writable("commit", "x", first)
    with pytest.raises(ExistsError):
        writable("commit", "x", second)
    assert b"first" == writable.get("x")
    writable("discard", "x", second)
    assert ["x"] == writable.names()


def test_what_is_named_is_replaced(writable, local):
    """Whoever says what he replaces does so, as long as it is still that."""
    old = writable("commit", "x", writable("stage", "x", local(b"old")))
    new = writable("commit", "x", writable("stage", "x", local(b"the new one")), old)
    assert b"the new one" == writable.get("x")
    late = writable("stage", "x", local(b"one that comes too late"))
    with pytest.raises(ExistsError):
        writable("commit", "x", late, old)
    assert b"the new one" == writable.get("x")
    assert new == writable("find", "x")


def test_what_was_discarded_is_gone(writable, local):
    """Nothing is left of it, also where it had not come to its end; a second time nothing happens."""
    whole = writable("stage", "x", local(BIG))
    part = writable("stage", "y", local(BIG), stop=True)
    for name, token in (("x", whole), ("y", part), ("x", whole)):
        writable("discard", name, token)
    assert [] == writable.names()


def test_what_was_placed_is_withdrawn(writable, local):
    """It is gone then; what somebody else put there since stays."""
    placed = writable("commit", "x", writable("stage", "x", local(b"placed")))
    other = writable("commit", "y", writable("stage", "y", local(b"first")))
    writable("commit", "y", writable("stage", "y", local(b"somebody else's")), other)
    writable("withdraw", "x", replace(placed, digest=Digest.of(b"placed")))
    writable("withdraw", "y", replace(other, digest=Digest.of(b"first")))
    assert ["y"] == writable.names()


def test_staging_goes_on_where_it_broke_off(writable, local):
    """The token of a process that died is taken up by another; the bytes are right, and there are no others."""
    file = local(BIG)
    token = writable("stage", "x", file, stop=True)
    assert [] == writable.names()
    placed = writable("commit", "x", writable("stage", "x", file, before=token))
    assert (len(BIG), BIG) == (placed.size, writable.get("x"))


def test_other_bytes_than_announced_are_not_staged(writable, local):
    """A local file that changed since it was hashed is refused."""
    with pytest.raises((DataError, FetchError)):
        writable("stage", "x", local(b"changed"), digest=str(Digest.of(b"as it was")))
    assert [] == writable.names()


def test_nothing_is_found_where_nothing_is(writable):
    """Neither a file nor its bytes."""
    assert writable("find", "nothing") is None
    with pytest.raises(NotThereError):
        writable("read_target", "nothing")
