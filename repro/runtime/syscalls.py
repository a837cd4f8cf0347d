"""The system calls that Python's standard library lacks, each as a function that raises OSError.

Everything goes through ``PyDLL``, which keeps the interpreter's lock: `clone` depends on it (see there), and for
the others it costs nothing, since the processes that use this module have one thread.
"""

from __future__ import annotations

import ctypes
import os

MACHINE = os.uname().machine  # "x86_64" or "aarch64"

# uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# uapi/linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_RELATIME = 0x200000
MNT_DETACH = 2

# uapi/linux/fcntl.h, openat2.h
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

# uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# uapi/linux/seccomp.h
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4

_CAPABILITY_VERSION_3 = 0x20080522
_SIGCHLD = 17

# Numbers below 424 differ per architecture; from there on they are the same everywhere.
_NUMBERS = {
    "x86_64": {
        "clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317,
        "setgroups": 116, "setresuid": 117, "setresgid": 119,
    },
    "aarch64": {
        "clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277,
        "setgroups": 159, "setresuid": 147, "setresgid": 149,
    },
}.get(MACHINE, {})  # fmt: skip
_CLOSE_RANGE = 436
_OPENAT2 = 437
_MOUNT_SETATTR = 442

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _check(value: int, path: str | bytes | None = None) -> int:
    if value < 0:
        number = ctypes.get_errno()
        if path is None:
            raise OSError(number, os.strerror(number))
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return value


def _long(*values: int) -> list[ctypes.c_long]:
    """Return the arguments of a variadic call at full register width."""
    return [ctypes.c_long(value) for value in values]


def clone(flags: int) -> int:
    """Fork into new namespaces: return the child's pid in the parent, 0 in the child, as fork(2).

    The child has the pid 1 when ``flags`` hold CLONE_NEWPID. Only for a process with one thread: the interpreter
    is not told (no os.register_at_fork hooks run), and keeping its lock across the call leaves the child with it.
    """
    return int(_check(_syscall(*_long(_NUMBERS["clone"], flags | _SIGCHLD, 0, 0, 0, 0))))


def unshare(flags: int) -> None:
    """Move this process into new namespaces (unshare(2))."""
    _check(_libc.unshare(ctypes.c_int(flags)))


def setns(descriptor: int, kind: int) -> None:
    """Move this process into the namespace of ``kind`` (CLONE_NEW…) that ``descriptor`` stands for (setns(2))."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)))


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """Attach a file system or folder to ``target``, which an OSError names (mount(2))."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if data is None else os.fsencode(data),
        ),
        target,
    )


def unmount(target: str, flags: int = 0) -> None:
    """Detach what is mounted at ``target`` (umount2(2))."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace and put the old root at ``old`` (pivot_root(2))."""
    _check(_syscall(ctypes.c_long(_NUMBERS["pivot_root"]), os.fsencode(new), os.fsencode(old)), new)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(descriptor: int, attributes: int) -> None:
    """Set ``attributes`` on the mount at ``descriptor`` and on all below it (mount_setattr(2), Linux 5.12)."""
    value = _MountAttributes(attr_set=attributes)
    _check(
        _syscall(
            *_long(_MOUNT_SETATTR, descriptor),
            b"",
            *_long(AT_EMPTY_PATH | AT_RECURSIVE),
            ctypes.byref(value),
            *_long(ctypes.sizeof(value)),
        )
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open ``path`` as if the folder ``root`` were "/", for links and ``..`` too (openat2(2), Linux 5.6)."""
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=0, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    arguments = (*_long(_OPENAT2, root), os.fsencode(path), ctypes.byref(how), *_long(ctypes.sizeof(how)))
    return int(_check(_syscall(*arguments), path))


def close_range(first: int, last: int) -> None:
    """Close every descriptor from ``first`` to ``last``, both included; open or not."""
    if first > last:
        return
    if _syscall(*_long(_CLOSE_RANGE, first, last, 0)) == 0:
        return
    for name in os.listdir("/proc/self/fd"):  # before Linux 5.9
        if first <= int(name) <= last:
            os.closerange(int(name), int(name) + 1)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace."""
    encoded = os.fsencode(name)
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))))


def prctl(option: int, value: int = 0) -> int:
    """Return what the process control call gives (prctl(2)); the arguments after the second are zero."""
    return int(_check(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(v) for v in (value, 0, 0, 0)))))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's capabilities, each set as a bit mask (capset(2))."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    low, mask = (_CapabilityData * 2)(), 0xFFFFFFFF
    for index in range(2):
        shift = 32 * index
        low[index].effective = effective >> shift & mask
        low[index].permitted = permitted >> shift & mask
        low[index].inheritable = inheritable >> shift & mask
    _check(_syscall(ctypes.c_long(_NUMBERS["capset"]), ctypes.byref(header), ctypes.byref(low)))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def act_as(uid: int, gid: int) -> None:
    """Give the calling thread, and it alone, these effective IDs and no other groups (credentials(7)).

    libc's functions would change every thread of the process (nptl(7)). The kernel takes a change for a reason to
    close the process's files in /proc to others; that is undone.
    """
    dumpable = prctl(PR_GET_DUMPABLE)
    try:
        _check(_syscall(*_long(_NUMBERS["setgroups"], 0, 0)))
        _check(_syscall(*_long(_NUMBERS["setresgid"], -1, gid, -1)))
        _check(_syscall(*_long(_NUMBERS["setresuid"], -1, uid, -1)))
    finally:
        prctl(PR_SET_DUMPABLE, dumpable)


def load_seccomp(program: bytes) -> None:
    """Put the BPF ``program`` (8 bytes an instruction) on this process; needs no_new_privs or CAP_SYS_ADMIN.

    Before Linux 5.16 a filter also turned on a costly protection against speculation, for browsers' sake; the flag
    keeps it off (seccomp(2)).
    """
    value = _FilterProgram(len(program) // 8, program)
    how = _long(_NUMBERS["seccomp"], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    _check(_syscall(*how, ctypes.byref(value)))
