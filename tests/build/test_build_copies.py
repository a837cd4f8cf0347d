"""Copies shared with a second process, and layers that need no cleaning: nothing of either shows in what comes of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from repro.build import copies
from repro.build.context import FolderContext
from repro.build.copy import CopyPlan, perform
from repro.build.selection import Selection
from repro.build.source import Snapshot
from repro.build.tree import Attributes, LayerFolder
from repro.errors import BuildError, Location
from repro.oci.inode import ONE
from repro.oci.layer import clean_upper, measure

EPOCH = 1_700_000_000
WHERE = Location("Dockerfile", 2, 1)


@pytest.fixture
def context(tmp_path):
    """A folder with files of many kinds: modes, times, holes, hard links, links, names that are no text."""
    folder = tmp_path / "context"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for number, mode in enumerate((0o644, 0o600, 0o755, 0o444, 0o4755, 0o666)):
            file = folder / name / f"{number}"
            file.write_text(f"{name}{number}" * 10)
            file.chmod(mode)
            os.utime(file, ns=(0, (EPOCH - 3 + number) * 10**9 + 123))
    os.link(folder / "a/1", folder / "c/another name")
    os.symlink("a/1", folder / "link")
    Path(os.fsdecode(os.fsencode(folder) + b"/b/\xff\xe9")).write_text("x")
    with open(folder / "c/hole", "wb") as file:
        file.truncate(1 << 20)
    return folder


@pytest.fixture
def shared(monkeypatch):
    """Few files are enough to start a second process, and there are processors for it."""
    monkeypatch.setattr(copies, "_WORTH_SHARING", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def copied(context: Path, upper: Path, *, epoch: int | None = EPOCH, source: Snapshot | None = None) -> Path:
    """Return ``upper`` with the context's files in ``/t``."""
    source = source or Snapshot(FolderContext(context))
    node = source.node("")
    assert node is not None
    upper.mkdir()
    layer = LayerFolder(upper, (), ONE, epoch=epoch)
    perform(CopyPlan(source, (Selection(node),), "/t", into=False, where=WHERE), layer, EPOCH)
    layer.finish()
    return upper


def listed(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, links and time of all that is in a folder."""
    found = ((path.relative_to(folder), path.lstat()) for path in (folder, *folder.rglob("*")))
    return {os.fspath(path): (status.st_mode, status.st_nlink, status.st_mtime_ns) for path, status in found}


def test_a_second_process_changes_nothing(context, tmp_path, monkeypatch, shared):
    """The layer is the same, whoever made which file; and another process did make some."""
    one = copied(context, tmp_path / "shared")
    monkeypatch.setattr(copies, "_WORTH_SHARING", 1000)
    other = copied(context, tmp_path / "alone")
    assert measure(other, form=ONE) == measure(one, form=ONE)
    assert listed(other) == listed(one)
    assert (one / "t/a/4").stat().st_mode == stat.S_IFREG | 0o4755
    assert (one / "t/a/1").stat().st_ino == (one / "t/c/another name").stat().st_ino


@pytest.mark.parametrize("name", ["a/0", "c/5"])
def test_a_file_that_changed_after_its_key_was_made_is_an_error(context, tmp_path, shared, name):
    """In either process: its digest is in the key, so its new bytes may not be in the layer."""
    source = Snapshot(FolderContext(context))
    pending = [source.node("")]
    while pending:
        pending += [node for node in source.children(pending.pop()) if stat.S_ISDIR(node.status.st_mode)]
    (context / name).write_text("longer than it was before" * 10)
    with pytest.raises(BuildError, match=f"{name} changed while it was copied") as caught:
        copied(context, tmp_path / "upper", source=source)
    assert caught.value.where == WHERE


def test_a_missing_file_is_the_same_error_in_either_process(context, tmp_path, shared):
    """An error of the system comes with its number and its file."""
    source = Snapshot(FolderContext(context))
    source.children(source.children(source.node(""))[2])
    (context / "c/5").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        copied(context, tmp_path / "upper", source=source)
    assert os.fspath(context / "c/5") == caught.value.filename


def test_a_second_process_that_dies_is_told(context, tmp_path, shared, monkeypatch):
    """Nothing is left out in silence."""
    monkeypatch.setattr(copies, "__file__", os.fspath(tmp_path / "absent.py"))
    with pytest.raises(BuildError, match="exit status 2"):
        copied(context, tmp_path / "upper")


def test_a_layer_made_for_an_epoch_is_clean(context, tmp_path):
    """It is as the cleaning of what containers leave would have made it, and that finds nothing to do."""
    clean = copied(context, tmp_path / "clean")
    before = listed(clean)
    other = copied(context, tmp_path / "other", epoch=None)
    clean_upper(other, epoch=EPOCH)
    clean_upper(clean, epoch=EPOCH)
    assert before == listed(clean) == listed(other)
    assert measure(other, form=ONE) == measure(clean, form=ONE)


def test_attributes_that_overlay_would_keep_are_left_out(tmp_path):
    """As the cleaning leaves them out, by the middle of their name."""
    layer = LayerFolder(tmp_path, (), ONE, epoch=EPOCH)
    kept = (("user.mine", b"1"), ("user.x.overlay.y", b"2"))
    layer.write("f", Attributes(0, 0, 0o644, 0, kept), lambda _: None)
    layer.finish()
    assert ["user.mine"] == os.listxattr(tmp_path / "f")
