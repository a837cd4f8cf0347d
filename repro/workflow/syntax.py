"""A YAML syntax error in plain words: where it is, what YAML saw, what to write instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import Location, Problem
from repro.workflow.repair import quoted

if TYPE_CHECKING:
    import yaml

    from repro.workflow.source import Source


# a key, and a plain value to the end of the line
_VALUE = re.compile(r"([ \t]*(?:- )*[\w-]+: +)([^\s\"'\[{&*|>].*?)[ \t]*$")


def syntax_problem(source: Source, error: yaml.YAMLError) -> Problem:
    """Return the one problem that ``error`` is."""
    import yaml  # noqa: PLC0415 - 39 ms

    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            return _marked(source, error, mark.line + 1, mark.column + 1)
        return source.problem(Location(source.file, 1), "", f"this is not YAML: {error.problem}")
    position = getattr(error, "position", 0)  # a ReaderError: a character that YAML does not allow
    character = getattr(error, "character", "")
    code = character if isinstance(character, int) else ord(character[:1] or "\0")
    where = _find_character(source, code, position)
    return source.problem(
        where,
        "",
        f"the character U+{code:04X} is not allowed in YAML",
        "remove it, or write it escaped in double quotes",
    )


def indented_by_tab(line: str) -> bool:
    """Return whether a tab stands in the blanks that a line begins with."""
    return "\t" in line[: len(line) - len(line.lstrip())]


def _find_character(source: Source, code: int, position: int) -> Location:
    found = source.text.find(chr(code))
    return source.location(found if found >= 0 else min(position, len(source.text)))


def _marked(source: Source, error: yaml.MarkedYAMLError, line: int, column: int) -> Problem:
    words = f"{error.context or ''} {error.problem or ''}"
    where = Location(source.file, line, column)
    text = source.line(line)
    context = error.context_mark
    opened = Location(source.file, context.line + 1, context.column + 1) if context else where
    if indented_by_tab(text) or ("cannot start any token" in words and text[column - 1 : column] == "\t"):
        where = Location(source.file, line, text.find("\t") + 1)
        return source.problem(
            where, "", "a tab is used to indent; YAML takes blanks only", "indent with two blanks a level"
        )
    if "cannot start any token" in words:
        sign = text[column - 1 : column]
        return source.problem(where, "", f"plain text cannot start with {sign!r}", "put the text in double quotes")
    if "mapping values are not allowed" in words:
        value = _VALUE.match(text)
        if value is not None and value.end(1) < column:
            hint = f"quote the value: {value[1].lstrip()}{quoted(value[2])}"
        else:
            hint = "quote the whole value, or mend the indentation"
        return source.problem(where, "", "a ': ' inside plain text would start a mapping here", hint)
    if "escape" in words or "hexdecimal" in words:
        return source.problem(
            where, "", "YAML knows no such escape in double quotes",
            "write \\\\ for a backslash, or use single quotes, or lines of their own under `run: |`",
        )  # fmt: skip
    if "quoted scalar" in words:
        return source.problem(
            opened, "", "this quote is opened and never closed", "close it, or escape a quote that is meant as text"
        )
    if "flow mapping" in words or "flow sequence" in words:
        bracket, other = ("{", "}") if "flow mapping" in words else ("[", "]")
        message = f"here YAML expects ',' or '{other}', for the {bracket!r} opened in line {opened.line}"
        return source.problem(
            where, "", message, f"add the ',' or '{other}' that is missing, or quote text that holds brackets"
        )
    if (
        "block mapping" in words
        or "block collection" in words
        or "could not find expected ':'" in words
        or "simple key" in words
    ):
        return source.problem(
            where, "", "this line does not fit the lines before it",
            "indent the keys of one mapping alike, put ': ' after each of them, and '- ' before each item of a list",
        )  # fmt: skip
    return source.problem(where, "", f"this is not YAML: {words.strip()}", "compare with the lines around it")
