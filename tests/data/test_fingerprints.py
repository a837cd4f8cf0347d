"""What stands for the bytes of data that is bound in place: what each kind notices, and what it cannot."""

from __future__ import annotations

import os

import pytest

from repro.data.checksum import StatCache
from repro.data.fingerprints import belied, fingerprint
from repro.digest import Digest
from repro.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two files, a link and a list of checksums, all of one time."""
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"abc")
    (root / "sub" / "b").write_bytes(b"hello")
    (root / "link").symlink_to("a")
    (root / "SHA256SUMS").write_text(f"{Digest.of(b'abc').hex}  a\n{Digest.of(b'hello').hex}  sub/b\n")
    for path in (root / "a", root / "sub" / "b", root / "SHA256SUMS"):
        os.utime(path, ns=(1_000_000_001, 1_000_000_001))
    return root


@pytest.fixture
def take(tmp_path):
    """Return `fingerprint` with a cache of its own each time."""
    return lambda kind, path, value="": fingerprint(kind, value, path, StatCache(tmp_path / "cache"))


def rewrite(path):
    """Write other bytes of the same length, and put the time back."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_sha256_is_that_of_the_bytes(folder, take):
    """The digest of the bytes is the one that every other part of repro has for them."""
    cache = StatCache(folder.parent / "other")
    assert (Digest.of(b"abc"), 3, 1) == take("sha256", folder / "a")
    size = 8 + (folder / "SHA256SUMS").stat().st_size
    assert (cache.digest_folder(folder)[0], size, 3) == take("sha256", folder)


def test_stat_sees_size_time_name_and_link(folder, take):
    """Without reading, a change of size, time, name, link or kind is seen."""
    seen = [take("stat", folder)]
    (folder / "a").write_bytes(b"abcd")
    seen.append(take("stat", folder))
    os.utime(folder / "a", ns=(5, 5))
    seen.append(take("stat", folder))
    os.rename(folder / "a", folder / "c")
    seen.append(take("stat", folder))
    (folder / "link").unlink()
    (folder / "link").symlink_to("c")
    seen.append(take("stat", folder))
    (folder / "empty").mkdir()
    seen.append(take("stat", folder))
    assert len(seen) == len({digest for digest, _, _ in seen})
    assert (3, 9) == (seen[-1][2], seen[-1][1] - (folder / "SHA256SUMS").stat().st_size)


def test_stat_is_the_same_for_a_copy_that_keeps_times(folder, take, tmp_path):
    """Other inodes and ctimes do not count: a copy on another machine has the same fingerprint."""
    before = take("stat", folder)
    copy = tmp_path / "copy"
    (copy / "sub").mkdir(parents=True)
    for name in ("sub/b", "a", "SHA256SUMS"):
        (copy / name).write_bytes((folder / name).read_bytes())
        os.utime(copy / name, ns=(1_000_000_001, 1_000_000_001))
    (copy / "link").symlink_to("a")
    assert before == take("stat", copy)


def test_stat_of_a_file(folder, take):
    """A single file has a fingerprint, too; a link stands for the file."""
    assert (3, 1) == take("stat", folder / "a")[1:]
    assert take("stat", folder / "a") == take("stat", folder / "link")
    rewrite(folder / "a")
    assert take("stat", folder / "a") == take("stat", folder / "link")  # asserted, not proven
    os.utime(folder / "a", ns=(6, 6))
    assert take("stat", folder / "a")[0] != take("stat", folder / "sub" / "b")[0]


def test_manifest_stands_for_the_files_that_it_lists(folder, take):
    """The list's own bytes count, with sizes and number of the files in it; their bytes are not read."""
    data = (folder / "SHA256SUMS").read_bytes()
    assert (Digest.of(data), 8, 2) == take("manifest", folder, "SHA256SUMS")
    rewrite(folder / "a")
    assert (Digest.of(data), 8, 2) == take("manifest", folder, "SHA256SUMS")


def test_manifest_in_a_folder_below(folder, take):
    """Names are relative to where the list lies."""
    (folder / "sub" / "b.md5").write_text("5d41402abc4b2a76b9719d911017c592")
    assert (5, 1) == take("manifest", folder, "sub/b.md5")[1:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "sub" / "b").unlink(), "lists sub/b, which is missing"),
        (lambda root: ((root / "a").unlink(), (root / "a").mkdir()), "lists a, which is no file"),
        (lambda root: (root / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
        (lambda root: (root / "SHA256SUMS").write_text("x\n"), "SHA256SUMS:1"),
    ],
    ids=["missing", "a folder", "no list", "bad list"],
)
def test_manifest_that_does_not_hold(folder, take, spoil, message):
    """A list whose files are not there, or that cannot be read, stands for nothing."""
    spoil(folder)
    with pytest.raises(DataError) as caught:
        take("manifest", folder, "SHA256SUMS")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["../SHA256SUMS", "/etc/passwd"])
def test_manifest_must_lie_in_the_folder(folder, take, value):
    """A list elsewhere would be about other files."""
    with pytest.raises(DataError, match="does not lie in"):
        take("manifest", folder, value)


def test_manifest_of_a_file_is_refused(folder, take):
    """A file has no list in it."""
    with pytest.raises(DataError, match="is no folder"):
        take("manifest", folder / "a", "SHA256SUMS")


def test_label_stands_for_whatever_is_there(folder, take):
    """A label's fingerprint is that of its text alone, for a file and for a folder of any size."""
    one = take("label", folder, "release 110")
    rewrite(folder / "a")
    assert one == take("label", folder, "release 110")
    assert one[0] == take("label", folder / "a", "release 110")[0]
    assert one[0] != take("label", folder, "release 111")[0]
    assert [(0, 0), (3, 1)] == [one[1:], take("label", folder / "a", "x")[1:]]


@pytest.mark.parametrize("kind", ["sha256", "stat", "manifest", "label"])
def test_what_is_not_there_has_no_fingerprint(tmp_path, take, kind):
    """Nothing can stand for data that is missing."""
    with pytest.raises(DataError, match="is missing"):
        take(kind, tmp_path / "none", "x")


def test_kinds_never_collide(folder, take):
    """A label cannot be taken for a list, nor times for bytes."""
    assert 4 == len({take(kind, folder, "SHA256SUMS")[0] for kind in ("sha256", "stat", "manifest", "label")})


def test_list_that_is_belied(folder):
    """Who asks for it is told each file whose bytes are not as the list says, and what they are."""
    assert [] == belied(folder, "SHA256SUMS")
    rewrite(folder / "a")
    (told,) = belied(folder, "SHA256SUMS")
    assert told.startswith("a: expected sha256:") and Digest.of(b"cba").hex in told
    (folder / "a").unlink()
    with pytest.raises(DataError, match="lists a, which is missing"):
        belied(folder, "SHA256SUMS")
