"""Files to foreach values: a pattern over the ends of their paths, and chunks of many."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from repro.workflow.tables import Group
from repro.workflow.template import Placeholder, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_HINT = "name the parts of the path, as in {{ sample }}_{{ lane }}.fq.gz"
PATH, CHUNK = "path", "chunk"  # the variables that every file and every chunk has


def pattern_names(pattern: str | None) -> tuple[str, ...]:
    """Return the variables of a pattern, which is a template of plain names, in its order."""
    placeholders = parse_template(pattern).placeholders if pattern is not None else ()
    return tuple(placeholder.expression for placeholder in placeholders)


def pattern_mistake(pattern: str) -> tuple[str, str] | None:
    """Return what is wrong with the template ``pattern`` as a pattern and the fix, or None."""
    parts = parse_template(pattern).parts
    placeholders = [part for part in parts if isinstance(part, Placeholder)]
    names = [placeholder.expression for placeholder in placeholders]
    for placeholder in placeholders:
        if placeholder.name is None or len(placeholder.name) > 1 or placeholder.raw:
            return f"{placeholder} is more than a name", _HINT
    if not names:
        return "no name stands in the pattern", _HINT
    if len(set(names)) != len(names):
        return f"{max(names, key=names.count)!r} stands in the pattern twice", "give each part a name of its own"
    for one, other in itertools.pairwise(parts):
        if isinstance(one, Placeholder) and isinstance(other, Placeholder):
            return f"nothing parts {one} from {other}", "put what stands between them, as in {{ a }}_{{ b }}"
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    form = "".join(
        re.escape(part) if isinstance(part, str) else f"(?P<{part.expression}>[^/]+)"
        for part in parse_template(pattern).parts
    )
    return re.compile(f"(?:.*/)?{form}", re.DOTALL)


def match(pattern: str, path: str) -> dict[str, str] | None:
    """Return the values of the pattern's names in ``path``, or None where its end does not fit.

    A name stands for one or more characters other than ``/``, as many as it can take, the first name first; the
    pattern begins where the name of a folder or file begins.
    """
    found = _compiled(pattern).fullmatch(path)
    return found.groupdict() if found is not None else None


def file_groups(paths: Iterable[str], pattern: str | None) -> tuple[list[Group], list[str]]:
    """Return one group of values per path, in their order, and the paths that the pattern does not fit."""
    made: list[Group] = []
    odd: list[str] = []
    for path in paths:
        bindings = {PATH: path} if pattern is None else match(pattern, path)
        if bindings is None:
            odd.append(path)
        else:
            made.append(Group(bindings, {**bindings, PATH: path}))
    return made, odd


def twice(groups: Sequence[Group]) -> tuple[Group, Group] | None:
    """Return the first two groups that nothing tells apart."""
    seen: dict[tuple[str, ...], Group] = {}
    for group in groups:
        other = seen.setdefault(tuple(group.bindings.values()), group)
        if other is not group:
            return other, group
    return None


def chunks(groups: Sequence[Group], size: int) -> list[Group]:
    """Return groups of up to ``size`` others, told apart by ``chunk`` (1, 2, ...); their values are lists."""
    made = []
    for number, start in enumerate(range(0, len(groups), size), 1):
        some = groups[start : start + size]
        chunk = {CHUNK: str(number)}
        lists: Mapping[str, str | tuple[str, ...]] = {
            name: tuple(str(group.values[name]) for group in some) for name in some[0].values
        }
        made.append(Group(chunk, {**lists, **chunk}))
    return made
