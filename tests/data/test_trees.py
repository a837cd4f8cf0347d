"""Trees: folders of cached files that have the digest that their lock says, whoever died while they were made."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data import trees as module
from repro.data.cache import Downloads
from repro.data.checksum import StatCache, tree_digest
from repro.data.model import InputFile
from repro.data.trees import Trees
from repro.digest import Digest
from repro.errors import CorruptError, DataError, StoreError

PROJECT = Path(__file__).resolve().parents[2]
CONTENTS = {"a.fq": b"a", "sub/b.fq": b"b" * 5000, "sub/deep/c.fq": b"", "sub/deep/d é": b"a"}


@pytest.fixture
def downloads(tmp_path) -> Downloads:
    """An empty cache."""
    return Downloads(tmp_path / "cache")


def filled(downloads: Downloads, contents: dict[str, bytes] = CONTENTS) -> tuple[list[InputFile], Digest]:
    """Return files that are in the cache, and the digest of their tree."""
    files = [InputFile(name, downloads.add_bytes(data), len(data)) for name, data in contents.items()]
    return files, tree_digest((file.name, file.digest) for file in files)


def found(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left(downloads: Downloads) -> list[str]:
    """Return what is beside the trees, locks aside."""
    return sorted(
        path.name
        for path in (downloads.root / "trees").iterdir()
        if path.name.startswith(".") and path.suffix != ".lock"
    )


def test_a_tree_has_the_files_and_the_digest(downloads, tmp_path):
    """Names, bytes and modes are as in the lock, whatever the umask; the digest is that of the folder."""
    files, digest = filled(downloads)
    before = os.umask(0o077)
    try:
        path = Trees(downloads).build(files, digest)
    finally:
        os.umask(before)
    assert downloads.root / "trees" / digest.hex == path == Trees(downloads).path(digest)
    assert CONTENTS == found(path)
    assert {0o444} == {stat.S_IMODE(file.stat().st_mode) for file in path.rglob("*") if file.is_file()}
    assert {0o755} == {stat.S_IMODE(folder.stat().st_mode) for folder in [path, *path.rglob("*")] if folder.is_dir()}
    assert {0} == {file.stat().st_mtime for file in path.rglob("*") if file.is_file()}
    assert digest == StatCache(tmp_path / "stat").digest_folder(path)[0]
    assert [] == left(downloads)


PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6).filter(
    lambda part: part not in (".", "..")
)
NAMES = st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), unique=True, max_size=8)


@given(names=NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_digest_of_any_tree_is_that_of_its_folder(tmp_path, names):
    """What the lock computes from names is what hashing the folder gives."""
    chosen = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    downloads = Downloads(tmp_path / "cache")
    files, digest = filled(downloads, {name: name.encode() for name in chosen})
    path = Trees(downloads).build(files, digest)
    assert digest == StatCache(tmp_path / "stat").digest_folder(path)[0]
    assert Trees(downloads).verify(digest)
    shutil.rmtree(path)


def test_an_empty_folder_is_a_tree(downloads):
    """It has a digest as others have."""
    files, digest = filled(downloads, {})
    assert {} == found(Trees(downloads).build(files, digest))


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b"])
def test_a_name_that_leads_out_is_refused(downloads, name):
    """Names are checked again when a tree is made: a lock may have been edited."""
    file = InputFile(name, downloads.add_bytes(b"x"), 1)
    with pytest.raises(DataError):
        Trees(downloads).build([file], Digest.of(b"whatever"))
    assert not (downloads.root / "trees").exists()


def test_a_file_that_is_also_a_folder_is_refused(downloads):
    """S3 can have both; a folder cannot."""
    digest = downloads.add_bytes(b"x")
    with pytest.raises(DataError):
        Trees(downloads).build([InputFile("a", digest, 1), InputFile("a/b", digest, 1)], Digest.of(b"whatever"))


def test_files_that_are_not_those_of_the_digest_are_refused(downloads):
    """Nothing gets the name of another tree."""
    files, digest = filled(downloads)
    with pytest.raises(CorruptError, match="are not those of the tree"):
        Trees(downloads).build(files[1:], digest)


def test_a_file_that_is_not_in_the_cache_is_named(downloads):
    """An error, and no half tree."""
    files, digest = filled(downloads)
    downloads.path(files[1].digest).unlink()
    with pytest.raises(StoreError, match="is not in the cache") as caught:
        Trees(downloads).build(files, digest)
    assert files[1].digest.hex in str(caught.value)
    assert not Trees(downloads).path(digest).exists()
    assert [] == left(downloads)
    downloads.add_bytes(CONTENTS["sub/b.fq"])
    assert CONTENTS == found(Trees(downloads).build(files, digest))


def test_a_tree_takes_no_room(downloads):
    """Its files share blocks or inodes with the cached ones."""
    files, digest = filled(downloads)
    path = Trees(downloads).build(files, digest)
    blob = downloads.path(files[1].digest)
    if not os.path.samefile(blob, path / "sub/b.fq"):
        pytest.skip("the file system has reflinks: what they take cannot be told")
    assert 2 == blob.stat().st_nlink
    assert 3 == downloads.path(files[0].digest).stat().st_nlink


@pytest.fixture
def btrfs(tmp_path):
    """A small file system with reflinks."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("btrfs-progs is not installed")
    image, folder = tmp_path / "btrfs.img", tmp_path / "btrfs"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True)
    made = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_reflinks_leave_the_cached_file_alone(btrfs):
    """They are other inodes, share the blocks, and the times by which the cached file is known do not move."""
    downloads = Downloads(btrfs / "cache")
    data = os.urandom(16 << 20)
    digest = downloads.add_bytes(data)
    before = os.stat(downloads.path(digest))
    files = [InputFile(f"{number}/f", digest, len(data)) for number in range(20)]  # 320 MB of 128
    tree = tree_digest((file.name, file.digest) for file in files)
    path = Trees(downloads).build(files, tree)
    after = os.stat(downloads.path(digest))
    assert (1, before.st_ctime_ns) == (after.st_nlink, after.st_ctime_ns)
    assert 20 == len({os.stat(path / file.name).st_ino for file in files} - {after.st_ino})
    assert data == (path / "19/f").read_bytes()
    assert path == Trees(downloads).build(files, tree)


def cannot_link(*arguments):
    """Fail as a file system without hard links, or an inode with too many."""
    raise OSError(31, "Too many links")


def cannot_reflink(*arguments):
    """Fail as most file systems do."""
    raise OSError(95, "Operation not supported")


@pytest.fixture(params=["as it is", "reflinks", "copies"])
def links(request, monkeypatch):
    """Each way in which a file gets into a tree."""
    if request.param == "reflinks":
        monkeypatch.setattr(module, "reflink", module._copy)
    if request.param == "copies":
        monkeypatch.setattr(os, "link", cannot_link)
        monkeypatch.setattr(module, "reflink", cannot_reflink)
    return request.param


def test_a_tree_is_the_same_in_each_way(downloads, links):
    """Where there are no hard links either, the bytes are copied."""
    files, digest = filled(downloads)
    path = Trees(downloads).build(files, digest)
    assert CONTENTS == found(path)
    assert Trees(downloads).verify(digest)
    before = os.stat(path / "a.fq")
    Trees(downloads).build(files, digest)
    assert before == os.stat(path / "a.fq")


def test_a_full_disk_is_said(downloads, monkeypatch):
    """Where bytes must be copied; nothing of the tree is left to fill it."""
    files, digest = filled(downloads)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", cannot_link)
    monkeypatch.setattr(module, "reflink", cannot_reflink)
    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        Trees(downloads).build(files, digest)
    assert "No space left on device" in str(caught.value)
    assert "repro data gc" in str(caught.value)
    assert [] == left(downloads)


def rewrite(path: Path) -> None:
    """Write other bytes of the same number, and put the times back."""
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    path.chmod(0o444)
    os.utime(path, (0, 0))


DAMAGES = {
    "missing": lambda tree: (tree / "sub/b.fq").unlink(),
    "a folder is missing": lambda tree: shutil.rmtree(tree / "sub"),
    "more": lambda tree: (tree / "sub/more").write_bytes(b""),
    "an empty folder more": lambda tree: (tree / "sub/more").mkdir(),
    "a link instead": lambda tree: ((tree / "a.fq").unlink(), (tree / "a.fq").symlink_to("/etc/passwd")),
    "a folder instead": lambda tree: ((tree / "a.fq").unlink(), (tree / "a.fq").mkdir(), (tree / "a.fq/x").mkdir()),
    "a file instead of a folder": lambda tree: (shutil.rmtree(tree / "sub"), (tree / "sub").write_bytes(b"x")),
    "another file": lambda tree: ((tree / "sub/b.fq").unlink(), (tree / "sub/b.fq").write_bytes(b"x" * 5000)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_tree_that_was_touched_is_mended(downloads, links, damage):
    """Whatever was done to it, the next job sees what was locked, and a file that was right stays."""
    files, digest = filled(downloads)
    path = Trees(downloads).build(files, digest)
    damage(path)
    assert not Trees(downloads).verify(digest)
    Trees(downloads).build(files, digest)
    assert CONTENTS == found(path)
    assert Trees(downloads).verify(digest)
    assert [] == left(downloads)


def test_a_blob_that_was_damaged_and_came_anew_gets_into_the_tree(downloads, links):
    """The tree does not keep the bytes of the damaged one."""
    files, digest = filled(downloads)
    path = Trees(downloads).build(files, digest)
    blob = downloads.path(files[1].digest)
    rewrite(blob)
    if links != "as it is":
        rewrite(path / "sub/b.fq")
    assert downloads.find(files[1].digest) is None
    downloads.add_bytes(CONTENTS["sub/b.fq"])
    Trees(downloads).build(files, digest)
    assert CONTENTS == found(path)


BUILDER = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from repro.data import trees
    from repro.data.cache import Downloads
    from tests.data.test_trees import filled
    count = [int(sys.argv[2])]
    put = trees._Links.put
    def counted(self, blob, target):
        if count[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] -= 1
        put(self, blob, target)
    trees._Links.put = counted
    downloads = Downloads(Path(sys.argv[1]))
    trees.Trees(downloads).build(*filled(downloads))
""")


@pytest.mark.parametrize("after", [0, 2, 3])
def test_a_killed_builder_leaves_nothing_in_the_way(downloads, after):
    """After kill -9 at any file the next build makes the tree, and that of another sweeps what is left."""
    files, digest = filled(downloads)
    victim = [sys.executable, "-c", BUILDER, downloads.root, str(after)]
    assert -signal.SIGKILL == subprocess.run(victim, cwd=PROJECT, check=False).returncode
    assert 1 == len(left(downloads))
    assert not Trees(downloads).path(digest).exists()
    other = filled(downloads, {"other": b"other"})
    Trees(downloads).build(*other)
    assert [] == left(downloads)
    assert -signal.SIGKILL == subprocess.run(victim, cwd=PROJECT, check=False).returncode
    assert CONTENTS == found(Trees(downloads).build(files, digest))
    assert [] == left(downloads)


def test_many_build_the_same_at_once(downloads):
    """Each has the whole tree when its call returns."""
    contents = {f"{number % 7}/{number}": b"%d" % number for number in range(200)}
    files, digest = filled(downloads, contents)
    results: list[dict[str, bytes]] = []

    def build() -> None:
        results.append(found(Trees(downloads).build(files, digest)))

    threads = [threading.Thread(target=build) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [contents] * 6 == results
