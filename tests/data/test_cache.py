"""Downloads: what is in the cache is right, whoever dies, lies or races."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from repro.data.cache import Downloads, Wanted
from repro.data.transports import Transports
from repro.digest import Digest
from repro.errors import CorruptError, FetchError, StoreError
from repro.events import Progress, ignore
from tests.data.loopback import cut

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache", Transports({}, pause=0.001))


def want(loopback, name: str, data: bytes, *, served: bytes | None = None) -> Wanted:
    """Return a wish for ``data``; the server has ``served`` under its name, or ``data``."""
    loopback.files[f"/{name}"] = data if served is None else served
    return Wanted(name, Digest.of(data), len(data), (loopback.url(f"/{name}"),))


def leftovers(downloads: Downloads) -> list[str]:
    """Return the names of unfinished downloads."""
    return sorted(path.name for path in (downloads.root / "tmp").glob("*"))


def test_files_come_once_and_stay(loopback, downloads):
    """A second fetch asks the server for nothing; files are read-only and carry no time of today."""
    wanted = [want(loopback, f"f{number}", bytes([number]) * 1000) for number in range(20)]
    downloads.fetch(wanted, sink=ignore, what="tests")
    asked = len(loopback.requests)
    downloads.fetch(wanted, sink=ignore, what="tests", offline=True)
    assert 20 == asked == len(loopback.requests)
    found = os.stat(downloads.path(wanted[3].digest))
    assert (0o444, 0) == (stat.S_IMODE(found.st_mode), found.st_mtime)
    assert b"\3" * 1000 == downloads.read(wanted[3].digest)
    assert [] == leftovers(downloads)


@pytest.mark.parametrize("damage", [b"", b"x" * 999, b"x" * 1000])
def test_a_damaged_file_is_fetched_again(loopback, downloads, damage):
    """A truncated or changed file in the cache is noticed and replaced by the right bytes."""
    item = want(loopback, "f", b"f" * 1000)
    downloads.fetch([item], sink=ignore, what="tests")
    path = downloads.path(item.digest)
    path.chmod(0o644)
    path.write_bytes(damage)
    with pytest.raises(CorruptError):
        downloads.read(item.digest)
    downloads.fetch([item], sink=ignore, what="tests")
    assert b"f" * 1000 == downloads.read(item.digest)


def test_wrong_bytes_never_enter(loopback, downloads):
    """A mirror that serves other bytes of the same length is refused, with both digests, and nothing is kept."""
    item = want(loopback, "f", b"right", served=b"wrong")
    with pytest.raises(FetchError, match="other bytes than asked for came") as caught:
        downloads.fetch([item], sink=ignore, what="tests")
    assert str(item.digest) in str(caught.value)
    assert not downloads.has(item.digest)
    assert [] == leftovers(downloads)


def test_the_next_address_is_tried(loopback, downloads):
    """A second mirror helps where the first lacks the file or lies about it."""
    item = want(loopback, "good", b"right")
    loopback.files["/lie"] = b"wrong"
    urls = (loopback.url("/missing"), loopback.url("/lie"), *item.urls)
    downloads.fetch([Wanted("f", item.digest, item.size, urls)], sink=ignore, what="tests")
    assert b"right" == downloads.read(item.digest)


def test_all_failures_are_named_at_once_and_the_rest_is_kept(loopback, downloads):
    """One error lists every file that a mirror no longer has, and says how to go on; what came is not lost."""
    present = want(loopback, "here", b"here")
    gone = [Wanted(f"pkg{n} 1.{n}", Digest.of(b"%d" % n), 1, (loopback.url(f"/pkg{n}"),)) for n in range(3)]
    with pytest.raises(FetchError) as caught:
        downloads.fetch([*gone, present], sink=ignore, what="packages of align")
    text = str(caught.value)
    assert "3 of 4 files could not be had (packages of align)" in text
    assert [True] * 3 == [f"pkg{n} 1.{n}: the server does not have it" in text for n in range(3)]
    assert "REPRO_VENDOR" in text
    assert "REPRO_APT_MIRROR" in text
    assert "`repro lock --upgrade`" in text
    assert downloads.has(present.digest)


def test_many_failures_are_counted(downloads):
    """A message stays readable when a whole mirror is gone."""
    gone = [Wanted(f"p{n:03}", Digest.of(b"%d" % n), 1, ()) for n in range(100)]
    with pytest.raises(FetchError) as caught:
        downloads.fetch(gone, sink=ignore, what="tests")
    assert "p019: no address is known for it" in str(caught.value)
    assert "and 80 more" in str(caught.value)


def test_offline_says_what_is_missing(loopback, downloads):
    """Without the network the cache alone counts, and no request is made."""
    item = want(loopback, "f", b"f")
    with pytest.raises(FetchError, match="f: not in the cache"):
        downloads.fetch([item], sink=ignore, what="tests", offline=True)
    assert [] == loopback.requests


def test_a_damaged_file_that_cannot_be_had_again_says_so(loopback, downloads):
    """A changed copy is refused, and the message does not look as if the file had never been there."""
    item = want(loopback, "f", b"right")
    downloads.fetch([item], sink=ignore, what="tests")
    path = downloads.path(item.digest)
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    del loopback.files["/f"]
    with pytest.raises(FetchError, match="f: the copy in the cache was damaged and is removed; the server does not"):
        downloads.fetch([item], sink=ignore, what="tests")
    assert not downloads.has(item.digest)


def test_a_server_that_is_down_is_not_one_that_moved_on(downloads):
    """Where no answer comes, the way on is the network, not another version."""
    item = Wanted("f", Digest.of(b"f"), 1, ("http://127.0.0.1:1/f",))
    with pytest.raises(FetchError) as caught:
        downloads.fetch([item], sink=ignore, what="tests")
    assert "where the network can be reached" in str(caught.value)


def test_progress_ends_at_the_total(loopback, downloads):
    """The bytes told add up, also when a download breaks and a file was there before."""
    data = b"abcdefgh" * 100_000
    items = [want(loopback, "a", data), want(loopback, "b", data[::-1])]
    downloads.fetch(items[1:], sink=ignore, what="tests")
    loopback.faults["/a"] = [cut(data, 300_000)]
    told: list[Progress] = []
    downloads.fetch(items, sink=told.append, what="tests")
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert (2 * len(data), 2 * len(data), "bytes", "tests") == (
        told[-1].done,
        told[-1].total,
        told[-1].unit,
        told[-1].what,
    )


def test_added_bytes_are_found(downloads):
    """What was fetched by other means enters under its digest, once."""
    digest = downloads.add_bytes(b"InRelease")
    assert digest == downloads.add_bytes(b"InRelease")
    assert b"InRelease" == downloads.read(digest)
    assert [] == leftovers(downloads)


def test_an_unfinished_download_is_continued_and_a_stale_one_swept(loopback, downloads):
    """What a dead process left is used by the next that wants the file, else removed."""
    item = want(loopback, "f", b"0123456789" * 1000)
    folder = downloads.root / "tmp"
    folder.mkdir(parents=True)
    (folder / f"{item.digest.hex}.part").write_bytes(b"0123456789" * 400)
    (folder / f"{Digest.of(b'other').hex}.part").write_bytes(b"whatever")
    downloads.fetch([item], sink=ignore, what="tests")
    assert "bytes=4000-" == loopback.requests[0][1]["Range"]
    assert b"0123456789" * 1000 == downloads.read(item.digest)
    assert [] == leftovers(downloads)


@pytest.mark.parametrize("left", [b"x" * 400, b"x" * 1000, b"x" * 3000])
def test_an_unfinished_download_of_wrong_bytes_does_no_harm(loopback, downloads, left):
    """A left-over with garbage in it is replaced."""
    item = want(loopback, "f", b"0123456789" * 100)
    folder = downloads.root / "tmp"
    folder.mkdir(parents=True)
    (folder / f"{item.digest.hex}.part").write_bytes(left)
    downloads.fetch([item], sink=ignore, what="tests")
    assert b"0123456789" * 100 == downloads.read(item.digest)


FETCHER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from repro.data.cache import Downloads, Wanted
    from repro.data.transports import Transports
    from repro.digest import Digest
    from repro.events import ignore
    root, url, size, *digests = sys.argv[1:]
    wanted = [Wanted(d, Digest(d), int(size), (f"{url}{d}",)) for d in digests]
    Downloads(Path(root), Transports({}, pause=0.001)).fetch(wanted, sink=ignore, what="tests")
""")


def fetcher(downloads: Downloads, loopback, size: int, digests: list[Digest]) -> subprocess.Popen[bytes]:
    """Start a process that fetches ``digests``, served under their hex digits."""
    arguments = [str(downloads.root), loopback.url("/"), str(size), *(digest.hex for digest in digests)]
    return subprocess.Popen([sys.executable, "-c", FETCHER, *arguments], cwd=PROJECT, stderr=subprocess.PIPE)


def test_processes_share_a_cache(loopback, downloads):
    """Four processes that want the same files at once all succeed, and each file is asked for once."""
    contents = [bytes([n]) * 50_000 for n in range(10)]
    digests = [Digest.of(data) for data in contents]
    for digest, data in zip(digests, contents, strict=True):
        loopback.files[f"/{digest.hex}"] = data
    processes = [fetcher(downloads, loopback, 50_000, digests) for _ in range(4)]
    assert [(0, b"")] * 4 == [(process.wait(), process.communicate()[1]) for process in processes]
    assert contents == [downloads.read(digest) for digest in digests]
    assert sorted(f"/{digest.hex}" for digest in digests) == sorted(path for path, _ in loopback.requests)
    assert [] == leftovers(downloads)


def test_a_killed_process_leaves_a_usable_cache(loopback, downloads):
    """After kill -9 in the middle of a download the next fetch continues it and ends with the right bytes."""
    data = os.urandom(2_000_000)
    digest = Digest.of(data)
    loopback.files[f"/{digest.hex}"] = data
    victim: list[subprocess.Popen[bytes]] = []

    def stall(handler) -> None:
        cut(data, 1_200_000)(handler)
        part = downloads.root / "tmp" / f"{digest.hex}.part"
        while part.stat().st_size < 1_000_000:
            pass
        victim[0].send_signal(signal.SIGKILL)
        victim[0].wait()

    loopback.faults[f"/{digest.hex}"] = [stall]
    victim.append(fetcher(downloads, loopback, len(data), [digest]))
    assert -signal.SIGKILL == victim[0].wait()
    victim[0].communicate()
    downloads.fetch([Wanted("f", digest, len(data), (loopback.url(f"/{digest.hex}"),))], sink=ignore, what="tests")
    assert data == downloads.read(digest)
    assert [] == leftovers(downloads)


def test_a_wrong_size_does_not_cost_the_file(loopback, downloads):
    """A wish with the right digest and a wrong size, as in an edited lock, is refused; the good copy stays."""
    item = want(loopback, "f", b"right")
    downloads.fetch([item], sink=ignore, what="tests")
    with pytest.raises(FetchError, match="it has 5 bytes, and 7 are asked for"):
        downloads.fetch([Wanted("f", item.digest, 7, item.urls)], sink=ignore, what="tests")
    assert b"right" == downloads.read(item.digest)


def test_a_folder_that_cannot_be_written_names_the_way_out(loopback, tmp_path):
    """A cache below a file, which not even root can make, says which variable to set."""
    (tmp_path / "file").write_text("")
    downloads = Downloads(tmp_path / "file" / "cache", Transports({}, pause=0.001))
    with pytest.raises(StoreError, match="REPRO_CACHE"):
        downloads.fetch([want(loopback, "f", b"f")], sink=ignore, what="tests")
