"""What a container's command may do: user, capabilities, no_new_privs, filter. Set last, never given back."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from repro.runtime import syscalls

if TYPE_CHECKING:
    from repro.runtime.wire import Order

# uapi/linux/capability.h; the set that Docker gives (moby oci/caps/defaults.go)
_DOCKER = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
    "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}  # fmt: skip
_SYS_ADMIN = 1 << 21
_LAST = 63

BUILD = sum(1 << bit for bit in _DOCKER.values())


def bound(kept: int) -> None:
    """Drop every capability but ``kept`` from the bounding set, and all from the ambient set."""
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    for bit in range(_LAST + 1):
        if kept >> bit & 1:
            continue
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, bit)
        except OSError as error:
            if error.errno == errno.EINVAL:  # beyond the kernel's last capability
                return
            raise


def become(order: Order, program: bytes | None) -> None:
    """Give this process the user, capabilities and filter that the command is to have.

    A build loads the filter with CAP_SYS_ADMIN, since it must not have no_new_privs; the command's exec drops
    that capability, which is not in the bounding set (capabilities(7), "Transformation during execve").
    """
    build = order["build"]
    bound(BUILD if build else 0)
    if not order["single"]:  # in a single-ID namespace the map itself makes us the user, and groups are fixed
        uid, gid = order["user"]
        if order["groups"] is not None:
            os.setgroups(order["groups"])
        os.setresgid(gid, gid, gid)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setresuid(uid, uid, uid)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    if build:
        kept = BUILD | (_SYS_ADMIN if program else 0)
        syscalls.capset(effective=kept, permitted=kept, inheritable=0)
    else:
        syscalls.capset(effective=0, permitted=0, inheritable=0)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if program:
        syscalls.load_seccomp(program)
