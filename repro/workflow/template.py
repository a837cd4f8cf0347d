"""Templates as data: text with ``{{ expression }}`` in it, cut into its parts. Nothing is evaluated here."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

from repro.dataclass import dataclass
from repro.errors import ReproError

# The fast path: a dotted name, and "| raw" after it. Jinja's own words are left to Jinja.
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SIMPLE = re.compile(rf"({_NAME}(?:\.{_NAME})*)(?:\s*\|\s*(raw))?")
_RAW = re.compile(r"\|\s*raw\s*$")
JINJA_WORDS = frozenset(
    ("true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else", "self")
)
_OPENING, _CLOSING = "([{", ")]}"


class TemplateError(ReproError):
    """A template that cannot be read or rendered; ``index`` counts the ``{{`` of its text from 0."""

    code = "workflow"
    exit_status = 2

    def __init__(self, message: str, *, index: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.index = index


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One ``{{ expression }}``.

    Attributes:
        expression: the text between the braces, stripped.
        start, end: offsets in the template's text, braces included.
        index: how many ``{{`` stand before it in the text, escaped ones counted.
        name: the dotted name when the expression is nothing else (``| raw`` aside); None for any other.
        raw: whether the expression ends in ``| raw``.
    """

    expression: str
    start: int
    end: int
    index: int
    name: tuple[str, ...] | None
    raw: bool

    def __str__(self) -> str:
        return f"{{{{ {self.expression} }}}}"


Part: TypeAlias = str | Placeholder


@dataclass(frozen=True, slots=True)
class Template:
    r"""A template cut into literal text (``\{{`` already turned into ``{{``) and placeholders."""

    text: str
    parts: tuple[Part, ...]

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The placeholders in order."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))


@lru_cache(maxsize=65536)
def parse_template(text: str) -> Template:
    """Return the parts of ``text``; TemplateError for a ``{{`` without end or with nothing in it."""
    if "{{" not in text:
        return Template(text, (text,) if text else ())
    parts: list[Part] = []
    literal: list[str] = []
    position = index = 0
    while (start := text.find("{{", position)) >= 0:
        if start > position and text[start - 1] == "\\":
            literal.append(text[position : start - 1] + "{{")
            position = start + 2
        else:
            literal.append(text[position:start])
            if joined := "".join(literal):
                parts.append(joined)
            literal = []
            placeholder = _placeholder(text, start, index)
            parts.append(placeholder)
            position = placeholder.end
        # braces inside an expression ("{{ {{1: 2}}[1] }}") count for the position in the file as well
        index += text.count("{{", start, max(position, start + 2))
    literal.append(text[position:])
    if joined := "".join(literal):
        parts.append(joined)
    return Template(text, tuple(parts))


def _placeholder(text: str, start: int, index: int) -> Placeholder:
    end = _end(text, start + 2)
    if end < 0:
        raise TemplateError(
            "this {{ is never closed by }}", index=index, hint="close it, or write \\{{ for two literal braces"
        )
    inner = text[start + 2 : end].strip()
    if not inner:
        raise TemplateError(
            "there is nothing between {{ and }}", index=index, hint="name a value, as in {{ inputs.reads }}"
        )
    return expression(inner, start, end + 2, index)


def expression(text: str, start: int = 0, end: int = 0, index: int = 0) -> Placeholder:
    """Return the placeholder whose expression is ``text``; without places, an expression that stands by itself."""
    text = text.strip()
    simple = _SIMPLE.fullmatch(text)
    name = tuple(simple[1].split(".")) if simple and simple[1].split(".")[0] not in JINJA_WORDS else None
    return Placeholder(text, start, end, index, name, bool(_RAW.search(text)))


def _end(text: str, position: int) -> int:
    """Return the offset of the ``}}`` that closes the expression at ``position``, or -1; strings and brackets nest."""
    depth = 0
    while position < len(text):
        char = text[position]
        if char in "'\"":
            position = _string_end(text, position)
            if position < 0:
                return -1
            continue
        if depth == 0 and text.startswith("}}", position):
            return position
        if char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth = max(0, depth - 1)
        position += 1
    return -1


def _string_end(text: str, position: int) -> int:
    quote = text[position]
    position += 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == quote:
            return position + 1
        else:
            position += 1
    return -1
