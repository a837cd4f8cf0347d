"""Prints what `--verify` found, to stderr: results alone go to stdout."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.build.verify import Difference, Verdict

_SHOWN = 200  # characters of an instruction


def print_verdict(verdict: Verdict, name: str = "") -> None:
    """Say whether the second build of ``name`` gave the same image; if not, what differs, why, and a way out."""
    for line in verdict_lines(verdict, name):
        print(line, file=sys.stderr)


def verdict_lines(verdict: Verdict, name: str = "") -> Iterator[str]:
    """Yield the lines for people."""
    title = f"verify {name}" if name else "verify"
    if verdict.same:
        yield f"{title}: the same image, {verdict.first.short}, when built again with"
    else:
        yield f"{title}: another image: {verdict.second.short} instead of {verdict.first.short}, when built again with"
    yield from (f"  {condition}" for condition in verdict.conditions)
    if verdict.same:
        return
    for (where, text), group in groupby(verdict.differences, key=lambda one: (one.where, one.instruction)):
        yield ""
        short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        yield f"{where}: {short}" if where is not None else "The image's settings"
        for difference in group:
            yield from _difference_lines(difference)
    if verdict.unlisted:
        yield f"  … and {verdict.unlisted} more paths"
    causes = {finding.cause.code: finding.cause for one in verdict.differences for finding in one.findings}
    yield ""
    yield "What to do"
    yield from (f"  {code}: {cause.hint}" for code, cause in causes.items())


def _difference_lines(difference: Difference) -> Iterator[str]:
    yield f"  {difference.path}: {'; '.join(difference.differs)}"
    for finding in difference.findings:
        evidence = f": {finding.evidence}" if finding.evidence else ""
        yield f"    [{finding.cause.code}] {finding.cause.title}{evidence}"
