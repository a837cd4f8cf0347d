"""The IDs that a process has besides its own: those of its user namespace, and the subordinate ones it may ask for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import HostError, ReproError
from repro.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDED = 65536  # the IDs 0 to 65535: distributions use 65534 (nobody) and, for groups, up to there
_FIRST_FREE = 100000  # useradd's SUB_UID_MIN
_NAMES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` IDs from ``inside`` on, which are those from ``outside`` on in the namespace around (uid_map)."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True)
class Identities:
    """What IDs mean in a user namespace: the spans of its uid_map and gid_map, in order."""

    uids: tuple[Span, ...]
    gids: tuple[Span, ...]

    @property
    def form(self) -> str:
        """The name of the form in which layers are kept whose owners are to be read with these IDs.

        ``real`` where nothing is mapped; ``sub-FIRST-COUNT`` where 0 is one ID of the namespace around and all from 1
        on are a range of it, as with newuidmap; else a name made of all the numbers.
        """
        if all(span.inside == span.outside for span in (*self.uids, *self.gids)):
            return "real"
        uids, gids = _sub(self.uids), _sub(self.gids)
        if uids is None or gids is None:
            numbers = [(span.inside, span.outside, span.count) for span in (*self.uids, *self.gids)]
            return "map-" + "-".join(str(number) for span in numbers for number in span)
        return f"sub-{uids}" if uids == gids else f"sub-{uids}-{gids}"

    @property
    def count(self) -> int:
        """How many IDs from 0 on can be given to a file without a gap, of users and of groups."""
        return min(_reach(self.uids), _reach(self.gids))


def _sub(spans: tuple[Span, ...]) -> str | None:
    if len(spans) != 2 or (spans[0].inside, spans[0].count, spans[1].inside) != (0, 1, 1):
        return None
    return f"{spans[1].outside}-{spans[1].count}"


def _reach(spans: tuple[Span, ...]) -> int:
    reach = 0
    for span in sorted(spans, key=lambda span: span.inside):
        if span.inside > reach:
            break
        reach = max(reach, span.inside + span.count)
    return reach


def present() -> Identities:
    """Return those of this process's user namespace."""
    return Identities(_map("uid_map"), _map("gid_map"))


def _map(name: str) -> tuple[Span, ...]:
    lines = Path("/proc/self", name).read_text(encoding="ascii").splitlines()
    return tuple(Span(*map(int, line.split())) for line in lines)


def subordinate(uid: int, gid: int, *, etc: Path = Path("/etc")) -> Identities:
    """Return what a namespace made with newuidmap has: ``uid`` and ``gid`` as 0, the subordinate range from 1 on.

    The first range of a file that is large enough is taken, so that layers keep their form when others are added.
    HostError, with what to ask the administrator for, where there is none.
    """
    names, primary = _user(uid)
    if gid != primary:
        raise HostError(
            "the subordinate gids cannot be mapped",
            why=f"the current group ({gid}) is not the caller's own ({primary}), which newgidmap insists on",
            hint="leave the shell that newgrp or sg made",
        )
    return Identities(
        (Span(0, uid, 1), _range("uid", names, etc)),
        (Span(0, gid, 1), _range("gid", names, etc)),
    )


def _range(kind: str, names: Sequence[str], etc: Path) -> Span:
    file = etc / Path(_NAMES[kind]).name
    ranges = _listed(file)
    own = [(first, count) for name, first, count in ranges if name in names] or _from_directory(kind, names, etc)
    if not own:
        raise HostError(
            f"{names[-1]} has no subordinate {kind}s",
            why=f"no line of {file} begins with {names[-1]}:",
            hint=_request(names[-1], etc),
        )
    enough = [span for span in own if span[1] >= NEEDED - 1]
    if not enough:
        most = max(count for _first, count in own)
        raise HostError(
            f"the subordinate {kind}s of {names[-1]} are too few",
            why=f"the largest range in {file} has {most}, images need {NEEDED}",
            hint=_request(names[-1], etc),
        )
    return Span(1, *enough[0])


def _listed(file: Path) -> list[tuple[str, int, int]]:
    """Return the ranges in ``file`` (subuid(5)); lines that say nothing are skipped, as newuidmap does."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    parts = [line.strip().split(":") for line in lines]
    return [
        (part[0], int(part[1]), int(part[2]))
        for part in parts
        if len(part) == 3 and part[1].isdecimal() and part[2].isdecimal()
    ]


def _from_directory(kind: str, names: Sequence[str], etc: Path) -> list[tuple[int, int]]:
    """Return the ranges that a directory service knows (nsswitch.conf, ``subid:``), asked by shadow's own program."""
    try:
        services = (etc / "nsswitch.conf").read_text(errors="replace").splitlines()
    except OSError:
        return []
    if not any(line.split("#")[0].strip().startswith("subid:") for line in services):
        return []
    try:
        told = run(["getsubids", *(["-g"] if kind == "gid" else []), names[-1]], timeout=30)
    except ReproError:  # no such program, or nothing known of this user
        return []
    words = [line.split() for line in told.decode(errors="replace").splitlines()]  # "0: alice 100000 65536"
    return [(int(word[2]), int(word[3])) for word in words if len(word) == 4 and (word[2] + word[3]).isdecimal()]


def _user(uid: int) -> tuple[tuple[str, ...], int]:
    """Return what may stand for ``uid`` in /etc/subuid, the best known last, and the user's own group."""
    import pwd  # noqa: PLC0415 - may ask the network for the name

    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        why = f"user ID {uid} has no name on this host, and newuidmap asks for it"
        raise HostError("the subordinate IDs cannot be had", why=why) from error
    return (str(uid), entry.pw_name), entry.pw_gid


def _request(name: str, etc: Path) -> str:
    """Return what the administrator has to do, with a range that is free on this host."""
    taken = [first + count for kind in _NAMES for _, first, count in _listed(etc / Path(_NAMES[kind]).name)]
    first = max([_FIRST_FREE, *taken])
    span = f"{first}-{first + NEEDED - 1}"
    return f"ask the administrator for: usermod --add-subuids {span} --add-subgids {span} {name}"


def mapper(kind: str) -> str:
    """Return the path of newuidmap or newgidmap; HostError when it is missing or may not do what it is for."""
    name = f"new{kind}map"
    path = shutil.which(name)
    if path is None:
        raise HostError(
            f"{name} is not installed",
            hint="ask the administrator for the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora, RHEL)",
        )
    status = os.stat(path)
    if not (status.st_mode & 0o4000 and status.st_uid == 0) and not _has_capabilities(path):
        raise HostError(
            f"{path} may not map IDs",
            why="it is neither set-user-ID root nor has file capabilities",
            hint=f"ask the administrator for: chmod u+s {path}",
        )
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        raise HostError(
            f"{path} may not map IDs",
            why="its file system is mounted with nosuid",
            hint="install it on a file system without nosuid",
        )
    return path


def _has_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
