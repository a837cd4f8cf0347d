"""Downloads: what is in the cache is right, whoever dies, lies or races."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from repro.data.cache import AlteredError, Downloads, Sought, Wanted
from repro.data.origin import Origin
from repro.data.parallel import UnfetchedError
from repro.data.part import Counter, open_part
from repro.data.sources.model import ChangedError, SourceFile
from repro.data.transports import Transports
from repro.digest import Digest
from repro.errors import CorruptError, FetchError, Interrupted, StoreError
from repro.events import Progress, ignore
from tests.data.loopback import cut
from tests.data.memory import PIECE, REACH, MemorySource, broken, doing, short

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
    """What a dead process left is used by the next that wants the file; after a week it is removed."""
    item = want(loopback, "f", b"0123456789" * 1000)
    folder = downloads.root / "tmp"
    folder.mkdir(parents=True)
    (folder / f"{item.digest.hex}.part").write_bytes(b"0123456789" * 400)
    for name, age in (("old", 8 * 86400), ("new", 3600)):
        other = folder / f"{Digest.of(name.encode()).hex}.part"
        other.write_bytes(b"whatever")
        os.utime(other, (time.time() - age,) * 2)
    downloads.fetch([item], sink=ignore, what="tests")
    assert "bytes=4000-" == loopback.requests[0][1]["Range"]
    assert b"0123456789" * 1000 == downloads.read(item.digest)
    assert [f"{Digest.of(b'new').hex}.part"] == leftovers(downloads)


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


DATA = bytes(range(256)) * 40


def origin_of(source: MemorySource, name: str = "") -> Origin:
    """Return a file of ``source`` as it is listed now."""
    return Origin(source, source.stat(name), REACH, "s3://bucket/")


def test_an_origin_is_asked_after_all_addresses(loopback, downloads):
    """Where no address has the file, its source brings it; where one has, the source is left alone."""
    source = MemorySource({"": DATA})
    origin = origin_of(source)
    missing = Wanted("f", Digest.of(DATA), len(DATA), (loopback.url("/missing"),), origin)
    downloads.fetch([missing], sink=ignore, what="tests")
    assert DATA == downloads.read(Digest.of(DATA))
    other = want(loopback, "g", b"g" * 1000)
    downloads.fetch([Wanted("g", other.digest, 1000, other.urls, origin)], sink=ignore, what="tests")
    assert [("", 0)] == source.asked


@pytest.mark.parametrize("served", [DATA[::-1], DATA[:-1] + b"x"])
def test_wrong_bytes_with_the_right_length_are_refused(downloads, served):
    """The error has the digest that came; nothing is kept, and the next fetch begins anew."""
    source = MemorySource({"": served})
    wanted = Wanted("f", Digest.of(DATA), len(DATA), (), Origin(source, SourceFile("", len(DATA)), REACH, "s3://b/f"))
    with pytest.raises(UnfetchedError) as caught:
        downloads.fetch([wanted], sink=ignore, what="tests")
    ((name, error),) = caught.value.failures
    assert isinstance(error, AlteredError)
    assert ("f", Digest.of(served)) == (name, error.found)
    assert [] == leftovers(downloads)
    source.put[""] = DATA
    downloads.fetch([wanted], sink=ignore, what="tests")
    assert DATA == downloads.read(Digest.of(DATA))


def test_a_vendor_folder_is_asked_before_the_origin(tmp_path, loopback):
    """What a vendor folder has does not come from its source."""
    digest = Digest.of(DATA)
    loopback.files[f"/blobs/sha256/{digest.hex}"] = DATA
    source = MemorySource({"": DATA})
    downloads = Downloads(tmp_path / "cache", Transports({}, pause=0.001), [loopback.url("")])
    downloads.fetch([Wanted("f", digest, len(DATA), (), origin_of(source))], sink=ignore, what="tests")
    assert [] == source.asked


def test_a_vendor_folder_that_lies_is_no_drift_of_the_origin(tmp_path, loopback):
    """What the origin said is told: that another place has other bytes says nothing about it."""
    digest = Digest.of(DATA)
    loopback.files[f"/blobs/sha256/{digest.hex}"] = DATA[::-1]
    source = MemorySource({"": DATA})
    origin = origin_of(source)
    downloads = Downloads(tmp_path / "cache", Transports({}, pause=0.001), [loopback.url("")])
    source.faults = [broken()] * 5
    with pytest.raises(UnfetchedError, match="the connection broke"):
        downloads.fetch([Wanted("f", digest, len(DATA), (), origin)], sink=ignore, what="tests")
    source.faults = []
    downloads.fetch([Wanted("f", digest, len(DATA), (), origin)], sink=ignore, what="tests")
    assert DATA == downloads.read(digest)


def test_what_is_taken_is_kept_under_its_digest(downloads):
    """A file of unknown digest, and one of unknown size, come with both, read-only and without a time of today."""
    source = MemorySource({"": DATA})
    assert (Digest.of(DATA), len(DATA)) == downloads.take("key", origin_of(source), len(DATA))
    assert (Digest.of(b""), 0) == downloads.take("", origin_of(MemorySource({"": b""})), None)
    found = os.stat(downloads.path(Digest.of(DATA)))
    assert (0o444, 0) == (stat.S_IMODE(found.st_mode), found.st_mtime)
    assert DATA == downloads.read(Digest.of(DATA))
    downloads.forget(["key"])
    assert [] == leftovers(downloads)


def test_what_was_taken_is_not_taken_again_until_it_is_forgotten(downloads):
    """A lock of many files that was killed at the end has nothing to bring again."""
    source = MemorySource({"": DATA})
    for _ in range(2):
        downloads.take("key", origin_of(source), len(DATA))
    assert 1 == len(source.asked)
    downloads.path(Digest.of(DATA)).unlink()
    downloads.take("key", origin_of(source), len(DATA))
    downloads.forget(["key", "another"])
    downloads.take("key", origin_of(source), len(DATA))
    assert 3 == len(source.asked)


def test_a_file_taken_again_leaves_the_one_that_is_there(downloads):
    """Equal bytes of another address do not move the times of the cached file."""
    downloads.take("one", origin_of(MemorySource({"": DATA})), len(DATA))
    before = os.stat(downloads.path(Digest.of(DATA)))
    downloads.take("two", origin_of(MemorySource({"": DATA})), len(DATA))
    after = os.stat(downloads.path(Digest.of(DATA)))
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)


def test_a_taking_that_broke_off_is_continued_in_the_same_state_only(downloads):
    """With the key of another ETag it begins at the first byte; a part of the old state is never in the new file."""
    source = MemorySource({"": DATA})
    source.faults = [broken(4), *[broken()] * 5]
    with pytest.raises(FetchError):
        downloads.take("etag 1", origin_of(source), len(DATA))
    source.faults = []
    assert (Digest.of(DATA), len(DATA)) == downloads.take("etag 1", origin_of(source), len(DATA))
    assert 4 * PIECE == source.asked[-1][1]
    source.faults = [broken(4), *[broken()] * 5]
    with pytest.raises(FetchError):
        downloads.take("etag 2", origin_of(source), len(DATA))
    source.faults = []
    source.put[""] = DATA[::-1]
    assert (Digest.of(DATA[::-1]), len(DATA)) == downloads.take("etag 3", origin_of(source), len(DATA))
    assert 0 == source.asked[-1][1]


def test_a_truncated_file_is_never_taken(downloads):
    """A transfer that ends early, always, is a failure."""
    source = MemorySource({"": DATA})
    source.faults = [short(5), *[short()] * 5]
    with pytest.raises(FetchError, match="truncated: 5000 of 10240 bytes came"):
        downloads.take("key", origin_of(source), len(DATA))
    assert not (downloads.root / "sha256").exists()


def test_a_listed_state_that_is_gone_is_an_error(downloads):
    """What changed between the listing and the transfer is not taken."""
    source = MemorySource({"": DATA})
    origin = origin_of(source)
    source.put[""] = DATA[::-1]
    with pytest.raises(ChangedError):
        downloads.take("key", origin, len(DATA))


def test_several_are_taken_at_once_in_order(downloads):
    """Results come in the order asked for; the progress ends at the sum."""
    contents = {str(number): bytes([number]) * (1000 + number) for number in range(30)}
    source = MemorySource(contents)
    sought = [Sought(name, name, origin_of(source, name), len(data)) for name, data in contents.items()]
    told: list[Progress] = []
    taken = downloads.take_all(sought, sink=told.append, what="ref/")
    assert [(Digest.of(data), len(data)) for data in contents.values()] == taken
    total = sum(map(len, contents.values()))
    assert ("ref/", total, total) == (told[-1].what, told[-1].done, told[-1].total)


def test_sizes_that_nobody_knows_make_the_total_grow(downloads):
    """No progress is beyond its total."""
    source = MemorySource({"": DATA})
    told: list[Progress] = []
    downloads.take_all([Sought("f", "k", origin_of(source), None)], sink=told.append, what="f")
    assert [] == [event for event in told if event.done > event.total]


def test_all_that_could_not_be_taken_is_named(downloads):
    """One error names each; what came is there."""
    source = MemorySource({"a": DATA, "b": DATA[1:]})
    sought = [Sought(f"s3://bucket/{name}", name, origin_of(source, name), None) for name in ("a", "b")]
    del source.put["a"]
    with pytest.raises(UnfetchedError, match=r"1 of 2 files could not be had \(ref/\)") as caught:
        downloads.take_all(sought, sink=ignore, what="ref/")
    assert "s3://bucket/a: the server does not have it" in str(caught.value)
    assert "REPRO_APT_MIRROR" not in str(caught.value)
    assert downloads.has(Digest.of(DATA[1:]))


def test_a_server_that_is_down_is_not_asked_for_each_of_many_files(downloads):
    """After some failures in a row no more is begun."""
    source = MemorySource({str(number): b"%d" % number for number in range(200)})
    sought = [Sought(name, name, origin_of(source, name), None) for name in source.put]
    source.faults = [broken()] * 1000
    with pytest.raises(UnfetchedError) as caught:
        downloads.take_all(sought, sink=ignore, what="ref/")
    assert 200 == len(caught.value.failures)
    assert 100 * REACH.attempts > len(source.asked)
    assert "where the network can be reached" in str(caught.value)


def test_a_stop_ends_a_pause_at_once(downloads):
    """Ctrl-C does not wait for the next attempt."""
    stop = threading.Event()
    source = MemorySource({"": DATA})
    patient = type(REACH)({}, 0, 0, attempts=5, pause=60.0)
    source.faults = [broken()]
    origin = Origin(source, source.stat(), patient, "s3://b/f")
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        downloads.take("key", origin, len(DATA), Counter(ignore, "f", len(DATA)), stop)
    assert time.monotonic() - began < 30


def test_a_stop_ends_the_wait_for_another_process(downloads):
    """Ctrl-C does not wait until somebody else has fetched the file."""
    item = Wanted("f", Digest.of(DATA), len(DATA), (), origin_of(MemorySource({"": DATA})))
    stop = threading.Event()
    with open_part(downloads.root / "tmp" / f"{item.digest.hex}.part"):
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(Interrupted):
            downloads.have(item, Counter(ignore, "f", len(DATA)), stop)
    downloads.have(item, Counter(ignore, "f", len(DATA)), threading.Event())
    assert DATA == downloads.read(item.digest)


def test_two_threads_take_the_same_at_once(downloads):
    """Both have the right answer, and the bytes come once."""
    source = MemorySource({"": DATA})
    inside = threading.Event()
    source.faults = [doing(lambda: inside.wait(5), after=2)]
    results: list[tuple[Digest, int]] = []
    threads = [
        threading.Thread(target=lambda: results.append(downloads.take("key", origin_of(source), len(DATA))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    inside.set()
    for thread in threads:
        thread.join()
    assert [(Digest.of(DATA), len(DATA))] * 2 == results
    assert 1 == len(source.asked)


TAKER = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from repro.data.cache import Downloads
    from tests.data.memory import MemorySource, doing
    from tests.data.test_cache import DATA, origin_of
    source = MemorySource({"": DATA})
    source.faults = [doing(lambda: os.kill(os.getpid(), signal.SIGKILL), after=int(sys.argv[2]))]
    Downloads(Path(sys.argv[1])).take("key", origin_of(source), len(DATA))
""")


@pytest.mark.parametrize("after", [0, 1, 9, 10])
def test_a_killed_taking_is_continued_by_another_process(downloads, after):
    """After kill -9 at any piece the next begins where it was, and has the right bytes."""
    victim = subprocess.run([sys.executable, "-c", TAKER, downloads.root, str(after)], cwd=PROJECT, check=False)
    assert -signal.SIGKILL == victim.returncode
    source = MemorySource({"": DATA})
    assert (Digest.of(DATA), len(DATA)) == downloads.take("key", origin_of(source), len(DATA))
    assert [("", after * PIECE)] == source.asked
    assert DATA == downloads.read(Digest.of(DATA))


ENDER = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from repro.data.cache import Downloads
    from tests.data.memory import MemorySource
    from tests.data.test_cache import DATA, origin_of
    name = sys.argv[2]
    real = getattr(os, name)
    def die(*arguments):
        if sys.argv[3] == "after":
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, die)
    Downloads(Path(sys.argv[1])).take("key", origin_of(MemorySource({"": DATA})), len(DATA))
""")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["pwrite", "write", "fchmod", "utime", "rename"])
def test_a_taking_killed_at_its_end_is_ended_by_the_next(downloads, call, when):
    """After kill -9 at any step the next ends it, with the right bytes, and fetches none of those that were kept."""
    victim = [sys.executable, "-c", ENDER, downloads.root, call, when]
    assert -signal.SIGKILL == subprocess.run(victim, cwd=PROJECT, check=False).returncode
    source = MemorySource({"": DATA})
    assert (Digest.of(DATA), len(DATA)) == downloads.take("key", origin_of(source), len(DATA))
    begins = {("pwrite", "before"): [("", 0)], ("pwrite", "after"): [("", PIECE)], ("rename", "after"): []}
    assert begins.get((call, when), [("", len(DATA))]) == source.asked
    assert DATA == downloads.read(Digest.of(DATA))
    downloads.forget(["key"])
    assert [] == leftovers(downloads)


def test_processes_take_the_same_at_once(downloads):
    """All have the right answer, and nothing is left beside it."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from repro.data.cache import Downloads
        from tests.data.memory import MemorySource
        from tests.data.test_cache import DATA, origin_of
        print(Downloads(Path(sys.argv[1])).take("key", origin_of(MemorySource({"": DATA})), len(DATA))[0].hex)
    """)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, downloads.root], cwd=PROJECT, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [f"{Digest.of(DATA).hex}\n".encode()] * 3 == [process.communicate()[0] for process in processes]
    downloads.forget(["key"])
    assert [] == leftovers(downloads)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "repro-test", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("way", ["take", "fetch"])
def test_a_full_disk_is_said_and_what_came_is_continued(small_disk, way):
    """The error names the folder and how much more is needed; with room the transfer goes on where it was."""
    data = os.urandom(900_000)
    source = MemorySource({"": data})
    downloads = Downloads(small_disk / "cache")
    (small_disk / "other").write_bytes(bytes(600_000))

    def transfer() -> None:
        if way == "take":
            downloads.take("key", origin_of(source), len(data))
        else:
            wanted = Wanted("f", Digest.of(data), len(data), (), origin_of(source))
            downloads.fetch([wanted], sink=ignore, what="tests")

    with pytest.raises(StoreError, match=f"the disk of the cache {small_disk / 'cache'} is full") as caught:
        transfer()
    assert "more bytes are needed for one file" in str(caught.value)
    assert "repro data gc" in str(caught.value)
    (small_disk / "other").unlink()
    transfer()
    assert source.asked[-1][1] > 300_000
    assert data == downloads.read(Digest.of(data))
