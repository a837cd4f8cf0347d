"""An overlay upper becomes a layer in place: times, overlay's marks, and nothing beyond the folder."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from repro.errors import StoreError
from repro.files import remove_tree
from repro.oci.layer import clean_upper, measure


def times(*paths: Path) -> list[int]:
    """Return the times of the inodes themselves, in nanoseconds."""
    return [os.lstat(path).st_mtime_ns for path in paths]


def test_times_are_clamped_and_whole_on_every_kind_of_inode(tmp_path: Path) -> None:
    """Files, folders, links and FIFOs later than the epoch get it; earlier ones lose their fraction only."""
    new, old, folder, link, fifo = (tmp_path / name for name in ("new", "old", "folder", "link", "fifo"))
    new.write_bytes(b"")
    old.write_bytes(b"")
    folder.mkdir()
    link.symlink_to("/etc/hostname")
    os.mkfifo(fifo)
    os.utime(old, ns=(7_900_000_000, 7_900_000_000))
    before = os.stat("/etc/hostname").st_mtime_ns

    clean_upper(tmp_path, epoch=1000)

    late = 1000 * 10**9
    assert [late, 7 * 10**9, late, late, late] == times(new, old, folder, link, fifo)
    assert 0 == os.lstat(tmp_path).st_mtime_ns
    assert before == os.stat("/etc/hostname").st_mtime_ns


def test_the_content_of_linked_folders_is_left_alone(tmp_path: Path) -> None:
    """A link to a folder outside, as a build may leave behind, leads nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"")
    before = times(outside, outside / "f")
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "link").symlink_to(outside)

    clean_upper(upper, epoch=0)

    assert before == times(outside, outside / "f")


def test_overlays_attributes_go_except_the_opaque_mark(tmp_path: Path) -> None:
    """Origin, impure and uuid marks are dropped from files and folders of any mode; opaque = y and others stay."""
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "f").write_bytes(b"")
    for path in (tmp_path, folder, folder / "f"):
        for name in ("user.overlay.origin", "user.overlay.impure", "user.overlay.uuid", "user.mine"):
            os.setxattr(path, name, b"y")
    os.setxattr(folder, "user.overlay.opaque", b"y")
    os.chmod(folder / "f", 0o400)
    os.chmod(folder, 0o111)

    clean_upper(tmp_path, epoch=0)

    assert (0o40111, 0o100400) == (os.lstat(folder).st_mode, _in(folder, lambda: os.lstat(folder / "f").st_mode))
    assert ["user.mine"] == os.listxattr(tmp_path)
    assert {"user.mine", "user.overlay.opaque"} == set(os.listxattr(folder))
    assert ["user.mine"] == _in(folder, lambda: os.listxattr(folder / "f"))
    remove_tree(folder)


# The access list "user::rw- user:1000:r-- group::--- mask::r-- other::---", as the kernel has it (linux/posix_acl_xattr.h).
_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, 2**32 - 1), (2, 4, 1000), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
)


def test_access_lists_go_and_modes_stay(tmp_path: Path) -> None:
    """No tar holds access lists, so no layer shows them; the group's bits stay the mask that the tar holds."""
    folder, file, fifo = tmp_path / "d", tmp_path / "d/f", tmp_path / "d/p"
    folder.mkdir(mode=0o700)
    file.write_bytes(b"")
    os.mkfifo(fifo)
    try:
        for path in (file, fifo, folder):
            os.setxattr(path, "system.posix_acl_access", _LIST)
        os.setxattr(folder, "system.posix_acl_default", _LIST)
    except OSError:
        pytest.skip("this file system has no access lists")
    assert [0o740] * 3 == [stat.S_IMODE(os.lstat(path).st_mode) for path in (folder, file, fifo)]

    clean_upper(tmp_path, epoch=0)

    assert [[], [], []] == [os.listxattr(path) for path in (folder, file, fifo)]
    assert [0o740] * 3 == [stat.S_IMODE(os.lstat(path).st_mode) for path in (folder, file, fifo)]


def _in(folder: Path, action):
    """Do something within a folder that its mode keeps closed."""
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    os.chmod(folder, 0o700)
    try:
        return action()
    finally:
        os.chmod(folder, mode)


def test_whiteouts_kept_as_attributes_become_devices(tmp_path: Path) -> None:
    """An opaque mark of x means that empty files may be whiteouts (Linux 6.7): they end as devices, the mark goes."""
    os.setxattr(tmp_path, "user.overlay.opaque", b"x")
    (tmp_path / "gone").write_bytes(b"")
    os.setxattr(tmp_path / "gone", "user.overlay.whiteout", b"")
    (tmp_path / "kept").write_bytes(b"")

    clean_upper(tmp_path, epoch=0)

    status = os.lstat(tmp_path / "gone")
    assert (True, 0) == (stat.S_ISCHR(status.st_mode), status.st_rdev)
    assert stat.S_ISREG(os.lstat(tmp_path / "kept").st_mode)
    assert [] == os.listxattr(tmp_path)


@pytest.mark.parametrize("mark", ["user.overlay.redirect", "user.overlay.metacopy"])
def test_an_upper_that_does_not_hold_its_content_is_refused(mark: str, tmp_path: Path) -> None:
    """A file whose content overlay left in a lower layer would be lost: an error with the way out."""
    (tmp_path / "f").write_bytes(b"")
    os.setxattr(tmp_path / "f", mark, b"")

    with pytest.raises(StoreError, match=r"/f: .*overlay"):
        clean_upper(tmp_path, epoch=0)


def test_cleaning_twice_changes_nothing(tmp_path: Path, form: str) -> None:
    """The second cleaning finds nothing to do, so a build that is tried again gives the same layer."""
    (tmp_path / "f").write_bytes(b"1")
    clean_upper(tmp_path, epoch=5)
    first = measure(tmp_path, form=form)

    clean_upper(tmp_path, epoch=5)

    assert first == measure(tmp_path, form=form)
