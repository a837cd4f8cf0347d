"""A disk that fills up: an error that says so, nothing broken, and all goes on once there is room."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from repro.digest import Digest
from repro.errors import StoreError
from repro.files import remove_tree
from repro.oci.checking import check
from repro.oci.keeping import collect, remove_image
from repro.oci.model import ImageConfig
from repro.oci.store import Store
from tests.accounts import PROJECT
from tests.build.conftest import MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOM = 1 << 20  # bytes of the small disk
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "repro-test", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """The tar of a layer of some files, on another disk."""
    store = Store(tmp_path / "source", MODE.value)
    with store.workspace() as work:
        (work / "upper").mkdir(mode=0o755)
        for number in range(8):
            (work / "upper" / str(number)).write_bytes(b"%d" % number * 6000)
        layer = store.commit_layer(work / "upper", epoch=0).diff_id
    with open(tmp_path / "tar", "wb") as out:
        store.write_layer(layer, out)
    remove_tree(store.root)
    return tmp_path / "tar"


def work(store: Store, tar: Path) -> Digest:
    """Do each kind of thing that writes."""
    layer = store.add_layer(tar).diff_id
    store.add_blob(io.BytesIO(b"x" * 5 * PAGE))
    image_id = store.put_image(ImageConfig("amd64", diff_ids=(layer,), env=("A=" + "a" * 5000,)))
    store.remember("build", layer, "y" * 2 * PAGE)
    store.tag("made", image_id)
    return image_id


def fill(folder: Path, spare: int) -> Path:
    """Fill the disk but for some pages; return the file that does it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    os.truncate(filler, max(0, filler.stat().st_size - spare * PAGE))
    return filler


def test_a_disk_that_is_full_at_any_moment_breaks_nothing(disk: Path, tar: Path) -> None:
    """One page of room more each time, until the work fits: every failure says so, and leaves a good store."""
    store = Store(disk / "store", MODE.value)
    failures = 0
    for spare in range(120):
        filler = fill(disk, spare)
        try:
            image_id = work(store, tar)
        except (OSError, StoreError) as error:
            assert "No space left" in str(error) or "no room" in str(error)
            failures += 1
        else:
            break
        finally:
            assert check(store).good, spare
            assert [] == [name for name in os.listdir(store.root / "tmp") if name != ".lock"]
            filler.unlink()
    else:
        pytest.fail("it never fitted")
    assert failures > 10
    assert store.has_image(image_id)
    assert store.resolve("made") == image_id


def test_room_can_be_made_on_a_full_disk(disk: Path, tar: Path) -> None:
    """To collect takes no room."""
    store = Store(disk / "store", MODE.value)
    image_id = work(store, tar)
    store.untag("made")
    remove_image(store, image_id)
    fill(disk, 0)
    freed = collect(store, cache=True)
    assert (1, 2) == (freed.layers, freed.blobs)
    assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > freed.bytes


def test_the_command_says_that_the_disk_is_full(disk: Path) -> None:
    """No traceback, no status of success; with room it works."""
    folder = disk.parent / "context"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(ROOM))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
    command = [sys.executable, "-m", "repro.cli.main", "image", "build", "-q", "."]
    env = {**os.environ, "REPRO_STORE": str(disk / "store"), "REPRO_MODE": MODE.value, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert "No space left on device" in done.stderr
    assert 0 < done.returncode < 125
    assert "Traceback" not in done.stderr
    assert check(Store(disk / "store", MODE.value)).good
    (folder / "large").write_bytes(b"small")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A saved image whose one layer is larger than the small disk, and compresses well."""
    store = Store(tmp_path / "maker", MODE.value)
    with store.workspace() as work:
        (work / "upper").mkdir(mode=0o755)
        (work / "upper" / "large").write_bytes(bytes(2 * ROOM))
        layer = store.commit_layer(work / "upper", epoch=0).diff_id
    store.tag("made", store.put_image(ImageConfig("amd64", diff_ids=(layer,))))
    assert 0 == command(store.root, "save", "made", "-o", str(tmp_path / "image.tar")).returncode
    return tmp_path / "image.tar"


def command(root: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `repro image` on the store at ``root``."""
    env = {**os.environ, "REPRO_STORE": str(root), "REPRO_MODE": MODE.value, "PYTHONPATH": str(PROJECT)}
    argv = [sys.executable, "-m", "repro.cli.main", "image", *arguments]
    return subprocess.run(argv, env=env, input=stdin, capture_output=True, check=False)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_an_image_is_not_saved_on_a_full_disk(archive: Path, disk: Path, form: str) -> None:
    """The error says that there is no room, and where; nothing is left of a file that was begun."""
    dest = disk / "saved"
    done = command(archive.parent / "maker", "save", "made", "--format", form, "-o", str(dest))
    said = done.stderr.decode()
    assert (74, True) == (done.returncode, f"{dest}: No space left on device\n  fix: " in said), said
    assert not dest.is_file()
    assert [] == list(disk.rglob("*.tmp"))


@pytest.mark.parametrize("way", ["file", "pipe", "compressed"])
def test_an_image_is_not_loaded_into_a_full_store(archive: Path, disk: Path, way: str) -> None:
    """The error says that there is no room, and where; a copy is given up before the disk is full."""
    Store(disk / "store", MODE.value)
    packed = archive.with_suffix(".gz")
    packed.write_bytes(gzip.compress(archive.read_bytes(), 1))
    given = {"file": ("-i", str(archive)), "pipe": (), "compressed": ("-i", str(packed))}[way]
    done = command(disk / "store", "load", *given, stdin=archive.read_bytes() if way == "pipe" else b"")
    said = done.stderr.decode()
    assert 5 == done.returncode, said
    expected = "the store's disk is full" if way == "file" else "the store's disk has no room for a copy of the archive"
    assert f"error: {disk / 'store'}" in said
    assert expected in said
    assert "  fix: make room on the store's disk" in said
    assert check(Store(disk / "store", MODE.value)).good
    assert os.statvfs(disk).f_bavail * PAGE > ROOM // 2


def test_files_that_may_not_grow_break_nothing(tmp_path: Path, tar: Path) -> None:
    """A limit on the size of files (ulimit -f) cuts each write short in its turn."""
    code = """
        import resource, sys
        from pathlib import Path
        from repro.errors import StoreError
        from repro.oci.store import Store
        from tests.faults.test_full_disk import work
        store = Store(Path(sys.argv[1]), sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
        try:
            work(store, Path(sys.argv[3]))
        except OSError as error:
            print(error.strerror)
        except StoreError as error:
            print(error.why)
    """
    root = tmp_path / "store"
    said = []
    for limit in (0, 10, 100, 3000, 5500, 7000, 1 << 20):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), root, MODE.value, tar, str(limit)],
            env={"PYTHONPATH": str(PROJECT), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "" == done.stderr
        said.append(done.stdout.strip())
        assert check(Store(root, MODE.value)).good
    assert ["File too large"] * 6 + [""] == said
    remove_tree(root)
