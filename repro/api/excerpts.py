"""The part of a Dockerfile that an error is about, added to the error as a note."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from repro.errors import DockerfileError, Location, ReproError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AROUND = 2  # lines before and after
_LONGEST = 20  # lines of one instruction
_RULE = "-" * 20


@contextlib.contextmanager
def noted_excerpt(text: str, file: str) -> Iterator[None]:
    """Add an excerpt of ``text``, the file that errors call ``file``, to an error of the block that names a line."""
    try:
        yield
    except ReproError as error:
        where = error.where
        if isinstance(where, Location) and where.file == file:
            error.add_note(excerpt(text, where))
        raise


def excerpt(text: str, where: Location) -> str:
    """Return the lines of the instruction at ``where``, marked, with some around them, numbered."""
    lines = text.splitlines()
    first, last = _instruction(text, where)
    last = min(last, first + _LONGEST - 1)
    start, end = max(first - _AROUND, 1), min(last + _AROUND, len(lines))
    width = len(str(end))
    shown = []
    for number in range(start, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        shown.append(f" {number:{width}} | {mark} {lines[number - 1]}".rstrip())
    return "\n".join([f"{where.file}:{where.line}", _RULE, *shown, _RULE])


def _instruction(text: str, where: Location) -> tuple[int, int]:
    """Return the first and the last line of the instruction that holds the place; of an unreadable file the line."""
    from repro.dockerfile.parser import parse  # noqa: PLC0415 - only where there is an error

    with contextlib.suppress(DockerfileError):
        for one in parse(text, where.file).instructions:
            if one.where.line <= where.line <= one.end_line:
                return one.where.line, one.end_line
    return where.line, where.line
