"""Mending of lines that YAML reads otherwise than a person: plain ``{{``, and ``#`` in a one-line command."""

from __future__ import annotations

import re
from typing import NamedTuple

_BREAKERS = ",[]{}"
_COMMENT = re.compile(r"[ \t]+#.*")


class _Token(NamedTuple):
    start: int
    end: int
    placeholder: bool
    flow: bool


def quoted(text: str) -> str:
    """Return ``text`` as a YAML quoted scalar, in double quotes where nothing in it needs an escape there."""
    if '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'


def repaired_line(line: str, *, in_flow: bool) -> str | None:
    """Return ``line`` with each plain scalar quoted whose ``{{`` YAML would misread; None where there is none.

    ``in_flow`` says that the line begins inside brackets opened on an earlier one.
    """
    mended = line
    for token in reversed(_tokens(line, in_flow=in_flow)):
        text = line[token.start : token.end]
        if token.placeholder and (token.flow or text.startswith("{{")):
            mended = mended[: token.start] + quoted(text) + mended[token.end :]
    return mended if mended != line else None


def uncommented_line(line: str, start: int, end: int) -> str | None:
    """Return ``line`` with the plain scalar at ``start`` and the comment that cuts it quoted as one.

    ``start`` and ``end`` are offsets in the line; None where no comment follows.
    """
    if _COMMENT.fullmatch(line, end) is None:
        return None
    return line[:start] + quoted(line[start:].rstrip())


def _tokens(line: str, *, in_flow: bool) -> list[_Token]:
    """Return the scalars of a line, as a person reads them: ``{{ … }}`` is one thing wherever it stands."""
    tokens: list[_Token] = []
    depth = 1 if in_flow else 0
    start: int | None = None
    placeholder = False
    position = 0

    def close(end: int) -> None:
        nonlocal start, placeholder
        if start is not None:
            stop = start + len(line[start:end].rstrip())
            tokens.append(_Token(start, stop, placeholder, depth > 0))
        start, placeholder = None, False

    while position < len(line):
        char = line[position]
        if line.startswith("{{", position) and (end := line.find("}}", position)) >= 0:
            start = position if start is None else start
            placeholder = True
            position = end + 2
            continue
        if start is None and char in "\"'":
            position = _after_quotes(line, position)
            continue
        if char == "#" and (position == 0 or line[position - 1] in " \t"):
            break
        if char == ":" and (
            position + 1 == len(line) or line[position + 1] in " \t" or (depth and line[position + 1] in _BREAKERS)
        ):
            close(position)
        elif start is None and char in "-?" and line[position + 1 : position + 2] in ("", " "):
            pass
        elif (char in "[{" and (start is None or depth)) or (depth and char in ",]}"):
            close(position)
            depth = depth + 1 if char in "[{" else max(0, depth - 1) if char in "]}" else depth
        elif start is None and char not in " \t":
            start = position
        position += 1
    close(position)
    return tokens


def _after_quotes(line: str, position: int) -> int:
    quote = line[position]
    position += 1
    while position < len(line):
        if quote == '"' and line[position] == "\\":
            position += 2
            continue
        if line[position] == quote:
            return position + 1  # '' inside single quotes reads as two quoted strings, which ends at the same place
        position += 1
    return position
