"""User and group names, looked up in the image's own /etc/passwd and /etc/group (passwd(5), group(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import BuildError

if TYPE_CHECKING:
    from repro.errors import Location
    from repro.oci.view import View

_LARGEST_ID = (1 << 32) - 2  # the largest is "no change" to chown(2)
_DIGITS = 20  # with zeros in front


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is: ids, supplementary groups, and the home folder that passwd says."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def identify(text: str, view: View, where: Location) -> Identity:
    """Return who ``name``, ``uid``, ``name:group`` or ``uid:gid`` is in the image; no text is root.

    A number needs no entry. BuildError for a name that the image does not have.
    """
    user, colon, group = (text or "0").partition(":")
    entry = _find(view, "/etc/passwd", user, where, kind="user")
    if entry is None:
        uid, gid, home = _number(user, where), 0, "/"
    else:
        uid, gid = int(entry[2]), int(entry[3])
        home = entry[5] if len(entry) > 5 else "/"
    if uid == 0 and entry is None:
        home = "/root"
    if colon and group:
        found = _find(view, "/etc/group", group, where, kind="group")
        return Identity(uid, _number(group, where) if found is None else int(found[2]), (), home)
    name = entry[0] if entry is not None else ""
    groups = tuple(
        sorted(
            {
                int(line[2])
                for line in _lines(view, "/etc/group")
                if name and len(line) > 3 and name in line[3].split(",")
            }
            - {gid}
        )
    )
    return Identity(uid, gid, groups, home)


def owner(text: str, view: View, where: Location) -> tuple[int, int]:
    """Return the uid and gid that ``--chown=text`` means, as BuildKit reads it.

    A number alone is user and group at once; a name alone brings its group from passwd; ``:group`` is root's user;
    ``user:`` is group 0.
    """
    user, colon, group = text.partition(":")
    if not user and not group:
        raise BuildError(f"--chown={text} names nobody", where=where, hint="write user, user:group or numbers")
    entry = _find(view, "/etc/passwd", user, where, kind="user") if user and not user.isdigit() else None
    uid = _number(user or "0", where) if entry is None else int(entry[2])
    if not colon:
        return uid, uid if entry is None else int(entry[3])
    found = _find(view, "/etc/group", group, where, kind="group") if group and not group.isdigit() else None
    return uid, _number(group or "0", where) if found is None else int(found[2])


def _number(text: str, where: Location) -> int:
    if not _is_id(text):
        raise BuildError(f"not a user or group: {text!r}", where=where, hint="a name that the image has, or a number")
    return int(text)


def _is_id(text: str) -> bool:
    """Whether ``text`` is a number that a user or group can have; an image's file may hold anything."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= _LARGEST_ID


def _find(view: View, file: str, text: str, where: Location, *, kind: str) -> list[str] | None:
    """Return the entry whose name or number is ``text``; None for a number without one."""
    entries = _lines(view, file)
    for entry in entries:
        if entry[0] == text:
            return entry
    if text.isascii() and text.isdigit():
        return next((entry for entry in entries if entry[2] == text), None)
    names = ", ".join(entry[0] for entry in entries[:8])
    raise BuildError(
        f"the image has no {kind} {text!r}",
        where=where,
        why=f"{file} has {names}…" if entries else f"{file} is missing or empty",
        hint=f"use a number, or add the {kind} in an earlier RUN",
    )


def _lines(view: View, file: str) -> list[list[str]]:
    """Return the well-formed entries of a passwd or group file, split at colons; none if the file is missing."""
    if view.entry(view.resolve(file)) is None:
        return []
    text = view.read(view.resolve(file)).decode(errors="replace")
    entries = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return [entry for entry in entries if len(entry) > 2 and all(map(_is_id, _ids(file, entry)))]


def _ids(file: str, entry: list[str]) -> list[str]:
    return entry[2:3] if file.endswith("group") else (entry[2:4] if len(entry) > 3 else ["missing"])
