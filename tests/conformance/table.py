"""The table that a run prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conformance.arena import Row


def state(row: Row) -> str:
    """Return what a row says in a word."""
    if row.faults:
        return "DIFFERS"
    if row.case.refused is not None:
        return "refused"
    return "listed" if row.case.differences else "equal"


def line(row: Row) -> str:
    """Return one line of the table: case, judge, result, image ID of other users, seconds."""
    modes = " ".join(f"{mode}:{said}" for mode, said in sorted(row.modes.items()))
    seconds = f"{row.judge_seconds:5.1f} {row.our_seconds:5.1f}"
    return f"{row.case.name:<34} {row.case.judge:<8} {state(row):<8} {modes:<24} {seconds}"


def render(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the table's lines: the cases, then every listed difference with its reason, then the sums."""
    rows = sorted(rows, key=lambda row: row.case.name)
    yield f"{'case':<34} {'judge':<8} {'result':<8} {'image ID against root':<24} judge  ours (s)"
    yield from (line(row) for row in rows)
    yield ""
    yield "Listed differences:"
    for row in rows:
        for kind, listed in (("", row.case.differences), ("one: ", row.case.single), ("sub: ", row.case.subordinate)):
            yield from (f"  {row.case.name}: {kind}{where}: {reason}" for where, reason in listed.items())
    yield ""
    said = [state(row) for row in rows]
    yield f"{len(rows)} Dockerfiles: " + ", ".join(f"{said.count(word)} {word}" for word in sorted(set(said)))
