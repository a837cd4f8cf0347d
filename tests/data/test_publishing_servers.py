"""Publishing to real servers: whole, idempotent, going on after kill -9, and one winner of two."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repro.data.answers import UnreachableError
from repro.data.publication import MANIFEST, Item, Publication
from repro.data.publishing import publish
from repro.data.sources.model import DeniedError, ExistsError, Reach
from repro.data.sources.opening import open_source, open_target
from repro.data.sums_text import list_text
from repro.digest import Digest
from repro.events import ignore
from repro.names import DataUri
from repro.workflow.model import Access

SERVERS = {
    "folder": ("folder", "FolderServer"),
    "nfs": ("nfs", "NfsData"),
    "s3": ("s3", "S3Server"),
    "sftp": ("sftp", "SftpServer"),
    "smb": ("smb", "SmbServer"),
}
PROJECT = Path(__file__).resolve().parents[2]
BYTES = {f"{number}/é {number}.txt": f"file {number}\n".encode() * 50 for number in range(4)} | {
    "large.bin": os.urandom(1 << 20) * 20,  # more than one part of an upload
    "empty": b"",
}


@pytest.fixture(
    scope="module",
    params=["folder", "nfs", "s3", *(pytest.param(name, marks=pytest.mark.judge) for name in ("sftp", "smb"))],
)
def server(request):
    """A server of each kind that can be written to."""
    module, name = SERVERS[request.param]
    served = importlib.import_module(f"tests.data.served.{module}")
    if absent := served.missing():
        pytest.skip(f"not here: {absent}")
    folder = Path(tempfile.mkdtemp(prefix="repro-published-", dir="/var/tmp"))
    folder.chmod(0o755)
    server = getattr(served, name)(folder / "server")
    (folder / "server").chmod(0o755)
    server.start()
    yield server
    getattr(server, "close", server.stop)()
    shutil.rmtree(folder)


@pytest.fixture
def made(tmp_path):
    """The folder of this machine whose files are published."""
    for name, data in BYTES.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_bytes(data)
    return tmp_path / "made"


FEW = {"a/é.txt": BYTES["0/é 0.txt"], "b": b"b"}


@pytest.fixture
def few(tmp_path):
    """A folder with only small files, for what does not depend on how they are sent."""
    for name, data in FEW.items():
        (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "few" / name).write_bytes(data)
    return tmp_path / "few"


def _publication(server, area, made, state, *, wrap=lambda target: target, attempts=3):
    address = f"{server.root}{area}/"
    reach = Reach(server.settings, os.getuid(), os.getgid(), timeout=20, attempts=attempts, pause=0.05)
    items = [
        Item(str(path.relative_to(made)), path, Digest.of_file(path), path.stat().st_size)
        for path in sorted(made.rglob("*"))
        if path.is_file()
    ]
    uri = DataUri.parse(address)
    return Publication(
        wrap(open_target(uri, Access(), reach)),
        items,
        address=address,
        state=state,
        reach=reach,
        source=lambda: open_source(uri, Access(), reach),
    )


def _seen(server, area):
    return {name.removeprefix(f"{area}/"): server.get(name) for name in server.names() if name.startswith(f"{area}/")}


def _expected(files):
    return {**files, MANIFEST: list_text({name: Digest.of(data) for name, data in files.items()})}


def _staged(server, area):
    """Return what is at the server, unseen, of publications that ended.

    An S3 upload without bytes does not count: one is left by a kill between the server's answer and the note of it.
    """
    if server.kind == "s3":
        client = server.client()
        uploads = client.list_multipart_uploads(Bucket="data").get("Uploads", [])
        named = [(upload["Key"], upload["UploadId"]) for upload in uploads if upload["Key"].startswith(f"{area}/")]
        return [key for key, one in named if client.list_parts(Bucket="data", Key=key, UploadId=one).get("Parts")]
    return [path.name for path in (server.data / area).rglob(".repro-staging-*")]


class Noting:
    """A target that notes what is asked of it, and asks ``also`` before and after."""

    def __init__(self, target, said, also=lambda: None):
        self._target, self._said, self._also = target, said, also

    def __getattr__(self, operation):
        asked = getattr(self._target, operation)

        def ask(*arguments, **more):
            self._said.append(operation)
            if operation == "stage":
                more |= {name: self._before(more[name]) for name in ("note", "told")}
            self._also()
            answer = asked(*arguments, **more)
            self._also()
            return answer

        return ask if callable(asked) else asked

    def _before(self, call):
        def ask(*arguments):
            self._also()
            return call(*arguments)

        return ask


def test_published_once_and_again(server, made, tmp_path):
    """All files are there with their list; again nothing is sent; another machine finds the same, and drift."""
    area = "again"
    one = publish([_publication(server, area, made, tmp_path / "one")], replace=False, sink=ignore)
    assert {"sent"} == {file.state for file in one}
    assert _expected(BYTES) == _seen(server, area)
    said = []
    for state in ("one", "two"):
        again = _publication(server, area, made, tmp_path / state, wrap=lambda target: Noting(target, said))
        assert {"there"} == {file.state for file in publish([again], replace=False, sink=ignore)}
    assert {"find", "read", "close"} == set(said)
    server.put(f"{area}/0/é 0.txt", BYTES["1/é 1.txt"])  # as long
    with pytest.raises(ExistsError):
        publish([_publication(server, area, made, tmp_path / "one")], replace=False, sink=ignore)
    publish([_publication(server, area, made, tmp_path / "one")], replace=True, sink=ignore)
    assert (_expected(BYTES), []) == (_seen(server, area), _staged(server, area))


class Rewriting(Noting):
    """A target at which somebody else writes ``name`` again before a commit of it."""

    def __init__(self, target, server, area, name):
        super().__init__(target, [])
        self._server, self._area, self._name = server, area, name

    def commit(self, name, *arguments, **more):
        """Be late."""
        if name == self._name:
            _write_again(self._server, f"{self._area}/{name}")
        return self._target.commit(name, *arguments, **more)


def _write_again(server, name):
    """Have other bytes at ``name``, as many; where times are whole seconds (SFTP), in the same one."""
    before = (server.data / name).stat().st_mtime if server.kind == "sftp" else None
    server.put(name, server.get(name)[::-1])
    if before is not None:
        os.utime(server.data / name, (before, int(before)))


def test_what_was_written_again_in_the_same_second_is_told(server, few, tmp_path):
    """Also where it has the same size and time: it is not taken for what was published."""
    area = "second"
    publish([_publication(server, area, few, tmp_path / "s")], replace=False, sink=ignore)
    _write_again(server, f"{area}/a/é.txt")
    with pytest.raises(ExistsError) as caught:
        publish([_publication(server, area, few, tmp_path / "s")], replace=False, sink=ignore)
    assert (caught.value.why or "").endswith("a/é.txt")
    publish([_publication(server, area, few, tmp_path / "s")], replace=True, sink=ignore)
    assert _expected(FEW) == _seen(server, area)


@pytest.mark.parametrize("size", [len(FEW["a/é.txt"]), 1000])
def test_what_was_not_looked_at_is_not_replaced(server, few, tmp_path, size):
    """Another state than the one seen stays, also where its size and time are the same."""
    area, name, theirs = f"replaced {size}", "a/é.txt", os.urandom(size)
    server.put(f"{area}/{name}", theirs)
    if server.kind == "sftp":
        os.utime(server.data / area / name)  # now: times of yesterday would be believed
    late = _publication(server, area, few, tmp_path / "s", wrap=lambda target: Rewriting(target, server, area, name))
    with pytest.raises(ExistsError):
        publish([late], replace=True, sink=ignore)
    assert ({name: theirs[::-1]}, []) == (_seen(server, area), _staged(server, area))
    publish([_publication(server, area, few, tmp_path / "s")], replace=True, sink=ignore)
    assert _expected(FEW) == _seen(server, area)


def test_failure_takes_everything_back(server, made, tmp_path):
    """When the last file cannot be put in place, nobody sees the others; then it goes on."""
    area, count = "failure", [0]

    class Failing(Noting):
        def commit(self, *arguments, **more):
            count[0] += 1
            if count[0] == len(BYTES):
                raise DeniedError("no")
            return self._target.commit(*arguments, **more)

    with pytest.raises(DeniedError):
        failing = _publication(server, area, made, tmp_path / "s", wrap=lambda target: Failing(target, []))
        publish([failing], replace=False, sink=ignore)
    assert {} == _seen(server, area)
    publish([_publication(server, area, made, tmp_path / "s")], replace=False, sink=ignore)
    assert (_expected(BYTES), []) == (_seen(server, area), _staged(server, area))


@pytest.mark.judge
@pytest.mark.parametrize("attempts", [12, 1])
def test_server_that_dies_in_mid_transfer(server, made, tmp_path, attempts):
    """A server that is started again soon is waited for; for one that is not, what was sent is kept."""
    if server.kind == "folder":
        pytest.skip("no server")
    area, once, died = f"dies {attempts}", threading.Lock(), threading.Event()

    class Dying(Noting):
        def stage(self, name, *arguments, **more):
            def tell(count, told=more["told"]):
                if name == "large.bin" and once.acquire(blocking=False):
                    server.kill()
                    died.set()
                told(count)

            return self._target.stage(name, *arguments, **{**more, "told": tell})

    dying = _publication(server, area, made, tmp_path / "s", wrap=lambda target: Dying(target, []), attempts=attempts)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish, [dying], replace=False, sink=ignore)
        assert died.wait(30)
        if attempts == 1:
            with pytest.raises(UnreachableError, match="cannot be reached"):
                publishing.result()
        else:
            time.sleep(1)
        server.start()  # by this thread, for the server dies with the thread that started it
        if attempts > 1:
            assert {"sent"} == {file.state for file in publishing.result()}
    publish([_publication(server, area, made, tmp_path / "s", attempts=5)], replace=False, sink=ignore)
    assert (_expected(BYTES), []) == (_seen(server, area), _staged(server, area))


def test_of_two_publishers_one_wins(server, tmp_path):
    """Two that publish other bytes to one place at once: one is told, and what is seen is the other's, whole."""
    told, barrier = {}, threading.Barrier(2)

    def run(who):
        folder = tmp_path / who
        for number in range(5):
            (folder / str(number)).parent.mkdir(exist_ok=True)
            (folder / str(number)).write_text(f"{who} {number}")
        publication = _publication(server, "race", folder, tmp_path / f"{who}-state")
        barrier.wait()
        try:
            publish([publication], replace=False, sink=ignore)
        except ExistsError as error:
            told[who] = error

    threads = [threading.Thread(target=run, args=(who,)) for who in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (loser,) = told
    winner = "two" if loser == "one" else "one"
    assert _expected({str(n): f"{winner} {n}".encode() for n in range(5)}) == _seen(server, "race")
    assert [] == _staged(server, "race")


# ---- kills


def publish_and_die(kind, root, settings, area, made, state, number):
    """Publish, and die at the ``number``-th moment; print how many there are. Runs in a process of its own."""
    guard, done = threading.Lock(), [0]

    def moment():
        with guard:
            done[0] += 1
            if done[0] == number:
                os.kill(os.getpid(), 9)

    class Server:
        pass

    Server.kind, Server.root, Server.settings = kind, root, settings
    one = _publication(Server, area, Path(made), Path(state), wrap=lambda target: Noting(target, [], moment))
    publish([one], replace=False, sink=ignore)
    print(done[0])


def _die(server, area, made, state, number):
    arguments = json.dumps([server.kind, server.root, dict(server.settings), area, str(made), str(state), number])
    code = "import json, sys; from tests.data.test_publishing_servers import publish_and_die as run; "
    return subprocess.run(
        [sys.executable, "-c", f"{code}run(*json.loads(sys.argv[1]))", arguments],
        cwd=PROJECT, env={**os.environ, **server.settings}, text=True, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("points", [1, pytest.param(20, marks=pytest.mark.judge)])
def test_killed_at_any_moment_goes_on(server, made, tmp_path, points):
    """kill -9 at moments of a publication: the next completes it, and leaves nothing foreign, seen or unseen."""
    whole = _die(server, f"whole {points}", made, tmp_path / "whole", 0)
    assert "" == whole.stderr
    for point in range(points):
        area, state = f"killed {points} {point}", tmp_path / f"state-{point}"
        died = _die(server, area, made, state, 1 + (2 * point + 1) * int(whole.stdout) // (2 * points))
        assert -9 == died.returncode, died.stderr
        assert MANIFEST not in _seen(server, area) or _expected(BYTES) == _seen(server, area)
        publish([_publication(server, area, made, state)], replace=False, sink=ignore)
        assert (_expected(BYTES), []) == (_seen(server, area), _staged(server, area))
