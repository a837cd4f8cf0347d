"""--chmod: octal, or symbolic as chmod(1) has it, applied to each file's own mode (Dockerfile reference, "--chmod")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from repro.errors import Location

_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION: Final = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": 0o6777}
_PERMISSIONS: Final = {"r": 0o444, "w": 0o222, "x": 0o111}
_SHIFTS: Final = {"u": 6, "g": 3, "o": 0}
_EVERYONE: Final = 0o6777
_STICKY: Final = 0o1000
_UMASK: Final = 0o022  # a clause without `ugoa` leaves these bits alone, as chmod(1) in RUN does


@dataclass(frozen=True, slots=True)
class Change:
    """One action of a symbolic mode: on whose bits (0: everyone's, less the umask), ``+``, ``-`` or ``=``, which."""

    who: int
    action: str
    what: str


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What becomes of a mode: ``octal`` replaces it, else the changes are made one after another."""

    text: str
    octal: int | None
    changes: tuple[Change, ...] = ()

    def apply(self, mode: int, *, folder: bool) -> int:
        """Return the new mode (twelve bits) of a file or folder that has ``mode``."""
        if self.octal is not None:
            return self.octal
        executable = folder or bool(mode & 0o111)
        for change in self.changes:
            mode = _changed(mode, change, executable=executable)
        return mode


def parse_mode(text: str, where: Location) -> ModeChange:
    """Return what ``--chmod=text`` means; DockerfileError where it means nothing."""
    if re.fullmatch("[0-7]+", text) and int(text, 8) <= 0o7777:
        return ModeChange(text, int(text, 8))
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    changes: list[Change] = []
    for clause in clauses:
        if clause is None:
            raise DockerfileError(
                f"not a mode: --chmod={text}",
                where=where,
                hint="write it in octal up to 7777 (0755), or as for chmod (u=rwX,go=rX)",
            )
        who = 0
        for letter in clause[1]:
            who |= _WHO[letter]
        changes += [Change(who, action, what) for action, what in _ACTION.findall(clause[2])]
    return ModeChange(text, None, tuple(changes))


def _changed(mode: int, change: Change, *, executable: bool) -> int:
    if change.what in _SHIFTS:
        bits = (mode >> _SHIFTS[change.what] & 0o7) * 0o111
    else:
        bits = 0
        for letter in change.what:
            if letter == "X":
                bits |= 0o111 if executable else 0
            elif letter in _PERMISSIONS:
                bits |= _PERMISSIONS[letter]
            elif not change.who or change.who & ~_WHO["o"]:  # set-id and sticky mean nothing to others alone
                bits |= 0o6000 if letter == "s" else _STICKY
    bits &= (change.who | _STICKY) if change.who else ~_UMASK
    if change.action == "+":
        return mode | bits
    if change.action == "-":
        return mode & ~bits
    return mode & ~(change.who or _EVERYONE) | bits
