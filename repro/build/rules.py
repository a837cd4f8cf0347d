"""What is dropped from the layer of a RUN instruction, as data: files that differ between two equal builds.

A rule may name only what no later instruction can need: logs, and caches that are made again when they are
missing. Never apt's lists. `RULES_VERSION` is part of every RUN's cache key: raise it with each change here, and with
each in `repro.build.times`.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from repro.build.times import clamp_inner_times
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES_VERSION = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """``pattern`` is a path below the root; ``*`` stands for part of one name. ``reason`` is for people.

    A slash at its end: a folder, of which all files go, and the folders that are empty then.
    """

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
    Rule("root/.cache/pip/http/", "pip's cache of answers, with their dates; pip asks again"),
    Rule("root/.cache/pip/http-v2/", "pip's cache of answers, with their dates; pip asks again"),
    Rule("root/.cache/pip/selfcheck/", "when pip last looked for a newer pip; it looks again"),
    Rule("root/.wget-hsts", "when wget met a site that asks for HTTPS; wget notes it again"),
    Rule("root/.gnupg/random_seed", "GnuPG's pool of random bytes; GnuPG fills it again"),
)


def normalise(upper: Path, epoch: int, rules: tuple[Rule, ...] = RULES) -> tuple[str, ...]:
    """Remove from the layer folder ``upper`` what ``rules`` name, and clamp the times inside files to ``epoch``.

    Only what the layer itself holds goes, so that a lower layer's file of that name shows again; a whiteout stays a
    whiteout, a link a link, and none is followed.

    Returns:
        the removed paths, sorted.
    """
    removed: list[str] = []
    for rule in rules:
        names = rule.pattern.removesuffix("/").split("/")
        for path, status in _matches(upper, "", names):
            if rule.pattern.endswith("/") and stat.S_ISDIR(status.st_mode):
                removed += _empty(upper, path)
            elif not rule.pattern.endswith("/") and stat.S_ISREG(status.st_mode):
                os.unlink(upper / path)
                removed.append(path)
    clamp_inner_times(upper, epoch)
    return tuple(sorted(removed))


def _matches(upper: Path, folder: str, names: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Find what lies below ``folder`` and the pattern's remaining ``names`` describe."""
    name, *rest = names
    if "*" in name:
        regex = re.compile(".*".join(re.escape(part) for part in name.split("*")))
        found = sorted(entry for entry in os.listdir(upper / folder) if regex.fullmatch(entry))
    else:
        found = [name]
    for entry in found:
        path = f"{folder}/{entry}" if folder else entry
        try:
            status = os.lstat(upper / path)
        except FileNotFoundError:
            continue
        if not rest:
            yield path, status
        elif stat.S_ISDIR(status.st_mode):
            yield from _matches(upper, path, rest)


def _empty(upper: Path, folder: str) -> list[str]:
    """Remove the regular files below ``folder``, then every folder that nothing is left in; return the files."""
    removed = []
    for place, _, names in os.walk(upper / folder, topdown=False):
        for name in names:
            path = os.path.join(place, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.unlink(path)
                removed.append(os.path.relpath(path, upper))
        with contextlib.suppress(OSError):  # something is left in it: a whiteout, a link
            os.rmdir(place)
    return removed
