"""What this host's kernel and this process's status say of user namespaces: read, not tried."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# uapi/linux/capability.h: what making images as root takes
_NEEDED = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "SYS_CHROOT": 18,
    "SYS_ADMIN": 21,
}  # fmt: skip
_SETGID, _SETUID = 6, 7


def doubts() -> list[str]:
    """Return the remedies for the settings that forbid, or may forbid, user namespaces here."""
    remedies = []
    if _setting("kernel/unprivileged_userns_clone") == "0":  # Debian's and Arch's patch
        remedies.append("sysctl -w kernel.unprivileged_userns_clone=1 (and in /etc/sysctl.d/ to keep it)")
    if _setting("user/max_user_namespaces") == "0":
        remedies.append("sysctl -w user.max_user_namespaces=15000 (and in /etc/sysctl.d/ to keep it)")
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":  # Ubuntu since 23.10
        program = os.path.realpath(sys.executable)
        remedies.append(
            "allow them for this program by an AppArmor profile: write\n"
            f"         abi <abi/4.0>,\n         profile repro {program} flags=(unconfined) {{ userns, }}\n"
            "       to /etc/apparmor.d/repro and run: apparmor_parser -r /etc/apparmor.d/repro\n"
            "       (or, for everybody: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    if _setting("user/max_user_namespaces") is None:
        remedies.append("use a kernel with CONFIG_USER_NS")
    return remedies


def lacking() -> list[str]:
    """Return the capabilities that this process lacks to be a root that makes images, by name."""
    held = int(status_field("CapEff") or "0", 16)
    return [f"CAP_{name}" for name, bit in _NEEDED.items() if not held >> bit & 1]


def set_id_programs() -> str | None:
    """Return why a set-user-ID program such as newuidmap would get no rights from this process; None if it would."""
    if status_field("NoNewPrivs") == "1":
        return "no_new_privs is set on this process: set-user-ID programs get no rights here (an outer sandbox?)"
    bound = int(status_field("CapBnd") or "0", 16)
    if not (bound >> _SETUID & 1 and bound >> _SETGID & 1):
        return "CAP_SETUID or CAP_SETGID is not in this process's bounding set (an outer container?)"
    return None


def threads() -> int:
    """Return how many threads this process has, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def status_field(name: str) -> str | None:
    """Return a field of this process's status (proc(5)), None where the kernel has no such field."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def _setting(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError:
        return None
