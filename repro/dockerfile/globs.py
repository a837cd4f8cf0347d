"""Patterns for paths as regular expressions, in the way of moby's `patternmatcher` and Go's ``filepath.Match``.

``*`` and ``?`` stay in one name, ``**`` spans folders, ``[…]`` is a class that only ``^`` negates, and a backslash
makes the next character literal.

A regular expression that may try each ``*`` at each length takes exponential time on a hostile pattern. All but the
last ``*`` of a name can be settled for good at the first place where what follows it matches, and so can all but
the last ``**`` of a path: atomic groups say so.
"""

from __future__ import annotations

import re
from enum import Enum

from repro.dataclass import dataclass


class Sign(Enum):
    """What a token of a pattern stands for."""

    TEXT = "a literal character"
    ANY = "?, or a class of characters that can be in a name"
    STAR = "*"
    CLASS = "a class of characters with the slash among them"
    FOLDERS = "**/"
    REST = "** at the end"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a pattern and the regular expression of what it matches."""

    sign: Sign
    regex: str


_MOST_LOOSE = 3  # each multiplies the time of a match by the depth of the path


class GlobError(ValueError):
    """A text is no pattern."""


def path_regex(pattern: str) -> str:
    """Return the regular expression of a cleaned path pattern of a `.dockerignore`, for ``re.fullmatch``.

    Raises:
        GlobError: a class is not closed, is empty or runs backwards, a backslash ends the pattern, or there are
            more ``**`` inside names than can be matched in sensible time.
    """
    tokens = _tokens(pattern)
    signs = [token.sign for token in tokens]
    if all(sign is Sign.TEXT for sign in signs[:-1]) and signs[-1:] == [Sign.REST]:
        return f"{_joined(tokens[:-1])}(?s:.*)"
    if signs[:1] == [Sign.FOLDERS] and all(sign is Sign.TEXT for sign in signs[1:]):
        # moby compares the end of the path only: `**x` matches `ax` too, while `**/x` wants a whole name.
        whole_name = pattern.startswith("**/") or any(sign in pattern[2:] for sign in "*\\")
        return ("(?s:.*/)?" if whole_name else "(?s:.*)") + _joined(tokens[1:])
    return _assemble(tokens)


def name_regex(pattern: str) -> str:
    """Return the regular expression of a pattern for one name, where ``**`` is no more than ``*`` (COPY's sources).

    Raises:
        GlobError: as `path_regex`.
    """
    return _names(_tokens(pattern, one_name=True))


def _tokens(pattern: str, *, one_name: bool = False) -> list[Token]:
    out: list[Token] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and one_name:
            if not out or out[-1].sign is not Sign.STAR:
                out.append(Token(Sign.STAR, "[^/]*"))
        elif character == "*" and pattern.startswith("*", at):
            at += 2 if pattern.startswith("*/", at) else 1
            if at == len(pattern):
                out.append(Token(Sign.REST, ".*"))
            elif not out or out[-1].sign is not Sign.FOLDERS:
                out.append(Token(Sign.FOLDERS, "(?:.*/)?"))
        elif character == "*":
            out.append(Token(Sign.STAR, "[^/]*"))
        elif character == "?":
            out.append(Token(Sign.ANY, "[^/]"))
        elif character == "[":
            regex, at = _class(pattern, at)
            out.append(Token(Sign.CLASS if re.fullmatch(regex, "/") else Sign.ANY, regex))
        elif character == "\\":
            if at == len(pattern):
                raise GlobError("a backslash at the end")
            out.append(Token(Sign.TEXT, re.escape(pattern[at])))
            at += 1
        else:
            out.append(Token(Sign.TEXT, re.escape(character)))
    return out


def _class(pattern: str, at: int) -> tuple[str, int]:
    """Read a class from behind its ``[``; return its regular expression and where the pattern goes on."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not ranges or not pattern.startswith("]", at):
        low, at = _class_character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, at + 1)
        if low > high:
            raise GlobError(f"the range {low}-{high} runs backwards")
        ranges.append(f"\\U{ord(low):08x}-\\U{ord(high):08x}")
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", at)
    at += escaped
    if at >= len(pattern):
        raise GlobError("a '[' is not closed")
    if not escaped and pattern[at] in "-]":
        raise GlobError(f"{pattern[at]!r} in a class needs a backslash")
    return pattern[at], at + 1


def _assemble(tokens: list[Token]) -> str:
    """Return the expression of a whole path: blocks between ``**``, all but the last of them settled for good."""
    cuts = [index for index, token in enumerate(tokens) if token.sign is Sign.FOLDERS]
    if not cuts:
        return _names(tokens)
    out = [_names(tokens[: cuts[0]])]
    loose = 0
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        block = tokens[cut + 1 : following]
        # What follows a folder's end can begin at any later folder too: so the first match of this block is enough.
        settled = following is not None and block[-1:] == [Token(Sign.TEXT, "/")]
        settled = settled and all(token.sign is not Sign.CLASS for token in block)
        loose += not settled
        out.append(f"(?>(?:.*?/)??{_names(block)})" if settled else f"(?:.*/)?{_names(block)}")
    if loose > _MOST_LOOSE:
        raise GlobError("too many ** that do not stand for whole folders")
    return "".join(out)


def _names(tokens: list[Token]) -> str:
    """Return the expression of names and slashes: in each name all ``*`` but the last settled for good."""
    out: list[str] = []
    at = 0
    while at < len(tokens):
        if tokens[at].sign is Sign.STAR:
            end = at + 1
            while end < len(tokens) and tokens[end].sign in (Sign.TEXT, Sign.ANY) and tokens[end].regex != "/":
                end += 1
            if end < len(tokens) and tokens[end].sign is Sign.STAR:
                out.append(f"(?>[^/]*?{_joined(tokens[at + 1 : end])})")
                at = end
                continue
        out.append(tokens[at].regex)
        at += 1
    return "".join(out)


def _joined(tokens: list[Token]) -> str:
    return "".join(token.regex for token in tokens)
