"""What is dropped from the layer of a RUN instruction, as data: files that differ between two equal builds.

A rule may name only what no later instruction can need: logs, and caches that are made again when they are
missing. Never apt's lists. `RULES_VERSION` is part of every RUN's cache key: raise it with each change here.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES_VERSION = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """``pattern`` is a path below the root; ``*`` stands for part of one name. ``reason`` is for people."""

    pattern: str
    reason: str


RULES = (
    Rule("var/cache/apt/pkgcache.bin", "apt's index cache: memory addresses and times; apt makes it again"),
    Rule("var/cache/apt/srcpkgcache.bin", "apt's index cache: memory addresses and times; apt makes it again"),
    Rule("var/log/apt/history.log", "apt's log: the time of each install"),
    Rule("var/log/apt/term.log", "apt's log: the time of each install"),
    Rule("var/log/apt/eipp.log.xz", "apt's log of its installation planner: the state at that moment"),
    Rule("var/log/dpkg.log", "dpkg's log: the time of each action"),
    Rule("var/log/alternatives.log", "update-alternatives' log: the time of each change"),
    Rule("var/lib/dpkg/status-old", "dpkg's backup of its status; dpkg makes it again"),
    Rule("var/cache/ldconfig/aux-cache", "ldconfig's cache: inode numbers and ctimes; ldconfig makes it again"),
)


def normalise(upper: Path, rules: tuple[Rule, ...] = RULES) -> tuple[str, ...]:
    """Remove from the layer folder ``upper`` what ``rules`` name; return the removed paths, sorted.

    Only regular files that the layer itself holds go, so that a lower layer's file of that name shows again; a
    whiteout stays a whiteout, and no link is followed.
    """
    removed: list[str] = []
    for rule in rules:
        for path in _matches(upper, "", rule.pattern.split("/")):
            os.unlink(upper / path)
            removed.append(path)
    return tuple(sorted(removed))


def _matches(upper: Path, folder: str, names: list[str]) -> Iterator[str]:
    """Find the regular files below ``folder`` that the pattern's remaining ``names`` describe."""
    name, *rest = names
    if "*" in name:
        regex = re.compile(".*".join(re.escape(part) for part in name.split("*")))
        found = sorted(entry for entry in os.listdir(upper / folder) if regex.fullmatch(entry))
    else:
        found = [name]
    for entry in found:
        path = f"{folder}/{entry}" if folder else entry
        try:
            mode = os.lstat(upper / path).st_mode
        except FileNotFoundError:
            continue
        if not rest and stat.S_ISREG(mode):
            yield path
        elif rest and stat.S_ISDIR(mode):
            yield from _matches(upper, path, rest)
