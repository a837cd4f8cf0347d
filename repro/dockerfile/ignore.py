"""Which files of a context `.dockerignore` leaves out, as BuildKit's pattern matcher decides it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    def ignores(self, path: str) -> bool:
        """Say whether the file or folder ``path`` (relative to the context, ``/`` between names) is left out."""
        ignored = False
        for pattern in self.patterns:
            # Only a line that would change the answer needs a look (moby/patternmatcher does the same).
            if pattern.keeps == ignored and any(pattern.regex.fullmatch(part) for part in _self_and_parents(path)):
                ignored = not pattern.keeps
        return ignored

    def may_keep_below(self, folder: str) -> bool:
        """Say whether a ``!`` line could bring back something below the ignored ``folder``."""
        wanted = folder.split("/")
        for pattern in self.patterns:
            if not pattern.keeps:
                continue
            parts = pattern.text.split("/")
            for mine, theirs in zip(wanted, parts, strict=False):
                if theirs == "**" or (mine != theirs and any(sign in theirs for sign in "*?[\\")):
                    return True  # a wildcard: look, rather than work out what it could mean
                if mine != theirs:
                    break
            else:
                if len(parts) > len(wanted) or any(pattern.regex.fullmatch(p) for p in _self_and_parents(folder)):
                    return True
        return False


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
            if not body:
                raise DockerfileError(
                    "'!' alone keeps nothing", where=Location(file, number), hint="name a path after it"
                )
        if not body:
            continue
        cleaned = posixpath.normpath(body)
        if len(cleaned) > 1:
            cleaned = cleaned.lstrip("/")
        try:
            regex = re.compile(_regex(cleaned), re.DOTALL)
        except re.error as error:
            raise DockerfileError(f"not a pattern: {body!r}", where=Location(file, number), why=str(error)) from error
        patterns.append(Pattern(cleaned, keeps, regex))
    return IgnoreRules(tuple(patterns))


def name_regex(pattern: str) -> str:
    """Return the regular expression of a pattern for one name, as COPY's sources use it."""
    return _regex(re.sub(r"(?<!\\)\*{2,}", "*", pattern))


def _self_and_parents(path: str) -> Iterator[str]:
    yield path
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _regex(pattern: str) -> str:
    """Return the regular expression of a cleaned pattern; ``**`` spans folders, ``*`` and ``?`` do not."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            if not pattern.startswith("*", at):
                out.append("[^/]*")
                continue
            at += 1
            if pattern.startswith("/", at):
                at += 1
            # `**/` is "any folders, or none"; at the end it is "anything"
            out.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\":
            out.append(re.escape(pattern[at : at + 1] or "\\"))
            at += 1
        elif character == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise re.error("a '[' is not closed")
            out.append(_class(pattern[at:end]))
            at = end + 1
        else:
            out.append(re.escape(character))
    return "".join(out)


def _class(body: str) -> str:
    """Return a character class; only ``^`` negates (Go's filepath.Match), a range stays a range."""
    negated = body.startswith("^")
    safe = re.sub(r"([\[&~|])", r"\\\1", body[1:] if negated else body)
    return f"(?!/)[{'^' if negated else ''}{safe}]"
