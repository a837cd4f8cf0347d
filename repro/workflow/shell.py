"""Where in a shell script a placeholder stands: values come out quoted, so quotes around them are mistakes."""

from __future__ import annotations

import re
from dataclasses import field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.expressions import readable
from repro.workflow.template import Placeholder, Template, TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEREDOC = re.compile(r"<<(-?)[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_WORD_START = " \t\n;&|()<>`"


class Place(Enum):
    """The shell's state at a placeholder."""

    CODE = "code"
    SINGLE = "single quotes"
    DOUBLE = "double quotes"
    HEREDOC = "a heredoc"
    COMMENT = "a comment"


@lru_cache(maxsize=4096)
def command_template(text: str) -> Template:
    """Return the template of a command; placeholders in comments are literal text.

    A newline in a value would end the comment and begin a command, so comments are left as they are written.
    """
    template = parse_template(text)
    places = placeholder_places(template)
    parts = tuple(
        text[part.start : part.end] if isinstance(part, Placeholder) and places[part.start] is Place.COMMENT else part
        for part in template.parts
    )
    return Template(text, parts)


def misplaced(template: Template) -> tuple[TemplateError, ...]:
    """Return a mistake for each placeholder inside quotes or a heredoc; ``| raw`` says that it is meant."""
    places = placeholder_places(template)
    found = []
    for placeholder in template.placeholders:
        place = places[placeholder.start]
        if place in (Place.SINGLE, Place.DOUBLE, Place.HEREDOC) and not placeholder.raw:
            message = f"{placeholder} stands inside {place.value}; values come out quoted already"
            found.append(TemplateError(message, index=placeholder.index, hint=_fix(template.text, placeholder, place)))
    return tuple(found)


def _fix(text: str, placeholder: Placeholder, place: Place) -> str:
    if not readable(placeholder):
        return f"write \\{text[placeholder.start : placeholder.end]} if two literal braces are meant"
    if place is Place.HEREDOC:
        return f"set a variable before the heredoc, value={placeholder}, and write $value in it"
    quote = "'" if place is Place.SINGLE else '"'
    if text[placeholder.start - 1 : placeholder.start] == quote == text[placeholder.end : placeholder.end + 1]:
        fix = f"leave the quotes out: {placeholder}"
    else:
        fix = (
            f"close the quotes before it and open them again after it: {quote}...{quote}{placeholder}{quote}...{quote}"
        )
    return f"{fix}; or write \\{{{{ if two literal braces are meant"


def placeholder_places(template: Template) -> Mapping[int, Place]:
    """Return, by the offset of each placeholder of a shell script, the state of the shell there."""
    if not any(isinstance(part, Placeholder) for part in template.parts):
        return {}
    return _Scanner(template.text, {part.start: part.end for part in template.placeholders}).scan()


@dataclass(slots=True)
class _Frame:
    """A nesting level: ``closer`` ends it; in ``double`` quotes, in ``arithmetic``, or in code."""

    closer: str
    double: bool = False
    arithmetic: bool = False
    depth: int = 0  # of plain parentheses in code


@dataclass(slots=True)
class _Scanner:
    """One pass over the script (POSIX shell, 2.2 Quoting, 2.7.4 Here-Document), skipping over the placeholders."""

    text: str
    spans: Mapping[int, int]
    places: dict[int, Place] = field(default_factory=dict)
    stack: list[_Frame] = field(default_factory=lambda: [_Frame("")])
    pending: list[tuple[str, bool]] = field(default_factory=list)  # heredocs that begin at the next newline

    def scan(self) -> Mapping[int, Place]:
        """Return the place of every placeholder."""
        position = 0
        while position < len(self.text):
            frame = self.stack[-1]
            if position in self.spans:
                self.places[position] = Place.DOUBLE if frame.double else Place.CODE
                position = self.spans[position]
            elif self.text[position] == "\\":
                position += 2
            elif frame.closer and self.text.startswith(frame.closer, position) and frame.depth == 0:
                self.stack.pop()
                position += len(frame.closer)
            elif self.text[position] in '$`"':
                position = self._open(position)
            elif frame.double:
                position += 1
            else:
                position = self._code(position, frame)
        return self.places

    def _open(self, position: int) -> int:
        """Enter what ``$(``, ``${``, a backquote or a double quote opens."""
        frame = self.stack[-1]
        for opener, inner in (
            ("$((", _Frame("))", arithmetic=True)),
            ("$(", _Frame(")")),
            ("${", _Frame("}", double=frame.double)),
            ("`", _Frame("`")),
            ('"', _Frame('"', double=True)),
        ):
            if self.text.startswith(opener, position):
                self.stack.append(inner)
                return position + len(opener)
        if self.text.startswith("$'", position) and not frame.double:
            return self._ansi(position + 2)
        return position + 2 if self.text.startswith("$#", position) else position + 1

    def _code(self, position: int, frame: _Frame) -> int:
        """Step over one piece of unquoted shell."""
        char = self.text[position]
        if char == "'":
            end = self.text.find("'", position + 1)
            return self._mark(position, len(self.text) if end < 0 else end + 1, Place.SINGLE)
        if char == "#" and frame.closer != "}" and (position == 0 or self.text[position - 1] in _WORD_START):
            end = self.text.find("\n", position)
            return self._mark(position, len(self.text) if end < 0 else end, Place.COMMENT)
        if char == "\n":
            return self._heredocs(position + 1)
        if self.text.startswith("<<<", position):
            return position + 3
        if char == "<" and not frame.arithmetic and (found := _HEREDOC.match(self.text, position)):
            self.pending.append((re.sub(r"['\"\\]", "", found[2]), found[1] == "-"))
            return found.end()
        if self.text.startswith("((", position) and frame.depth == 0 and self._command_start(position):
            self.stack.append(_Frame("))", arithmetic=True))
            return position + 2
        if frame.closer in (")", "))"):
            frame.depth = frame.depth + 1 if char == "(" else frame.depth - 1 if char == ")" else frame.depth
        return position + 1

    def _command_start(self, position: int) -> bool:
        before = self.text[:position].rstrip(" \t")
        return (
            not before or before[-1] in "\n;&|(" or before.endswith((" if", "for", "while", "until", "then", "do", "!"))
        )

    def _ansi(self, position: int) -> int:
        """Return the end of the ``$'...'`` whose text starts at ``position``."""
        start = position
        while position < len(self.text) and self.text[position] != "'":
            position += 2 if self.text[position] == "\\" and position not in self.spans else 1
        return self._mark(start, position + 1, Place.SINGLE)

    def _heredocs(self, position: int) -> int:
        """Return the end of the heredoc bodies that begin at ``position``."""
        for delimiter, tabs in self.pending:
            while position < len(self.text):
                end = self.text.find("\n", position)
                end = len(self.text) if end < 0 else end
                line = self.text[position:end]
                position = self._mark(position, min(end + 1, len(self.text)), Place.HEREDOC)
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.pending.clear()
        return position

    def _mark(self, start: int, end: int, place: Place) -> int:
        for offset in self.spans:
            if start <= offset < end:
                self.places[offset] = place
        return end
