"""What this host gives, found by trying, and what its administrator can do about the rest: `repro doctor`."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from repro.dataclass import dataclass
from repro.errors import HostError
from repro.files import remove_tree
from repro.process import run
from repro.runtime import seccomp, settings
from repro.runtime.modes import Choice, choose
from repro.runtime.spec import Mode

_TRIAL = os.fspath(Path(__file__).with_name("trial.py"))
_UNKNOWN_ERRNO = 255
_PARTS = ("namespaces", "overlay", "proc")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``remedy`` is for the host's administrator, empty where nothing is to be done.

    Without what is not ``needed`` containers run all the same, in a lesser way.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True


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
            case Mode.SUB:
                return "in a user namespace with subordinate IDs; images are the same as root's"
            case Mode.ONE:
                return "in user namespaces with a single ID; owners in images differ from root's"
            case None:
                return "cannot run here"


def choose_mode(uid: int, gid: int, wanted: str = "") -> Choice:
    """Return how a process of ``uid`` and ``gid`` can run containers here; HostError with the remedy when it cannot.

    As `repro.runtime.modes.choose`; a trial (some 40 ms) is made only where a setting makes user namespaces doubtful.
    """
    choice = choose(uid, gid, wanted)
    if choice.mode is Mode.REAL or not settings.doubts():
        return choice
    tried = _try(choice, None)
    if tried.works(choice.mode):
        return choice
    if not wanted and tried.works(Mode.ONE):
        return replace(choose(uid, gid, "one"), why="user namespaces with subordinate IDs are refused here")
    wrong = next(check for check in _checks(uid, choice, tried) if check.needed and not check.ok)
    raise HostError(f"containers cannot run here: {wrong.name}", why=wrong.detail, hint=wrong.remedy or None)


def probe(uid: int, gid: int, folder: Path | None = None, wanted: str = "") -> HostReport:
    """Return what works on this host for a process of ``uid`` and ``gid``.

    Args:
        uid: the caller's.
        gid: the caller's.
        folder: where the overlay is tried, on the file system that will hold the layers; default: a temporary
            folder.
        wanted: as in `repro.runtime.modes.choose`.
    """
    if not seccomp.known(os.uname().machine):
        remedy = "use a machine with x86_64 or aarch64"
        return HostReport((Check("architecture", ok=False, detail=os.uname().machine, remedy=remedy),), None)
    choice = choose(uid, gid, wanted)
    tried = _try(choice, folder)
    mode: Mode | None = choice.mode
    if not tried.works(choice.mode):
        mode = Mode.ONE if tried.works(Mode.ONE) and not wanted else None
    return HostReport(tuple(_checks(uid, choice, tried)), mode)


@dataclass(frozen=True, slots=True)
class _Tried:
    """The errno of each trial (0: it worked), by mode and part, as ``one overlay``."""

    results: dict[str, int]

    def of(self, mode: Mode, part: str) -> int:
        return self.results.get(f"{mode.value} {part}", _UNKNOWN_ERRNO)

    def works(self, mode: Mode) -> bool:
        own = all(self.of(mode, part) == 0 for part in _PARTS)
        return own and (mode is Mode.REAL or self.results["seccomp"] == 0)


def _try(choice: Choice, folder: Path | None) -> _Tried:
    """Try the mode chosen and, as the way out, a single ID."""
    place = Path(tempfile.mkdtemp(prefix="repro-probe-", dir=folder))
    identities = json.dumps(None if choice.identities is None else asdict(choice.identities))
    modes = dict.fromkeys((choice.mode.value, Mode.ONE.value))
    try:
        output = run([os.path.realpath(sys.executable), "-I", "-S", _TRIAL, os.fspath(place), identities, *modes])
    finally:
        remove_tree(place)
    return _Tried(json.loads(output))


def _checks(uid: int, choice: Choice, tried: _Tried) -> list[Check]:
    mode = choice.mode if tried.works(choice.mode) else Mode.ONE if tried.works(Mode.ONE) else choice.mode
    checks = [Check("architecture", ok=True, detail=f"{os.uname().machine}, Linux {os.uname().release}")]
    if uid == 0:
        real = mode is Mode.REAL
        detail = "may make namespaces and mounts" if real else choice.why or "not made use of"
        checks.append(Check("root", ok=True, detail=detail))
    if mode is not Mode.REAL:
        made = tried.of(mode, "namespaces")
        checks.append(_tried("user namespaces", made, "may be made", _user_remedy()))
    if uid != 0:
        checks.append(_subordinate(choice, tried))
    return [
        *checks,
        _tried("overlay", tried.of(mode, "overlay"), "mounts, with whiteouts and user xattrs", _OVERLAY),
        _tried("proc", tried.of(mode, "proc"), "a new one may be mounted", _PROC),
        _tried("network namespaces", tried.of(mode, "network"), "may be made", _NETWORK),
        _tried("seccomp", tried.results["seccomp"], "filters load", "use a kernel with CONFIG_SECCOMP_FILTER"),
        Check("cgroups", ok=True, detail=_cgroups()),
    ]


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


def _subordinate(choice: Choice, tried: _Tried) -> Check:
    """Return whether the caller has subordinate IDs, and what to ask for where not."""
    name = "subordinate IDs"
    if choice.identities is None:
        return Check(name, ok=False, detail=choice.why, remedy=choice.fix, needed=False)
    if not tried.works(choice.mode):
        detail, remedy = "there is a range, but the store's file system, or this host, refuses its use", ""
        return Check(name, ok=False, detail=detail, remedy=remedy, needed=False)
    spans = {kind: spans[1] for kind, spans in (("uid", choice.identities.uids), ("gid", choice.identities.gids))}
    told = [f"{kind}s {span.outside} to {span.outside + span.count - 1}" for kind, span in spans.items()]
    return Check(name, ok=True, detail=", ".join(told))


def _user_remedy() -> str:
    """Return what makes user namespaces usable, for the obstacle that this host shows."""
    doubts = settings.doubts()
    if doubts:
        return doubts[0]
    if settings.status_field("Seccomp") not in {None, "0"}:
        return "a seccomp filter is on this process (an outer container?): allow unshare, clone and mount in it"
    return "ask the administrator to allow unprivileged user namespaces"


def _cgroups() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "version 2"
    if Path("/sys/fs/cgroup/memory").exists():
        return "version 1"
    return "not mounted"
