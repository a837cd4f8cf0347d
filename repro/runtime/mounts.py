"""The mounts of a container: binds that are truly read-only, and its own /dev, /proc and /sys.

Every target is a descriptor of a place inside the new root (see `rooted`), reached as ``/proc/self/fd/N`` of
the host's /proc, which stays mounted until the root is changed.
"""

from __future__ import annotations

import errno
import os
import stat

from repro.runtime import rooted, syscalls
from repro.runtime.syscalls import (
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

_QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
# As Docker: what shows or changes the host's kernel (moby oci/defaults.go).
_MASKED_PROC = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
    "timer_stats",
)  # fmt: skip
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_SYS = ("firmware", "devices/virtual/powercap")

# statvfs(3) flag -> mount(2) flag: a remount must repeat those that a user namespace locks
_KEPT_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, syscalls.MS_NOATIME),
    (os.ST_NODIRATIME, syscalls.MS_NODIRATIME),
    (os.ST_RELATIME, syscalls.MS_RELATIME),
)


def through(descriptor: int, name: str = "") -> str:
    """Return a short path, free of odd characters, to ``descriptor`` or to ``name`` in it."""
    return f"/proc/self/fd/{descriptor}/{name}" if name else f"/proc/self/fd/{descriptor}"


def bind(source: str, root: int, target: str, *, read_only: bool, made: list[str] | None = None) -> None:
    """Show the host's ``source``, and the mounts below it, at ``target``; the mount point is made."""
    place = rooted.ensure(root, target, folder=os.path.isdir(source), made=made)
    try:
        syscalls.mount(source, through(place), None, MS_BIND | MS_REC)
    finally:
        os.close(place)
    if read_only:
        make_read_only(root, target)


def make_read_only(root: int, target: str) -> None:
    """Make the mount at ``target`` and all below it read-only; their other flags stay."""
    top = rooted.open_path(root, target)
    try:
        syscalls.mount_setattr(top, MOUNT_ATTR_RDONLY)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        for path in _mounts_below(os.readlink(through(top))):
            _remount_read_only(path)
    finally:
        os.close(top)


def _mounts_below(top: str) -> list[str]:
    """Return the mount points at and below ``top`` in this namespace (proc(5), mountinfo), each once."""
    with open("/proc/self/mountinfo", "rb") as table:
        points = [_unescape(line.split(b" ")[4]) for line in table]
    below = top.rstrip("/") + "/"
    return [point for point in dict.fromkeys(points) if point == top or point.startswith(below)]


def _unescape(field: bytes) -> str:
    for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escaped, plain)
    return os.fsdecode(field)


def _remount_read_only(path: str) -> None:
    held = os.statvfs(path).f_flag
    kept = 0
    for held_flag, flag in _KEPT_FLAGS:
        kept |= flag if held & held_flag else 0
    syscalls.mount("none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def tmpfs(root: int, target: str, *, size: int | None, mode: int, flags: int, made: list[str]) -> None:
    """Mount an empty tmpfs; without ``size`` (bytes) the kernel's own limit holds, half of the memory."""
    place = rooted.ensure(root, target, folder=True, made=made)
    options = f"mode={mode:o}" if size is None else f"mode={mode:o},size={size}"
    try:
        syscalls.mount("tmpfs", through(place), "tmpfs", flags, options)
    finally:
        os.close(place)


def dev(root: int, *, single: bool, made: list[str]) -> None:
    """Give the container a /dev of its own: the harmless devices, pts, shm and mqueue."""
    tmpfs(root, "/dev", size=None, mode=0o755, flags=MS_NOSUID | MS_NOEXEC, made=made)
    folder = rooted.open_path(root, "/dev")
    try:
        for name in _DEVICES:
            _device(folder, name, single=single)
        for name, link in _DEVICE_LINKS:
            os.symlink(link, name, dir_fd=folder)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=folder)
        group = "" if single else ",gid=5"  # tty, as Debian's
        terminals = f"newinstance,ptmxmode=0666,mode=0620{group}"
        syscalls.mount("devpts", through(folder, "pts"), "devpts", MS_NOSUID | MS_NOEXEC, terminals)
        syscalls.mount("shm", through(folder, "shm"), "tmpfs", _QUIET, "mode=1777")
        try:
            syscalls.mount("mqueue", through(folder, "mqueue"), "mqueue", _QUIET)
        except OSError as error:
            if error.errno not in {errno.ENODEV, errno.EPERM}:  # a kernel without message queues
                raise
    finally:
        os.close(folder)


def _device(folder: int, name: str, *, single: bool) -> None:
    """Make the host's device ``name`` in ``folder``: by mknod where that is allowed, else by a bind (slower)."""
    if not single:
        try:
            os.mknod(name, stat.S_IFCHR, os.stat(f"/dev/{name}").st_rdev, dir_fd=folder)
        except PermissionError:  # a root without CAP_MKNOD
            pass
        else:
            os.chmod(name, 0o666, dir_fd=folder)  # noqa: S103 - /dev/null is everybody's
            return
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=folder))
    syscalls.mount(f"/dev/{name}", through(folder, name), None, MS_BIND)


def proc(root: int, *, made: list[str]) -> None:
    """Mount the pid namespace's /proc, masked as Docker masks it."""
    place = rooted.ensure(root, "/proc", folder=True, made=made)
    try:
        syscalls.mount("proc", through(place), "proc", _QUIET)
    finally:
        os.close(place)
    folder = rooted.open_path(root, "/proc")
    try:
        for name in _READ_ONLY_PROC:
            path = through(folder, name)
            if os.path.exists(path):
                syscalls.mount(path, path, None, MS_BIND | MS_REC)
                syscalls.mount("none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | _QUIET)
        _mask(folder, _MASKED_PROC)
    finally:
        os.close(folder)


def sys(root: int, *, own_network: bool, made: list[str]) -> None:
    """Show /sys read-only: a fresh one where the network namespace is ours, else the host's, whole."""
    place = rooted.ensure(root, "/sys", folder=True, made=made)
    fresh = own_network
    try:
        if fresh:
            try:
                syscalls.mount("sysfs", through(place), "sysfs", _QUIET | MS_RDONLY)
            except PermissionError:  # the host's /sys is partly hidden from us: the kernel gives no new view
                fresh = False
        if not fresh:
            syscalls.mount("/sys", through(place), None, MS_BIND | MS_REC)
    finally:
        os.close(place)
    if not fresh:
        make_read_only(root, "/sys")
    folder = rooted.open_path(root, "/sys")
    try:
        _mask(folder, _MASKED_SYS)
    finally:
        os.close(folder)


def _mask(folder: int, names: tuple[str, ...]) -> None:
    """Hide files behind /dev/null and folders behind an empty, read-only tmpfs."""
    for name in names:
        path = through(folder, name)
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", _QUIET | MS_RDONLY, "size=0,mode=755")
        elif os.path.exists(path):
            syscalls.mount("/dev/null", path, None, MS_BIND)
