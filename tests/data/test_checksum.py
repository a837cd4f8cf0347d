"""Digests of files and folders, and the cache that must never believe a file that may have been written since."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data import checksum
from repro.data.checksum import StatCache, signature, tree_digest, walk
from repro.data.clocks import Clocks
from repro.digest import Digest
from repro.errors import DataError

LATER = 3_600 * 10**9  # an hour in ns: files made now are old then


def later() -> int:
    """Return a time at which files made now are clearly old."""
    return time.time_ns() + LATER


def make_tree(root, files):
    """Write the files below ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_digest_and_size_are_those_of_the_bytes(tmp_path):
    """A file's digest is the sha256 of its bytes, as sha256sum prints it."""
    (tmp_path / "a").write_bytes(b"abc")
    assert (Digest.of(b"abc"), 3) == StatCache(tmp_path / "cache").digest_file(tmp_path / "a")


def test_old_file_is_not_read_twice(tmp_path):
    """A file that was old when it was hashed is answered from the cache, also by a later process."""
    (tmp_path / "a").write_bytes(b"abc")
    first = StatCache(tmp_path / "cache", now_ns=later)
    first.digest_file(tmp_path / "a")
    first.save()
    second = StatCache(tmp_path / "cache", now_ns=later)
    second.load()
    os.chmod(tmp_path / "cache", 0o600)
    assert second._remembered(str(tmp_path / "a")) == (Digest.of(b"abc").hex, 3)


def test_racy_entry_is_never_trusted(tmp_path):
    """A file hashed right after it was written is read again: another write may leave every stamp as it was."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    cache = StatCache(tmp_path / "cache")
    before = path.stat()
    cache.digest_file(path)
    path.write_bytes(b"new")  # same size, same inode
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Digest.of(b"new") == cache.digest_file(path)[0]
    assert cache._remembered(str(path)) is None


@pytest.mark.parametrize("change", ["content", "mtime", "replaced"])
def test_change_is_seen(tmp_path, change):
    """A remembered digest is dropped once content, times or inode of the file differ."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    cache = StatCache(tmp_path / "cache", now_ns=later)
    cache.digest_file(path)
    if change == "content":
        path.write_bytes(b"longer")
    elif change == "mtime":
        os.utime(path, ns=(1, 1))
    else:
        (tmp_path / "b").write_bytes(b"new")
        os.rename(tmp_path / "b", path)
    assert cache._remembered(str(path)) is None
    assert Digest.of(path.read_bytes()) == cache.digest_file(path)[0]


def test_damaged_cache_counts_as_empty(tmp_path):
    """Cut anywhere, or with any byte changed, the cache's file counts as empty; never is a wrong digest believed."""
    (tmp_path / "a").write_bytes(b"abc")
    first = StatCache(tmp_path / "cache", now_ns=later)
    first.digest_file(tmp_path / "a")
    first.save()
    whole = (tmp_path / "cache").read_bytes()
    cuts = [whole[:length] for length in range(len(whole))]
    flips = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for data in (*cuts, *flips, bytes(len(whole)), whole + b"x", b'{"version": 1, "entries": {}}'):
        (tmp_path / "cache").write_bytes(data)
        cache = StatCache(tmp_path / "cache", now_ns=later)
        cache.load()
        assert cache._remembered(str(tmp_path / "a")) is None
        assert Digest.of(b"abc") == cache.digest_file(tmp_path / "a")[0]
    (tmp_path / "cache").write_bytes(whole)
    cache.load()
    assert cache._remembered(str(tmp_path / "a")) is not None


def remembering(tmp_path, now_ns=later, **options):
    """Return a cache that has read the file of those before it."""
    cache = StatCache(tmp_path / "cache", now_ns=now_ns, **options)
    cache.load()
    return cache


def test_clock_set_back(tmp_path):
    """What was hashed before the clock was set back is forgotten, and not believed when that time comes again."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    first = remembering(tmp_path)
    first.digest_file(path)
    first.save()
    back = remembering(tmp_path, now_ns=lambda: path.stat().st_ctime_ns - LATER)
    assert back._remembered(str(path)) is None
    back.digest_file(path)
    back.save()
    assert remembering(tmp_path)._remembered(str(path)) is None


def test_file_from_the_future_is_read_each_time(tmp_path):
    """A file whose mtime is still to come is not remembered: it may be written at that time."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    os.utime(path, ns=(later() + LATER, later() + LATER))
    cache = remembering(tmp_path)
    cache.digest_file(path)
    assert cache._remembered(str(path)) is None


def test_restored_backup_is_read_again(tmp_path):
    """Other bytes under the same name, size, mtime and even inode have another ctime, and are seen."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.utime(path, ns=(10**18, 10**18))
    cache = remembering(tmp_path)
    cache.digest_file(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(10**18, 10**18))
    assert Digest.of(b"new") == cache.digest_file(path)[0]


def test_copied_project_is_read_again(tmp_path):
    """A project that was copied with its cache, times kept, is believed in nothing: its files are others."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a").write_bytes(b"abc")
    first = StatCache(tmp_path / "one" / "cache", now_ns=later)
    first.digest_file(tmp_path / "one" / "a")
    first.save()
    subprocess.run(["cp", "-a", tmp_path / "one", tmp_path / "copy"], check=True)
    os.rename(tmp_path / "one", tmp_path / "away")
    os.rename(tmp_path / "copy", tmp_path / "one")
    copy = StatCache(tmp_path / "one" / "cache", now_ns=later)
    copy.load()
    assert copy._entries.get(str(tmp_path / "one" / "a")) is not None
    assert copy._remembered(str(tmp_path / "one" / "a")) is None


def test_another_device_number_changes_nothing(tmp_path, monkeypatch):
    """A project that other machines mount too, each under a number of its own, is not hashed by each in turn."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    first = remembering(tmp_path)
    first.digest_file(path)
    first.save()
    status = path.stat()
    other = os.stat_result((status.st_mode, status.st_ino, status.st_dev + 1, *status[3:]), status_attributes(status))
    there = remembering(tmp_path, clocks=Clocks(tmp_path, now_ns=later, kind_of=lambda device, path: "ext4"))
    assert there._remembered(str(path), other) == (Digest.of(b"abc").hex, 3)


def status_attributes(status):
    """Return what of a status has no place in its tuple."""
    return {name: getattr(status, name) for name in dir(status) if name.startswith("st_") and name != "st_dev"}


def test_what_processes_save_at_once_is_merged(tmp_path):
    """Two that began with the same cache both have their say in what is kept."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    start = remembering(tmp_path)
    start.digest_file(tmp_path / "a")
    start.save()
    one, two = remembering(tmp_path), remembering(tmp_path)
    one.digest_file(tmp_path / "b")
    two.digest_file(tmp_path / "c")
    one.save()
    two.save()
    after = remembering(tmp_path)
    assert [(Digest.of(name.encode()).hex, 1) for name in "abc"] == [
        after._remembered(str(tmp_path / name)) for name in "abc"
    ]


def test_many_processes_saving_lose_nothing(tmp_path):
    """What eight processes learn at the same time is all there afterwards."""
    program = (
        "import sys, time, pathlib\n"
        "from repro.data.checksum import StatCache\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "cache = StatCache(root / 'cache', now_ns=lambda: time.time_ns() + 3600 * 10**9)\n"
        "cache.load()\n"
        "for name in sys.argv[2:]:\n"
        "    cache.digest_file(root / name)\n"
        "    cache.save()\n"
    )
    names = [f"f{number}" for number in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    running = [subprocess.Popen([sys.executable, "-c", program, tmp_path, *names[first::8]]) for first in range(8)]
    assert [0] * 8 == [process.wait(60) for process in running]
    after = remembering(tmp_path)
    assert all(after._remembered(str(tmp_path / name)) for name in names)


def test_nothing_is_written_where_nothing_was_learnt(tmp_path):
    """A run that finds all as it was leaves the cache's file alone, but for telling once a week what it used."""
    (tmp_path / "a").write_bytes(b"abc")
    first = remembering(tmp_path)
    first.digest_file(tmp_path / "a")
    first.save()
    before = (tmp_path / "cache").stat().st_ino
    for days, same in ((0, True), (6, True), (9, False)):
        again = remembering(tmp_path, now_ns=lambda days=days: later() + days * 24 * LATER)
        again.digest_file(tmp_path / "a")
        again.save()
        assert same == (before == (tmp_path / "cache").stat().st_ino)


def test_where_nothing_can_be_saved_digests_are_right(tmp_path):
    """A cache whose folder cannot be made costs time and nothing else."""
    (tmp_path / "a").write_bytes(b"abc")
    cache = StatCache(tmp_path / "a" / "cache", now_ns=later)
    cache.load()
    assert Digest.of(b"abc") == cache.digest_file(tmp_path / "a")[0]
    cache.save()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.mkdir(), "is a folder"),
        (os.mkfifo, "is no regular file"),
    ],
)
def test_what_is_no_file_is_an_error_that_names_it(tmp_path, make, message):
    """A missing file, a folder and a pipe are told apart, and none of them hangs."""
    make(tmp_path / "a")
    with pytest.raises(DataError, match=message) as caught:
        StatCache(tmp_path / "cache").digest_file(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


def test_link_stands_for_its_target(tmp_path):
    """An input that is a symbolic link has the digest of the bytes that it leads to."""
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real")
    record = StatCache(tmp_path / "cache").record(tmp_path, "link")
    assert ("link", Digest.of(b"abc"), 3, False) == (record.path, record.digest, record.size, record.folder)


def test_many_files_in_order(tmp_path):
    """Files hashed in parallel come back in the order in which they were asked for."""
    names = [f"f{number}" for number in range(20)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number]) * (1 << 19))
    records = StatCache(tmp_path / "cache").records(tmp_path, names)
    assert [Digest.of_file(tmp_path / name) for name in names] == [record.digest for record in records]


def test_folder_digest_ignores_times_and_place(tmp_path):
    """The same tree elsewhere, made in another order at another time, has the same digest."""
    one = make_tree(tmp_path / "one", {"a": "1", "b/c": "2"})
    two = make_tree(tmp_path / "two", {"b/c": "2", "a": "1"})
    os.utime(two / "a", ns=(1, 1))
    cache = StatCache(tmp_path / "cache")
    assert cache.digest_folder(one) == cache.digest_folder(two)
    assert 2 == cache.digest_folder(one)[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a").write_text("x"),
        lambda root: (root / "a").chmod(0o755),
        lambda root: os.rename(root / "a", root / "z"),
        lambda root: (root / "empty").mkdir(),
        lambda root: ((root / "a").unlink(), (root / "a").symlink_to("b/c")),
        lambda root: (root / "b" / "more").touch(),
    ],
    ids=["content", "executable", "name", "empty folder", "link", "new file"],
)
def test_folder_digest_sees(tmp_path, change):
    """Contents, executable bits, names, kinds, links and empty folders all count."""
    root = make_tree(tmp_path / "tree", {"a": "1", "b/c": "1"})
    cache = StatCache(tmp_path / "cache")
    before = cache.digest_folder(root), signature(root, folder=True)
    change(root)
    assert before[0] != cache.digest_folder(root)


def test_folder_signature_sees_a_rewrite(tmp_path):
    """The stamps of a folder differ once a file deep in it was written again."""
    root = make_tree(tmp_path / "tree", {"a": "1", "b/c": "1"})
    before = signature(root, folder=True)
    (root / "b/c").write_text("22")
    assert before != signature(root, folder=True)


def test_names_of_any_bytes(tmp_path):
    """File names that are no UTF-8 have a digest, each its own."""
    root = tmp_path / "tree"
    root.mkdir()
    digests = set()
    for name in (b"\xff", b"\xfe", "\u00ff".encode()):
        path = os.fsencode(root) + b"/" + name
        with open(path, "wb"):
            pass
        digests.add(StatCache(tmp_path / "cache").digest_folder(root)[0])
        os.unlink(path)
    assert 3 == len(digests)


def test_socket_in_a_folder_is_refused(tmp_path):
    """A folder that holds a pipe is no data, and the error names it."""
    root = make_tree(tmp_path / "tree", {"a": "1"})
    os.mkfifo(root / "pipe")
    with pytest.raises(DataError, match="pipe is no file, folder or link"):
        walk(root)


NAMES = st.text("ab/\u00e9 ", min_size=1, max_size=6).filter(lambda name: name.strip("/ ") == name and "//" not in name)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees=st.lists(st.dictionaries(NAMES, st.text(max_size=3), max_size=4), min_size=2, max_size=2))
def test_folder_digests_are_equal_only_for_equal_trees(tmp_path_factory, trees):
    """Two trees have one digest if, and only if, they hold the same."""
    roots = []
    for tree in trees:
        root = tmp_path_factory.mktemp("tree")
        for name, text in tree.items():
            path = root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            except OSError:
                return  # "a" and "a/b" cannot both be files
        roots.append(root)
    cache = StatCache(roots[0].parent / "cache")
    digests = [cache.digest_folder(root)[0] for root in roots]
    assert (trees[0] == trees[1]) == (digests[0] == digests[1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(NAMES, st.binary(max_size=3), max_size=6), order=st.randoms())
def test_tree_digest_is_that_of_the_folder(tmp_path_factory, files, order):
    """Names and digests alone give the digest of the folder with these files, in any order."""
    root = tmp_path_factory.mktemp("tree")
    try:
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    except OSError:
        with pytest.raises(DataError, match="no tree can have"):
            tree_digest((name, Digest.of(data)) for name, data in files.items())
        return
    pairs = [(name, Digest.of(data)) for name, data in files.items()]
    order.shuffle(pairs)
    expected = StatCache(root / "cache").digest_tree(root)
    assert expected == (tree_digest(pairs), sum(map(len, files.values())), len(files))


@pytest.mark.parametrize(
    "names",
    [["a", "a"], ["a", "a/b"], ["a/b", "a"], [""], ["/a"], ["a/"], ["../a"], ["a/./b"], ["a//b"], ["a\0b"]],
)
def test_names_that_no_tree_can_have(names):
    """Names that collide or lead out of the tree are refused."""
    with pytest.raises(DataError, match="no tree can have"):
        tree_digest((name, Digest.of(b"")) for name in names)


def test_tree_digest_of_names_of_any_bytes(tmp_path):
    """Names that are no UTF-8 sort and count as their bytes do."""
    root = make_tree(tmp_path / "tree", {"\udcff": "1", "\u00ff": "2", "\U00010000/x": "3", "\uffee": "4"})
    pairs = [(entry.name, Digest.of_file(entry.path)) for entry in walk(root) if entry.kind == "file"]
    assert StatCache(tmp_path / "cache").digest_folder(root)[0] == tree_digest(reversed(pairs))


def _counting(monkeypatch, cpus=2):
    """Return the names of the threads that hash each file from now on, where there are ``cpus``."""
    threads = {}
    hashed = StatCache._hash

    def counted(self, path):
        threads[path] = threading.current_thread().name
        return hashed(self, path)

    monkeypatch.setattr(StatCache, "_hash", counted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    return threads


@pytest.mark.parametrize("waits", [False, True], ids=["the page cache", "a server"])
def test_small_files_are_shared_only_where_they_are_waited_for(tmp_path, monkeypatch, waits):
    """One thread hashes small files, unless each is waited for; large ones are shared in any case."""
    small = [tmp_path / f"small{number}" for number in range(checksum._SAMPLE + 10)]
    large = [tmp_path / f"large{number}" for number in range(2)]
    for number, path in enumerate(small + large):
        path.write_bytes(b"%d" % number if path in small else bytes([number]) * (checksum._WORTH_THREAD + 1))
    threads = _counting(monkeypatch)
    monkeypatch.setattr(checksum, "_waits", itertools.count(0, checksum._SAMPLE if waits else 0).__next__)
    paths = [str(path) for path in small + large]
    found = StatCache(tmp_path / "cache").digest_files(paths)
    assert [(Digest.of(path.read_bytes()), path.stat().st_size) for path in small + large] == found
    this = threading.current_thread().name
    assert {this} == {threads[str(path)] for path in small[: checksum._SAMPLE]}
    assert waits is (this not in {threads[str(path)] for path in small[checksum._SAMPLE :]})
    assert this not in {threads[str(path)] for path in large}


def test_a_failure_ends_what_other_threads_would_begin(tmp_path, monkeypatch):
    """An unreadable file is told as soon as what is under way has ended, not after all the others."""
    large = [tmp_path / f"large{number}" for number in range(6)]
    for path in large:
        path.write_bytes(bytes(checksum._WORTH_THREAD + 1))
    small = [tmp_path / f"small{number}" for number in range(checksum._SAMPLE)]
    for path in small:
        path.touch()
    threads = _counting(monkeypatch, cpus=1)
    hashed = StatCache._hash

    def slow(self, path):
        if "large" in path:
            time.sleep(0.1)
        return hashed(self, path)

    monkeypatch.setattr(StatCache, "_hash", slow)
    with pytest.raises(DataError, match="is missing"):
        StatCache(tmp_path / "cache").digest_files([str(path) for path in [*small, tmp_path / "none", *large]])
    assert len([path for path in threads if "large" in path]) < len(large)


def test_file_whose_size_says_nothing(tmp_path):
    """A file of /proc has no bytes by its size, and is hashed whole; so is an empty one."""
    (tmp_path / "empty").touch()
    cache = StatCache(tmp_path / "cache")
    assert cache.digest_file("/proc/version")[0] == Digest.of(Path("/proc/version").read_bytes())
    assert cache.digest_file(tmp_path / "empty") == (Digest.of(b""), 0)
