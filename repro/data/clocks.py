"""What time it is where a file lies, and whether its times prove anything there.

A file that is written again gets a new ctime, unless that happens within one tick of the clock that stamps it. So a
digest may be remembered by a file's times only where these are older than the moment at which hashing began, on the
clock that stamps that file:

- a local file system is stamped by this kernel;
- a network or FUSE file system by a server, whose clock may be behind ours: the time is taken from a file that is made
  there, in the folder of the cache. It also shows whether a ctime is kept at all: on FAT, and on sshfs, which has
  modification times only, bytes can change and every time be put back;
- where none can be made, because what is read lies on another file system than the project: after a day for those
  known to keep a ctime (clocks that differ by more are broken, and Kerberos and make fail, too), never for others.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A write within one tick of the clock that stamps files leaves their times as they were. Ticks: 10 ms at most
# in the kernel, 1 s on older NFS servers, 2 s on FAT.
_RACY_NS = 2_000_000_000
_DAY_NS = 86_400 * 10**9
_PROBE_LASTS = 1.0  # seconds; an older reading is true as well, and lets fewer files be remembered
NEVER = -(1 << 63)

_LOCAL = frozenset(
    {"bcachefs", "btrfs", "devtmpfs", "ecryptfs", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs", "nilfs2", "ntfs3"}
    | {"overlay", "ramfs", "reiserfs", "rootfs", "tmpfs", "xfs", "zfs"}
)
_SERVED = frozenset(
    {"9p", "acfs", "afs", "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs"}
    | {"panfs", "smb2", "smb3", "virtiofs", "wekafs"}
)


class Clocks:
    """The clocks of file systems; ``folder`` is where files may be made to read them. Safe to use from many threads."""

    def __init__(
        self,
        folder: Path,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        kind_of: Callable[[int, str], str] | None = None,
    ) -> None:
        self._folder = folder
        self._now_ns = now_ns
        self._kind_of = kind_of or kind_of_device
        self._kinds: dict[int, str] = {}
        self._local: set[int] = set()
        self._readings: dict[int, tuple[float, int | None]] = {}
        self._guard = threading.Lock()

    def status(self, path: str, status: os.stat_result | None = None) -> os.stat_result:
        """Return the status of the file that ``path`` leads to, as it is now; ``status`` is what stat(2) just said.

        A client of a network file system answers stat(2) for up to a minute from memory; only open(2) asks the server
        (nfs(5), "Close-to-open cache consistency"). OSError as stat and open raise it.
        """
        status = status or os.stat(path)
        if status.st_dev in self._local or self._is_local(status.st_dev, path):
            return status
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def settled_ns(self, path: str, status: os.stat_result) -> int:
        """Return the time before which mtime and ctime must lie so that a write from now on cannot repeat them.

        In ns on the clock that stamps the file; `NEVER` where no times would do.
        """
        device = status.st_dev
        if self._is_local(device, path):
            return self._now_ns() - _RACY_NS
        with self._guard:
            taken, moment = self._readings.get(device, (-_PROBE_LASTS, None))
            if time.monotonic() - taken >= _PROBE_LASTS:
                taken, moment = time.monotonic(), self._read(device)
                self._readings[device] = taken, moment
        if moment is None:
            return self._now_ns() - _DAY_NS if self._kinds[device] in _SERVED else NEVER
        return moment - _RACY_NS if moment != NEVER else NEVER

    def _is_local(self, device: int, path: str) -> bool:
        kind = self._kinds.get(device)
        if kind is None:
            kind = self._kinds[device] = self._kind_of(device, path)
            if kind in _LOCAL:
                self._local.add(device)
        return kind in _LOCAL

    def _read(self, device: int) -> int | None:
        """Return the device's time from a file made now; `NEVER` if it keeps no ctime, None where none can be made."""
        try:
            if os.stat(self._folder).st_dev != device:
                return None
            descriptor, name = tempfile.mkstemp(prefix=".clock.", dir=self._folder)
            try:
                moment = os.fstat(descriptor).st_ctime_ns
                os.utime(name, (1, 1))
                kept = os.stat(name).st_ctime_ns
            finally:
                os.close(descriptor)
                os.unlink(name)
        except OSError:
            return None
        return moment if kept >= moment else NEVER


def kind_of_device(device: int, path: str, table: str = "/proc/self/mountinfo") -> str:
    """Return the type of the file system that ``path`` lies on, as mount(8) calls it; empty where it is not known.

    ``device`` is its st_dev. Files of btrfs and overlay have one that no mount has: then the mount that is nearest
    above the path says it (proc_pid_mountinfo(5)).
    """
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as lines:
            mounts = [line.split(" ") for line in lines]
    except OSError:
        return ""
    wanted, real = f"{os.major(device)}:{os.minor(device)}", os.path.realpath(path)
    nearest, kind = "", ""
    for fields in mounts:
        here = fields[fields.index("-") + 1]
        if fields[2] == wanted:
            return here
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4])
        if len(point) >= len(nearest) and (point == "/" or f"{real}/".startswith(f"{point}/")):
            nearest, kind = point, here
    return kind
