"""Where the characters of a joined line stand in the file."""

from __future__ import annotations

from bisect import bisect_right

from repro.dataclass import dataclass
from repro.errors import Location


@dataclass(frozen=True, slots=True)
class Places:
    """Maps offsets in a text to places in a file.

    ``marks`` says where the pieces of the text come from: (offset, line, column), sorted by offset.
    """

    file: str
    marks: tuple[tuple[int, int, int], ...]

    def at(self, offset: int) -> Location:
        """Return the place of the character at ``offset``."""
        index = max(bisect_right(self.marks, (offset, 1 << 60, 0)) - 1, 0)
        start, line, column = self.marks[index]
        return Location(self.file, line, max(column + offset - start, 1))

    def since(self, start: int) -> Places:
        """Return the places of the text that begins at offset ``start`` of this one."""
        moved = [(max(offset - start, 0), line, column + max(start - offset, 0)) for offset, line, column in self.marks]
        last = max(index for index, mark in enumerate(moved) if mark[0] == 0)
        return Places(self.file, tuple(moved[last:]))
