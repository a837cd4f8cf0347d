"""The parts of two byte strings that differ, with a little around them: what causes are looked for in."""

from __future__ import annotations

import difflib
from typing import Final

from repro.dataclass import dataclass

_AROUND: Final = 48  # bytes before and after a span: a date whose last digit differs is seen whole
_MOST_SPANS: Final = 200
_MOST_LINES: Final = 5000  # above that, lines are compared as sets: difflib takes the square of their number
_STEP: Final = 4096


@dataclass(frozen=True, slots=True)
class Spans:
    """What differs: of each side the spans, one a line; ``reordered``: the lines are the same, their order is not.

    ``shown`` names the first differing byte, and what stands there.
    """

    first: bytes
    second: bytes
    reordered: bool
    shown: str


def differing_spans(first: bytes, second: bytes) -> Spans:
    """Return the spans of ``first`` and ``second`` that differ."""
    offset = common_head(first, second)
    shown = f"the first byte that differs is number {offset}: {_excerpt(first, offset)} and {_excerpt(second, offset)}"
    if _is_text(first) and _is_text(second):
        one, two = first.splitlines(), second.splitlines()
        ours, theirs = _only(one, two)
        return Spans(b"\n".join(ours), b"\n".join(theirs), one != two and sorted(one) == sorted(two), shown)
    if len(first) != len(second):  # something was put in or left out: only both ends can be set against each other
        tail = _common_tail(first[offset:], second[offset:])
        ours, theirs = ([data[max(0, offset - _AROUND) : len(data) - tail + _AROUND]] for data in (first, second))
    else:
        places = [slice(max(0, begin - _AROUND), end + _AROUND) for begin, end in _places(first, second)]
        ours, theirs = ([data[place] for place in places] for data in (first, second))
    return Spans(b"\n".join(ours), b"\n".join(theirs), reordered=False, shown=shown)


def _only(one: list[bytes], two: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the lines that only one side has at their place."""
    if max(len(one), len(two)) > _MOST_LINES:
        ours, theirs = set(one), set(two)
        return [line for line in one if line not in theirs], [line for line in two if line not in ours]
    mine: list[bytes] = []
    yours: list[bytes] = []
    for what, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if what != "equal":
            mine += one[a:b]
            yours += two[c:d]
    return mine, yours


def _places(first: bytes, second: bytes) -> list[tuple[int, int]]:
    """Return where two strings of one length differ, as (begin, end), near ones joined, at most `_MOST_SPANS`."""
    places: list[tuple[int, int]] = []
    for start in range(0, len(first), _STEP):
        one, two = first[start : start + _STEP], second[start : start + _STEP]
        if one == two:
            continue
        for index in range(len(one)):
            if one[index] == two[index]:
                continue
            at = start + index
            if places and at - places[-1][1] < _AROUND:
                places[-1] = (places[-1][0], at + 1)
            elif len(places) == _MOST_SPANS:
                return places
            else:
                places.append((at, at + 1))
    return places


def common_head(first: bytes, second: bytes) -> int:
    """Return how many bytes at the beginning are the same, by halving."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_tail(first: bytes, second: bytes) -> int:
    """Return how many bytes at the end are the same, by halving: ends of equal ends are equal."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[len(first) - middle :] == second[len(second) - middle :]:
            low = middle
        else:
            high = middle - 1
    return low


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[: 1 << 16]


def _excerpt(data: bytes, offset: int) -> str:
    return repr(data[offset : offset + 16])[1:] if offset < len(data) else "the end"
