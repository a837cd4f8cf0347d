"""What goes from a cache, and when: the longest unused first, and nothing that is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data.cache import Downloads, Wanted
from repro.data.checksum import tree_digest
from repro.data.keeping import Freed, Usage, evict, in_use, mark, usage
from repro.data.model import InputFile
from repro.data.trees import Trees
from repro.digest import Digest
from repro.errors import BusyError
from repro.events import ignore
from repro.files import remove_tree
from tests.data.memory import MemorySource
from tests.data.test_cache import origin_of

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache")


def used(downloads: Downloads, digest: Digest, seconds: float) -> None:
    """Have a file or tree as used that long ago."""
    mark(downloads.root, digest)
    os.utime(downloads.root / "used" / digest.hex, (time.time() - seconds,) * 2)


def blob(downloads: Downloads, data: bytes, seconds: float) -> Digest:
    """Add a file that was used that long ago."""
    digest = downloads.add_bytes(data)
    used(downloads, digest, seconds)
    return digest


def tree(downloads: Downloads, contents: dict[str, bytes], seconds: float) -> Digest:
    """Add a tree that was used that long ago, as were its files."""
    files = [InputFile(name, blob(downloads, data, seconds), len(data)) for name, data in contents.items()]
    digest = tree_digest((file.name, file.digest) for file in files)
    Trees(downloads).build(files, digest)
    used(downloads, digest, seconds)
    return digest


def test_a_mark_leaves_the_file_alone(downloads):
    """Neither mtime nor ctime of the cached file move, so what is known of its bytes stays known."""
    digest = downloads.add_bytes(b"data")
    before = os.stat(downloads.path(digest))
    downloads.mark(digest)
    downloads.mark(digest)
    after = os.stat(downloads.path(digest))
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    assert abs(time.time() - (downloads.root / "used" / digest.hex).stat().st_mtime) < 60


def test_what_is_fetched_and_taken_is_marked(downloads):
    """So is what was there already."""
    source = MemorySource({"": b"data"})
    wanted = Wanted("f", Digest.of(b"data"), 4, (), origin_of(source))
    downloads.fetch([wanted], sink=ignore, what="tests")
    used(downloads, wanted.digest, 1000)
    downloads.fetch([wanted], sink=ignore, what="tests")
    assert abs(time.time() - (downloads.root / "used" / wanted.digest.hex).stat().st_mtime) < 60
    source.put[""] = b"other"
    digest, _ = downloads.take("", origin_of(source), 5)
    assert (downloads.root / "used" / digest.hex).exists()


def test_the_longest_unused_goes_first(downloads):
    """Only as much goes as is needed; marks go with what they mark."""
    old, middle, new = (blob(downloads, bytes([age]) * 1000, age) for age in (90, 60, 30))
    assert Freed(1, 1000, 2000) == evict(downloads.root, 2000)
    assert [False, True, True] == [downloads.has(digest) for digest in (old, middle, new)]
    assert Freed(0, 0, 2000) == evict(downloads.root, 2000)
    assert Freed(2, 2000, 0) == evict(downloads.root, 0)
    assert [] == list((downloads.root / "used").iterdir())


def test_a_dry_run_says_the_same_and_removes_nothing(downloads):
    """Also while others use the cache."""
    for age in (90, 60, 30):
        blob(downloads, bytes([age]) * 1000, age)
    with in_use(downloads.root):
        assert Freed(2, 2000, 1000) == evict(downloads.root, 1500, dry_run=True)
    assert Usage(3000, 3, 0, 0) == usage(downloads.root)
    assert Freed(2, 2000, 1000) == evict(downloads.root, 1500)


def test_a_file_without_a_mark_is_as_old_as_its_coming(downloads):
    """Files of a cache that had no marks yet go before those used later."""
    unmarked = downloads.add_bytes(b"a" * 1000)
    (downloads.root / "used" / unmarked.hex).unlink(missing_ok=True)
    future = blob(downloads, b"b" * 1000, -1000)
    assert Freed(1, 1000, 1000) == evict(downloads.root, 1000)
    assert downloads.has(future)


def test_what_is_to_be_kept_stays(downloads):
    """A kept tree keeps the files that are linked into it, as a later build of it needs them."""
    digest = tree(downloads, {"a": b"a" * 1000, "b/c": b"c" * 1000}, 900)
    other = blob(downloads, b"o" * 1000, 10)
    kept = blob(downloads, b"k" * 1000, 900)
    linked = os.stat(downloads.path(Digest.of(b"a" * 1000))).st_nlink > 1
    evict(downloads.root, 0, [digest, kept])
    assert [True, True, False] == [Trees(downloads).verify(digest), downloads.has(kept), downloads.has(other)]
    assert linked == downloads.has(Digest.of(b"a" * 1000))


def test_linked_files_count_once_and_are_freed_once(downloads):
    """A tree of hard links takes nothing, and frees nothing before its files go, too."""
    digest = tree(downloads, {"a": b"a" * 1000, "b/c": b"c" * 1000}, 900)
    if os.stat(downloads.path(Digest.of(b"a" * 1000))).st_nlink == 1:
        pytest.skip("the file system has reflinks")
    new = blob(downloads, b"o" * 1000, 10)
    assert Usage(3000, 3, 1, 0) == usage(downloads.root)
    assert Freed(3, 2000, 1000) == evict(downloads.root, 1000)
    assert [False, True] == [Trees(downloads).path(digest).exists(), downloads.has(new)]


def test_a_download_that_broke_off_goes_as_others_do(downloads):
    """The older it is the earlier; one that somebody writes to stays."""
    folder = downloads.root / "tmp"
    folder.mkdir(parents=True)
    for name, age in (("a", 500), ("b", 5)):
        (folder / f"{name}.part").write_bytes(bytes(1000))
        os.utime(folder / f"{name}.part", (time.time() - age,) * 2)
    new = blob(downloads, b"n" * 1000, 50)
    assert Usage(3000, 1, 0, 2) == usage(downloads.root)
    assert Freed(1, 1000, 2000) == evict(downloads.root, 2000)
    assert ["b.part"] == [path.name for path in folder.iterdir()]
    assert Freed(2, 2000, 0) == evict(downloads.root, 0)
    assert not downloads.has(new)


def test_notes_that_nobody_came_back_for_go(downloads):
    """After a week; younger ones are of a lock that is continued."""
    source = MemorySource({"": b"data"})
    downloads.take("one", origin_of(source), 4)
    downloads.take("two", origin_of(source), 4)
    first = next((downloads.root / "tmp").glob("*.taken"))
    os.utime(first, (time.time() - 8 * 86400,) * 2)
    evict(downloads.root, 1 << 30)
    assert 1 == len(list((downloads.root / "tmp").iterdir()))


def test_what_is_in_use_is_not_removed(downloads):
    """The error says why, and what to do; who begins while it is removed waits."""
    blob(downloads, b"data", 10)
    with in_use(downloads.root), in_use(downloads.root), pytest.raises(BusyError) as caught:
        evict(downloads.root, 0)
    assert f"the cache {downloads.root} is in use" in str(caught.value)
    assert "  fix: wait until that has ended" in str(caught.value)
    assert Freed(1, 4, 0) == evict(downloads.root, 0)


def test_a_transfer_is_a_use(downloads):
    """Nothing is removed while files are fetched."""
    source = MemorySource({"": b"data"})
    refused: list[BusyError] = []

    def try_it(pieces):
        try:
            evict(downloads.root, 0)
        except BusyError as error:
            refused.append(error)
        yield from pieces

    source.faults = [try_it]
    downloads.fetch([Wanted("f", Digest.of(b"data"), 4, (), origin_of(source))], sink=ignore, what="tests")
    assert 1 == len(refused)


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    """And stays so."""
    assert Freed(0, 0, 0) == evict(tmp_path / "none", 0)
    assert Usage(0, 0, 0, 0) == usage(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_cache_that_cannot_be_written_can_be_used(tmp_path):
    """One that an administrator filled has no place for marks and locks."""
    (tmp_path / "file").write_text("")
    mark(tmp_path / "file", Digest.of(b"data"))
    with in_use(tmp_path / "file"):
        pass


EVICTOR = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from repro.data import keeping
    count = [int(sys.argv[2])]
    def killing(function):
        def call(*arguments, **named):
            if count[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] -= 1
            return function(*arguments, **named)
        return call
    keeping.os.rename = killing(os.rename)
    keeping.os.rmdir = killing(os.rmdir)
    os.unlink = killing(os.unlink)
    Path.unlink = killing(Path.unlink)
    keeping.evict(Path(sys.argv[1]), 0)
""")


@pytest.mark.parametrize("after", [0, 1, 2, 4, 5, 7])
def test_a_killed_evict_leaves_a_good_cache(downloads, after):
    """After kill -9 at any step what is still there is whole; the next evict removes the rest, remains included."""
    digest = tree(downloads, {"a": b"a" * 1000, "b/c": b"c" * 1000}, 900)
    new = blob(downloads, b"new", 10)
    victim = [sys.executable, "-c", EVICTOR, downloads.root, str(after)]
    assert -signal.SIGKILL == subprocess.run(victim, cwd=PROJECT, check=False).returncode
    assert not Trees(downloads).path(digest).exists() or Trees(downloads).verify(digest)
    assert not downloads.has(new) or b"new" == downloads.read(new)
    evict(downloads.root, 0)
    assert Usage(0, 0, 0, 0) == usage(downloads.root)
    assert [] == list((downloads.root / "trees").iterdir())


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 50)), min_size=1, max_size=8),
    limit=st.integers(0, 25),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_evict_leaves_the_newest_within_the_limit(tmp_path, sizes, limit):
    """Whatever there is: what stays fits, what went is older, and one file less would have been too few."""
    downloads = Downloads(tmp_path / "cache")
    remove_tree(downloads.root)
    ages: dict[Digest, float] = {}
    for number, (size, age) in enumerate(sizes):
        digest = blob(downloads, bytes([number]) * size, age * 1000 + number)
        ages[digest] = age * 1000 + number
    freed = evict(downloads.root, limit)
    stay = [age for digest, age in ages.items() if downloads.has(digest)]
    went = [age for digest, age in ages.items() if not downloads.has(digest)]
    assert freed.left <= limit
    assert freed.left == usage(downloads.root).bytes
    assert (len(went), sum(size for size, _ in sizes) - freed.left) == (freed.count, freed.bytes)
    assert not stay or not went or max(stay) < min(went)


def test_who_comes_while_it_is_removed_waits(downloads, monkeypatch):
    """A use begins after the removal, not in the middle of it."""
    blob(downloads, b"data", 10)
    order: list[str] = []

    def use() -> None:
        with in_use(downloads.root):
            order.append("used")

    thread = threading.Thread(target=use)
    unlink = Path.unlink

    def slow(path, **named):
        if not thread.is_alive() and not order:
            thread.start()
            time.sleep(0.2)
            order.append("removed")
        unlink(path, **named)

    monkeypatch.setattr(Path, "unlink", slow)
    evict(downloads.root, 0)
    thread.join()
    assert ["removed", "used"] == order
