"""Globs in addresses: which folder they choose from, and which of its files."""

from __future__ import annotations

import fnmatch
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPECIAL = re.compile(r"[*?[]")
_ANY = "**"


def split_glob(path: str) -> tuple[str, str]:
    """Return the folder that a glob chooses from, with a slash at its end, and the pattern below it.

    ``/reads/*/a?.fq`` is ``/reads/`` and ``*/a?.fq``. The pattern is empty where ``path`` is none.
    """
    special = _SPECIAL.search(path)
    if special is None:
        return path, ""
    end = path.rfind("/", 0, special.start()) + 1
    return path[:end], path[end:]


def matches(pattern: str, name: str) -> bool:
    """Return whether the file ``name``, relative to the pattern's folder, is one that ``pattern`` chooses.

    ``*``, ``?`` and ``[...]`` stay in a folder, ``**`` spans any number of them, none among them. Names that begin with
    a dot are matched only by a pattern that says the dot, as in the project (`repro.workflow.project`).
    """
    wanted = tuple(pattern.split("/"))
    if wanted[-1] == _ANY:
        wanted = (*wanted, "*")
    reached = {0}  # how many parts of the pattern the parts of the name so far can have used up
    for part in name.split("/"):
        following = set()
        for index in _without_folders(wanted, reached):
            if index == len(wanted):
                continue
            if wanted[index] == _ANY:
                if not part.startswith("."):
                    following.add(index)
            elif _fits(wanted[index], part):
                following.add(index + 1)
        reached = following
    return len(wanted) in reached


def _without_folders(wanted: Sequence[str], reached: set[int]) -> set[int]:
    """Return where else one is where each ``**`` may span no folder at all."""
    found = set(reached)
    for start in reached:
        index = start
        while index < len(wanted) and wanted[index] == _ANY:
            index += 1
            found.add(index)
    return found


def _fits(pattern: str, part: str) -> bool:
    if part.startswith(".") and not pattern.startswith("."):
        return False
    return _compiled(pattern).match(part) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))
