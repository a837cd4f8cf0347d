"""YAML with positions: text to a tree whose scalars keep their spelling, with every structural mistake located."""

from __future__ import annotations

import bisect
import re
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass
from repro.errors import Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BREAKS = re.compile("[\n\x85\u2028\u2029]")  # as libyaml counts lines
_TAB = "\t"
# keys of signed and token-bearing URLs of S3, Google, Azure and data repositories: who has one needs no other login
SIGNED = (
    r"(?:x-(?:amz|goog)-[a-z-]+|sig|key|auth|jwt|pwd|hmac|session"
    r"|[\w.-]*(?:token|api[_-]?key|access[_-]?key|secret|signature|passw(?:or)?d|credentials?|session[_-]?id))="
)
# what comes before an "@": a login, also one whose password has a slash in it; or the value of such a key
_LOGIN = re.compile(
    r"(?P<before>\w:/+)(?:[^/@\s]+|[^/@\s:]+:(?!\d+/)\S+)(?=@)"
    rf"|(?P<key>[?&]{SIGNED})[^&\s\"']+",
    re.IGNORECASE,
)


class Style(Enum):
    """How a scalar was written; only ``PLAIN`` ones are typed."""

    PLAIN = "plain"
    QUOTED = "quoted"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text; ``end`` is the offset in the source just after it."""

    text: str
    style: Style
    where: Location
    end: int


@dataclass(frozen=True, slots=True)
class ListNode:
    """A YAML sequence."""

    items: tuple[Node, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """A YAML mapping: merge keys resolved, no key twice, in the order of the file."""

    entries: tuple[Entry, ...]
    where: Location

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)


Node: TypeAlias = Scalar | ListNode | MapNode


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its name, from which places and excerpts are taken. Offsets are characters.

    ``written`` holds, by number, the lines that were mended to be read at all, as the user wrote them: messages
    show these.
    """

    file: str
    text: str
    written: Mapping[int, str] = field(default_factory=dict)
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = (0, *(match.end() for match in _BREAKS.finditer(self.text)))
        object.__setattr__(self, "_starts", starts)

    @classmethod
    def read(cls, text: str, file: str) -> Source:
        """Return the source with a byte order mark dropped and line ends as YAML reads them: one newline each."""
        return cls(file, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its end; empty beyond the last."""
        if number > len(self._starts):
            return ""
        start = self._starts[number - 1]
        end = _BREAKS.search(self.text, start)
        return self.text[start : end.start() if end else len(self.text)]

    def offset(self, where: Location) -> int:
        """Return the offset of a place in this text."""
        return self._starts[min(where.line, len(self._starts)) - 1] + where.column - 1

    def location(self, offset: int) -> Location:
        """Return the place of an offset."""
        line = bisect.bisect_right(self._starts, offset)
        return Location(self.file, line, offset - self._starts[line - 1] + 1)

    def placeholder(self, where: Location, index: int) -> Location:
        """Return the place of the ``{{`` number ``index`` (from 0) of the scalar that starts at ``where``."""
        offset = self.offset(where)
        for _ in range(index):
            found = self.text.find("{{", offset)
            offset = found + 2 if found >= 0 else offset
        found = self.text.find("{{", offset)
        return self.location(found) if found >= 0 else where

    def problem(self, where: Location, path: str, message: str, hint: str = "") -> Problem:
        """Return a located mistake with the line it stands in.

        A tab is one blank, so that the caret points right; a login in an address is stars, for logs are read by many.
        """
        line = self.line(where.line)
        if (written := self.written.get(where.line)) is not None:
            where = Location(where.file, where.line, _column(written, line, where.column))
            line = written
        shown, message, hint = (_LOGIN.sub(_stars, said) for said in (line.replace(_TAB, " "), message, hint))
        return Problem(where, path, message, shown, hint)

    def with_line(self, number: int, text: str) -> Source:
        """Return the source with line ``number`` replaced."""
        start = self._starts[number - 1]
        line = self.line(number)
        changed = self.text[:start] + text + self.text[start + len(line) :]
        return Source(self.file, changed, {number: line, **self.written})


def _stars(login: re.Match[str]) -> str:
    kept = login["before"] or login["key"]
    return kept + "*" * (len(login[0]) - len(kept))


def _column(written: str, mended: str, column: int) -> int:
    """Return the column in ``written`` of a column in ``mended``, which is the same line with quotes put in."""
    position = 0
    for char in mended[: column - 1]:
        if position < len(written) and char == written[position]:
            position += 1
    return position + 1
