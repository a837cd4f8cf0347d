"""The clock that stamps a file: this host's, a server's as a file made there tells it, or none to rely on."""

from __future__ import annotations

import os
import time

import pytest

from repro.data.checksum import StatCache
from repro.data.clocks import NEVER, Clocks, kind_of_device
from repro.digest import Digest

SECOND = 10**9
DAY = 86_400 * SECOND


@pytest.fixture
def file(tmp_path):
    """Return a file of today beside a folder for probes."""
    (tmp_path / "state").mkdir()
    (tmp_path / "a").write_bytes(b"abc")
    return tmp_path / "a"


def clocks_for(file, kind, now_ns=time.time_ns):
    """Return clocks that take every file system for one of that kind."""
    return Clocks(file.parent / "state", now_ns=now_ns, kind_of=lambda device, path: kind)


def test_local_files_go_by_this_clock(file):
    """A local file system is stamped by this kernel: nothing is made to read its clock."""
    clocks = clocks_for(file, "ext4", lambda: 100 * SECOND)
    assert 98 * SECOND == clocks.settled_ns(str(file), file.stat())


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "vfat", ""])
def test_other_files_go_by_the_clock_that_stamps_them(file, kind):
    """Where a file can be made beside it, its stamp is the time, however wrong our own clock is."""
    before = time.time_ns()
    settled = clocks_for(file, kind, lambda: 10**19).settled_ns(str(file), file.stat())
    assert before - 3 * SECOND < settled <= time.time_ns() - 2 * SECOND
    assert [] == os.listdir(file.parent / "state")


def test_write_right_after_hashing_is_seen_though_the_server_is_behind(file):
    """With our clock ten minutes ahead of the server's, a file written just now is still too new to be remembered."""
    ahead = StatCache(
        file.parent / "state" / "cache", clocks=clocks_for(file, "nfs4", lambda: time.time_ns() + 600 * SECOND)
    )
    before = file.stat()
    ahead.digest_file(file)
    assert ahead._remembered(str(file)) is None
    file.write_bytes(b"abd")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Digest.of(b"abd") == ahead.digest_file(file)[0]


def test_file_system_without_ctime_is_never_believed(file, monkeypatch):
    """Where ctime follows mtime, a change can be hidden, and nothing is remembered."""
    plain = os.stat

    def follows(path, **options):
        status = plain(path, **options)
        if ".clock." not in str(path):
            return status
        return os.stat_result(tuple(status), {"st_ctime_ns": status.st_mtime_ns})

    monkeypatch.setattr(os, "stat", follows)
    assert NEVER == clocks_for(file, "fuse.sshfs").settled_ns(str(file), file.stat())
    assert NEVER == clocks_for(file, "nfs4").settled_ns(str(file), file.stat())


@pytest.mark.parametrize(
    ("kind", "settled"), [("nfs4", 9 * DAY), ("lustre", 9 * DAY), ("fuse.sshfs", NEVER), ("vfat", NEVER), ("", NEVER)]
)
def test_where_no_file_can_be_made(file, kind, settled):
    """On another file system than the project's, or a full one, a day ago counts where a ctime is kept, else nothing."""
    for folder in (file.parent / "none", file):
        clocks = Clocks(folder, now_ns=lambda: 10 * DAY, kind_of=lambda device, path: kind)
        assert settled == clocks.settled_ns(str(file), file.stat())


def test_file_that_is_not_local_is_asked_for_again(file, monkeypatch):
    """What stat(2) says from memory counts for local files only: elsewhere the file is opened, which asks the server."""
    opened = []
    plain = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest, **more: opened.append(path) or plain(path, *rest, **more))
    stale = file.stat()
    file.write_bytes(b"abcd")
    assert (3, []) == (clocks_for(file, "xfs").status(str(file), stale).st_size, opened)
    assert (4, [str(file)]) == (clocks_for(file, "nfs").status(str(file), stale).st_size, opened)


def test_reading_lasts_a_moment(file, monkeypatch):
    """Hashing thousands of files does not make a file for each to read the clock."""
    clocks = clocks_for(file, "nfs4")
    first = clocks.settled_ns(str(file), file.stat())
    assert [first] * 5 == [clocks.settled_ns(str(file), file.stat()) for _ in range(5)]
    monkeypatch.setattr(time, "monotonic", lambda: 10**9)
    assert first < clocks.settled_ns(str(file), file.stat())


TABLE = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:50 / /home rw shared:1 master:2 - btrfs /dev/sdb1 rw,subvol=/
24 22 0:51 / /home/with\\040blank rw - nfs4 server:/export rw
25 22 0:52 / /homes rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("device", "path", "kind"),
    [
        (os.makedev(8, 1), "/etc/x", "ext4"),
        (os.makedev(0, 51), "/elsewhere", "nfs4"),
        (os.makedev(0, 99), "/home/x", "btrfs"),
        (os.makedev(0, 99), "/home/with blank/x", "nfs4"),
        (os.makedev(0, 99), "/homes/x", "fuse.sshfs"),
        (os.makedev(0, 99), "/x", "ext4"),
    ],
)
def test_kind_of_file_system(tmp_path, device, path, kind):
    """The kernel's table says it by device, or for a device that no mount has by the nearest mount."""
    (tmp_path / "mountinfo").write_text(TABLE)
    assert kind == kind_of_device(device, path, str(tmp_path / "mountinfo"))


def test_kind_without_a_table(tmp_path):
    """Where the kernel tells nothing, nothing is assumed."""
    assert "" == kind_of_device(os.makedev(8, 1), "/", str(tmp_path / "none"))


def test_real_kind_of_this_machine():
    """A folder in memory is known for what it is."""
    if os.path.ismount("/dev/shm"):
        assert "tmpfs" == kind_of_device(os.stat("/dev/shm").st_dev, "/dev/shm")
