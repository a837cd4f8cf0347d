"""What this host gives, found by trying, and what its administrator can do about the rest: `repro doctor`."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from repro.errors import HostError
from repro.files import remove_tree
from repro.process import run
from repro.runtime import seccomp
from repro.runtime.spec import Mode

_TRIAL = os.fspath(Path(__file__).with_name("trial.py"))
_SYS_ADMIN = 1 << 21
_UNKNOWN_ERRNO = 255


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``remedy`` is for the host's administrator, empty where nothing is to be done."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """All that was looked at. ``mode`` is how containers will run here, None when they cannot."""

    checks: tuple[Check, ...]
    mode: Mode | None

    @property
    def usable(self) -> bool:
        """Whether containers can run here."""
        return self.mode is not None

    @property
    def summary(self) -> str:
        """One line for people."""
        match self.mode:
            case Mode.REAL:
                return "as real root"
            case Mode.ONE:
                return "in user namespaces with a single ID"
            case None:
                return "cannot run here"


def choose_mode(uid: int) -> Mode:
    """Return how a process of ``uid`` can run containers here; HostError with the remedy when it cannot.

    Quick: a trial (some 40 ms) is made only where a setting makes user namespaces doubtful.
    """
    if uid == 0 and _has_sys_admin() and not _single_id():
        return Mode.REAL
    if seccomp.known(os.uname().machine) and not _doubts():
        return Mode.ONE
    report = probe(uid)
    if report.mode is not None:
        return report.mode
    wrong = next(check for check in report.checks if not check.ok)
    raise HostError(f"containers cannot run here: {wrong.name}", why=wrong.detail, hint=wrong.remedy or None)


def probe(uid: int, folder: Path | None = None) -> HostReport:
    """Return what works on this host for a process of ``uid``.

    Args:
        uid: the caller's.
        folder: where the overlay is tried, on the file system that will hold the layers; default: a temporary
            folder.
    """
    machine = os.uname().machine
    if not seccomp.known(machine):
        remedy = "use a machine with x86_64 or aarch64"
        return HostReport((Check("architecture", ok=False, detail=machine, remedy=remedy),), None)
    place = Path(tempfile.mkdtemp(prefix="repro-probe-", dir=folder))
    try:
        output = run([os.path.realpath(sys.executable), "-I", "-S", _TRIAL, os.fspath(place)])
    finally:
        remove_tree(place)
    results: dict[str, int] = json.loads(output)
    tried = all(results.get(f"real {part}") == 0 for part in ("namespaces", "overlay", "proc"))
    real = uid == 0 and tried and not _single_id()
    parts = ("one namespaces", "one overlay", "one proc", "seccomp")
    one = all(results[part] == 0 for part in parts)
    mode = Mode.REAL if real else Mode.ONE if one else None
    return HostReport(tuple(_checks(uid, results, real=real)), mode)


def _checks(uid: int, results: dict[str, int], *, real: bool) -> list[Check]:
    kind = "real" if real else "one"
    checks = [Check("architecture", ok=True, detail=f"{os.uname().machine}, Linux {os.uname().release}")]
    if uid == 0:
        detail = "may make namespaces and mounts" if real else "root without the right to make namespaces or mounts"
        if _single_id():
            detail = "of a user namespace that has no ID but root's"
        checks.append(Check("root", ok=True, detail=detail))
    if not real:
        checks.append(_tried("user namespaces", results["one namespaces"], "may be made", _user_remedy()))
    checks += [
        _tried("overlay", results[f"{kind} overlay"], "mounts, with whiteouts and user xattrs", _OVERLAY),
        _tried("proc", results[f"{kind} proc"], "a new one may be mounted", _PROC),
        _tried("network namespaces", results[f"{kind} network"], "may be made", _NETWORK),
        _tried("seccomp", results["seccomp"], "filters load", "use a kernel with CONFIG_SECCOMP_FILTER"),
        Check("cgroups", ok=True, detail=_cgroups()),
    ]
    if uid != 0:
        checks.append(Check("subordinate IDs", ok=True, detail=_subordinate(uid)))
    return checks


_OVERLAY = (
    "put the store on ext4, xfs (ftype=1) or btrfs (REPRO_STORE); without root, Linux 5.11 or later is "
    "needed; where the module is missing: modprobe overlay"
)
_PROC = "run the outer container with an unmasked /proc (podman: --security-opt unmask=ALL; docker: --privileged)"
_NETWORK = "sysctl -w user.max_net_namespaces=15000"


def _tried(name: str, number: int, works: str, remedy: str) -> Check:
    if number == 0:
        return Check(name, ok=True, detail=works)
    reason = "failed" if number == _UNKNOWN_ERRNO else os.strerror(number)
    if number == errno.ENOSPC:
        reason += " (a limit on their number is reached or zero)"
    return Check(name, ok=False, detail=reason, remedy=remedy)


def _user_remedy() -> str:
    """Return what makes user namespaces usable, for the obstacle that this host shows."""
    doubts = _doubts()
    if doubts:
        return doubts[0]
    if _status_field("Seccomp") not in {None, "0"}:
        return "a seccomp filter is on this process (an outer container?): allow unshare, clone and mount in it"
    return "ask the administrator to allow unprivileged user namespaces"


def _doubts() -> list[str]:
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


def _setting(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None


def _status_field(name: str) -> str | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def _has_sys_admin() -> bool:
    return bool(int(_status_field("CapEff") or "0", 16) & _SYS_ADMIN)


def _single_id() -> bool:
    """Return whether this process is in a user namespace that maps one ID alone, as `unshare -r` makes it.

    Its root cannot give a file to anybody else (user_namespaces(7)).
    """
    ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return sum(int(count) for _, _, count in ranges) == 1


def _cgroups() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "version 2"
    if Path("/sys/fs/cgroup/memory").exists():
        return "version 1"
    return "not mounted"


def _subordinate(uid: int) -> str:
    """Return whether /etc/subuid has a range for ``uid``; nothing here needs one yet."""
    import pwd  # noqa: PLC0415 - may ask the network for the name

    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        lines = []
    ranges = [line for line in lines if line.partition(":")[0] in names]
    return f"{len(ranges)} range(s) in /etc/subuid; not needed" if ranges else "none in /etc/subuid; not needed"
