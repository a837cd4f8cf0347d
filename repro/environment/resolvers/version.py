"""Debian versions, ordered as dpkg orders them (deb-version(7))."""

from __future__ import annotations

import re
from itertools import zip_longest

_PIECES = re.compile(r"([^0-9]*)([0-9]*)")


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 as ``left`` is older than, the same as or newer than ``right``."""
    left_epoch, left_upstream, left_revision = _split(left)
    right_epoch, right_upstream, right_revision = _split(right)
    if left_epoch != right_epoch:
        return 1 if left_epoch > right_epoch else -1
    return _compare_part(left_upstream, right_upstream) or _compare_part(left_revision, right_revision)


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Return whether ``version`` stands in ``relation`` (deb-control: ``<< <= = >= >>``) to ``wanted``."""
    order = compare(version, wanted)
    match relation:
        case "=":
            return order == 0
        case "<<":
            return order < 0
        case "<=" | "<":  # the one-character forms are obsolete, and mean "or equal" (Debian Policy 7.1)
            return order <= 0
        case ">=" | ">":
            return order >= 0
        case ">>":
            return order > 0
        case _:
            raise ValueError(f"not a relation between versions: {relation!r}")


def _split(version: str) -> tuple[int, str, str]:
    """Return epoch, upstream version and revision; a missing epoch or revision counts as 0."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch), (upstream if dash else rest), (revision if dash else "0")


def _compare_part(left: str, right: str) -> int:
    """Compare two upstream versions or revisions: texts and numbers in turn, from the left."""
    for (left_text, left_digits), (right_text, right_digits) in zip_longest(
        _PIECES.findall(left), _PIECES.findall(right), fillvalue=("", "")
    ):
        for one, other in zip_longest(left_text, right_text, fillvalue=""):
            if _weight(one) != _weight(other):
                return 1 if _weight(one) > _weight(other) else -1
        one_number, other_number = int(left_digits or "0"), int(right_digits or "0")
        if one_number != other_number:
            return 1 if one_number > other_number else -1
    return 0


def _weight(character: str) -> int:
    """Return where a character sorts: ``~`` before the end of the text, then letters, then all else."""
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isalpha() else ord(character) + 256
