"""New namespaces for a container, and the little that has to be set up in them before the mounts."""

from __future__ import annotations

import fcntl
import socket
import struct

from repro.runtime import syscalls
from repro.runtime.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_INTERFACE_FLAGS = struct.Struct("16sh22x")  # struct ifreq


def flags(*, single: bool, own_network: bool) -> int:
    """Return the clone(2) flags of a container."""
    always = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    return always | (CLONE_NEWUSER if single else 0) | (CLONE_NEWNET if own_network else 0)


def map_one(inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """Map the one uid and gid ``inside`` this user namespace to those ``outside`` (user_namespaces(7)).

    setgroups is denied first: without that the kernel lets no unprivileged process write a gid map.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside[0]} {outside[0]} 1"),
        ("gid_map", f"{inside[1]} {outside[1]} 1"),
    ):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(text.encode())


def bring_up_loopback() -> None:
    """Bring up ``lo`` in this network namespace; the kernel gives it its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = bytearray(_INTERFACE_FLAGS.pack(b"lo", 0))
        fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        _name, held = _INTERFACE_FLAGS.unpack(request)
        fcntl.ioctl(control, _SIOCSIFFLAGS, _INTERFACE_FLAGS.pack(b"lo", held | _IFF_UP))


def set_host_name(name: str) -> None:
    """Set the UTS name."""
    syscalls.sethostname(name)
