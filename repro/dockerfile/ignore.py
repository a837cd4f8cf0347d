"""Which files of a context `.dockerignore` leaves out, as BuildKit's pattern matcher decides it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.dockerfile.globs import GlobError, path_regex
from repro.errors import DockerfileError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of the file: ``text`` cleaned, ``keeps`` for a line that begins with ``!``."""

    text: str
    keeps: bool
    regex: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The lines of a `.dockerignore`, in order; the last that matches a path or one of its parents decides."""

    patterns: tuple[Pattern, ...] = ()
    # Which patterns match a folder or one above it: asked again for each file in it.
    _folders: dict[str, tuple[bool, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def ignores(self, path: str) -> bool:
        """Say whether the file or folder ``path`` (relative to the context, ``/`` between names) is left out."""
        above = self._matching(path.rpartition("/")[0])
        ignored = False
        for pattern, inherited in zip(self.patterns, above, strict=True):
            # Only a line that would change the answer needs a look (moby/patternmatcher does the same).
            if pattern.keeps == ignored and (inherited or pattern.regex.fullmatch(path)):
                ignored = not pattern.keeps
        return ignored

    def may_keep_below(self, folder: str) -> bool:
        """Say whether a ``!`` line could bring back something below the ignored ``folder``."""
        wanted = folder.split("/")
        for pattern, matches in zip(self.patterns, self._matching(folder), strict=True):
            if not pattern.keeps:
                continue
            parts = pattern.text.split("/")
            for mine, theirs in zip(wanted, parts, strict=False):
                if mine != theirs and any(sign in theirs for sign in "*?[\\"):
                    return True  # a wildcard: look, rather than work out what it could mean
                if mine != theirs:
                    break
            else:
                if len(parts) > len(wanted) or matches:
                    return True
        return False

    def _matching(self, folder: str) -> tuple[bool, ...]:
        """Return for each pattern whether it matches ``folder`` or one above it; nothing matches the top."""
        known = self._folders.get(folder)
        if known is not None:
            return known
        matching = (False,) * len(self.patterns)
        for place in _from_the_top(folder):
            known = self._folders.get(place)
            if known is None:
                pairs = zip(self.patterns, matching, strict=True)
                known = tuple(above or pattern.regex.fullmatch(place) is not None for pattern, above in pairs)
                self._folders[place] = known
            matching = known
        return matching


def parse_ignore(text: str, file: str = ".dockerignore") -> IgnoreRules:
    """Return the rules that ``text`` spells; DockerfileError with file and line for a pattern that is none."""
    patterns: list[Pattern] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.startswith("#"):
            continue
        body = line.strip()
        keeps = body.startswith("!")
        if keeps:
            body = body[1:].strip()
        elif not body:
            continue
        cleaned = _cleaned(body)
        if keeps and cleaned in ("", "/"):
            where = Location(file, number)
            raise DockerfileError("'!' alone keeps nothing", where=where, hint="name a path after it")
        try:
            regex = re.compile(path_regex(cleaned))
        except GlobError as error:
            where = Location(file, number, line.index(body) + 1)
            hint = "a backslash makes the next character literal"
            raise DockerfileError(f"not a pattern: {body!r}", where=where, why=str(error), hint=hint) from error
        patterns.append(Pattern(cleaned, keeps, regex))
    return IgnoreRules(tuple(patterns))


def _cleaned(body: str) -> str:
    """Return a pattern as BuildKit tidies it: twice, for blanks may be left before a slash that went."""
    relative = posixpath.normpath(body) if body else ""
    relative = (relative.lstrip("/") or relative[:1]).strip()
    return posixpath.normpath(relative) if relative else ""


def _from_the_top(path: str) -> Iterator[str]:
    """Yield the folders above ``path``, the topmost first, and ``path``; nothing for the empty path."""
    at = -1
    while path and (at := path.find("/", at + 1)) >= 0:
        yield path[:at]
    if path:
        yield path
