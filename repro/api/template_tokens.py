"""The text of a template in pieces: plain texts, and actions cut into tokens, each with its place."""

from __future__ import annotations

import re
from typing import Final

from repro.dataclass import dataclass
from repro.errors import Location, UsageError

_LONGEST: Final = 300  # words of an action
_ACTION: Final = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_COMMENT: Final = re.compile(r"\{\{(-\s)?(/\*.*?\*/)(\s-)?\}\}", re.DOTALL)
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_TOKEN: Final = re.compile(
    r"""(?P<blank>\s+)
      | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
      | (?P<variable>\$[A-Za-z0-9_]*)
      | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>:=|[.|(),=])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word of an action; ``kind`` is the name of a group of `_TOKEN`."""

    kind: str
    text: str
    at: Location


@dataclass(frozen=True, slots=True)
class Action:
    """What stands between two braces, without the blanks around it."""

    tokens: tuple[Token, ...]
    at: Location


def pieces_of(text: str) -> list[str | Action]:
    """Return plain texts and actions in turn; comments are gone and blanks are trimmed where the marks say so."""
    pieces: list[str | Action] = []
    start, trim = 0, False
    while True:
        opening = text.find("{{", start)
        plain = text[start:] if opening < 0 else text[start:opening]
        if trim:
            plain = plain.lstrip()
        if opening < 0:
            pieces.append(plain)
            return pieces
        match = _COMMENT.match(text, opening) or _match_action(text, opening)
        if match is None:
            raise UsageError("{{ without }}", where=_location(text, opening), hint="close it with }}")
        pieces.append(plain.rstrip() if match[1] else plain)
        if not match[2].startswith("/*"):
            pieces.append(Action(tuple(_tokens(text, match.start(2), match.end(2))), _location(text, opening)))
        start, trim = match.end(), match[3] is not None


def _match_action(text: str, start: int) -> re.Match[str] | None:
    """Return the action that begins at ``start``; the ``}}`` in a text between quotes does not end it."""
    match = _ACTION.match(text, start)
    while match is not None and _open_quote(match[2]):
        end = text.find("}}", match.end())
        if end < 0:
            return match
        match = _ACTION.fullmatch(text, start, end + 2)
    return match


def _open_quote(inner: str) -> bool:
    return re.fullmatch(r'(?:[^"`]|"(?:[^"\\\n]|\\.)*"|`[^`]*`)*', inner, re.DOTALL) is None


def _tokens(text: str, start: int, end: int) -> list[Token]:
    found = []
    while start < end:
        match = _TOKEN.match(text, start, end)
        at = _location(text, start)
        if match is None:
            raise UsageError(f"not understood: {text[start:end].strip()[:40]!r}", where=at)
        if match.lastgroup != "blank":
            found.append(Token(str(match.lastgroup), match[0], at))
        else:
            found.append(Token("blank", " ", at))
        start = match.end()
        if len(found) > _LONGEST:
            raise UsageError(f"more than {_LONGEST} words between two braces", where=at)
    while found and found[0].kind == "blank":
        del found[0]
    while found and found[-1].kind == "blank":
        del found[-1]
    return found


def escaped(match: re.Match[str]) -> str:
    """Return the character that a backslash and ``match[1]`` mean."""
    return ESCAPES[match[1]]


def _location(text: str, offset: int) -> Location:
    line = text.count("\n", 0, offset)
    return Location("--format", line + 1, offset - text.rfind("\n", 0, offset))
