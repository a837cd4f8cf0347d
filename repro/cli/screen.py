"""Standard error as something to draw on: whole lines, and below them a block that is drawn over again and again.

The cursor is never hidden, so that no way to die leaves a terminal without one.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")  # ECMA-48
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def colour_wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to colour ``stream``: a terminal that is not dumb, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    """Return ``text`` in a colour, for where colours are wanted."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def plain(text: str) -> str:
    """Return what a line would show in the end: without escape sequences, after its last carriage return."""
    text = _ESCAPES.sub("", text).rstrip("\r")
    return _CONTROLS.sub("", text.rpartition("\r")[2].expandtabs())


def width(text: str) -> int:
    """Return the columns that ``text`` takes; wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(one) for one in text)


def fit(text: str, columns: int) -> str:
    """Return ``text``, cut to that many columns; what was cut is said by three dots where there is room."""
    if width(text) <= columns:
        return text
    dots = "..." if columns > 3 else ""
    room = columns - len(dots)
    kept = []
    for one in text:
        room -= _columns(one)
        if room < 0:
            break
        kept.append(one)
    return "".join(kept) + dots


def _columns(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


class Screen:
    """Standard error. Not safe from several threads: whoever draws holds a lock of its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._stream = sys.stderr
        self._colour = colour_wanted(self._stream, environ)
        self._broken = False
        self._block: tuple[int, ...] = ()  # the widths of the lines that are drawn
        self.terminal = self._stream.isatty() and environ.get("TERM") != "dumb"

    def paint(self, text: str, colour: str) -> str:
        """Return ``text`` in ``colour`` where colours are wanted."""
        return painted(text, colour) if self._colour and text else text

    def size(self) -> tuple[int, int]:
        """Return how many columns and lines can be drawn over: one less than there are, lest the terminal wraps."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except OSError:
            return 79, 23
        return max(found.columns - 1, 1), max(found.lines - 1, 1)

    def lines(self, *texts: str) -> None:
        """Write whole lines, for good, in place of the block."""
        self._write(self._over() + "".join(f"{text}\n" for text in texts))
        self._block = ()

    def draw(self, above: Sequence[str], block: Sequence[str]) -> None:
        """Write the lines ``above`` for good, and ``block`` below them to be drawn over; in one write: no flicker."""
        frame = "".join(f"{text}\033[K\n" for text in (*above, *block))
        self._write(f"{self._back()}{frame}\033[J" if self._block else frame)
        self._block = tuple(width(plain(text)) for text in block)

    def erase(self) -> None:
        """Take the block away."""
        if self._block:
            self._write(self._over())
            self._block = ()

    def _over(self) -> str:
        return f"{self._back()}\033[J" if self._block else ""

    def _back(self) -> str:
        """Return what moves the cursor to the block's first line; a narrower terminal has wrapped its lines since."""
        columns = self.size()[0] + 1
        height = sum(max(-(-wide // columns), 1) for wide in self._block)
        return f"\033[{height}A\r"

    def _write(self, text: str) -> None:
        """Write to the stream; once its reader is gone or its disk is full, to nowhere: the work goes on."""
        if self._broken or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._broken = True
