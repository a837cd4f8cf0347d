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
    (os.ST_RDONLY, MS_RDONLY),
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
    """Show the host's ``source``, and the mounts below it, at ``target``; the mount point is made.

    A device node in it cannot be opened: with CAP_MKNOD, a build could make one for any disk of the host.
    """
    place = rooted.ensure(root, target, folder=os.path.isdir(source), made=made)
    try:
        syscalls.mount(source, through(place), None, MS_BIND | MS_REC)
    finally:
        os.close(place)
    restrict(root, target, MS_NODEV | (MS_RDONLY if read_only else 0))


def restrict(root: int, target: str, flags: int) -> None:
    """Add ``flags`` (MS_RDONLY, MS_NODEV) to the mount at ``target`` and to all below it; their others stay."""
    top = rooted.open_path(root, target)
    try:
        syscalls.mount_setattr(top, flags)  # MOUNT_ATTR_RDONLY and _NODEV are the same bits
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        for path in _mounts_below(os.readlink(through(top))):
            _remount(path, flags)
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


def _remount(path: str, flags: int) -> None:
    held = os.statvfs(path).f_flag
    for held_flag, flag in _KEPT_FLAGS:
        flags |= flag if held & held_flag else 0
    syscalls.mount("none", path, None, MS_REMOUNT | MS_BIND | flags)


def tmpfs(root: int, target: str, *, size: int | None, mode: int, flags: int, made: list[str]) -> None:
    """Mount an empty tmpfs; without ``size`` (bytes) the kernel's own limit holds, half of the memory."""
    place = rooted.ensure(root, target, folder=True, made=made)
    options = f"mode={mode:o}" if size is None else f"mode={mode:o},size={size}"
    try:
        syscalls.mount("tmpfs", through(place), "tmpfs", flags, options)
    finally:
        os.close(place)


def dev(root: int, *, single: bool, build: bool, made: list[str]) -> None:
    """Give the container a /dev of its own: the harmless devices, pts, shm and mqueue.

    A build as root may make nodes there, as everywhere, but open no others than these.
    """
    tmpfs(root, "/dev", size=None, mode=0o755, flags=MS_NOSUID | MS_NOEXEC, made=made)
    folder = rooted.open_path(root, "/dev")
    try:
        for name in _DEVICES:
            _device(root, folder, name, single=single)
        if build and not single:
            for name in _DEVICES:
                syscalls.mount(through(folder, name), through(folder, name), None, MS_BIND)
            syscalls.mount("none", through(folder), None, MS_REMOUNT | MS_BIND | _QUIET)
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


def _device(root: int, folder: int, name: str, *, single: bool) -> None:
    """Make the host's device ``name`` in ``folder``: by mknod where that is allowed, else by a bind (slower).

    The bind is read-only: the device can be written all the same, but nobody can chmod the host's node.
    """
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
    restrict(root, f"/dev/{name}", MS_RDONLY)


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
        _mask(root, folder, _MASKED_PROC)
    finally:
        os.close(folder)


def sys(root: int, *, made: list[str]) -> None:
    """Show /sys read-only: a fresh one, without what the host mounts in its own; else that one, whole.

    The kernel gives a fresh one to whoever rules the network namespace, if the host's is nowhere hidden.
    """
    place = rooted.ensure(root, "/sys", folder=True, made=made)
    try:
        syscalls.mount("sysfs", through(place), "sysfs", _QUIET | MS_RDONLY)
    except PermissionError:
        bind("/sys", root, "/sys", read_only=True)
    finally:
        os.close(place)
    folder = rooted.open_path(root, "/sys")
    try:
        _mask(root, folder, _MASKED_SYS)
    finally:
        os.close(folder)


def _mask(root: int, folder: int, names: tuple[str, ...]) -> None:
    """Hide files behind the container's /dev/null (root could chmod the host's), folders behind an empty tmpfs."""
    null = rooted.open_path(root, "/dev/null")
    try:
        for name in names:
            path = through(folder, name)
            if os.path.isdir(path):
                syscalls.mount("tmpfs", path, "tmpfs", _QUIET | MS_RDONLY, "size=0,mode=755")
            elif os.path.exists(path):
                syscalls.mount(through(null), path, None, MS_BIND)
    finally:
        os.close(null)
