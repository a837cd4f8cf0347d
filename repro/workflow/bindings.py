"""``foreach`` to the groups of values that jobs are bound to, and the names of those jobs."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING

from repro.workflow.model import ForeachGlob, ForeachItems, ForeachMaps, ForeachTable
from repro.workflow.patterns import CHUNK, PATH, pattern_names
from repro.workflow.tables import Group, grouped

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from repro.workflow.model import Foreach
    from repro.workflow.tables import Table

_READABLE = re.compile(r"[^\s,=\[\]\"\\\x00-\x1f\x7f]+")


def groups(foreach: Foreach | None, table: Table | None) -> tuple[Group, ...]:
    """Return one group of values per job, in order; ``table`` is the content of a ForeachTable's file.

    None for those that range over files, which `repro.workflow.ranges` finds.
    """
    if foreach is None:
        return (Group({}, {}),)
    if isinstance(foreach, ForeachTable):
        return grouped(table, foreach.by) if table is not None else ()
    if isinstance(foreach, ForeachGlob | ForeachItems):
        return ()
    if isinstance(foreach, ForeachMaps):
        return tuple(Group(one, dict(one)) for one in foreach.maps)
    names = tuple(variable.name for variable in foreach)
    product = itertools.product(*(variable.values for variable in foreach))
    return tuple(
        Group(dict(zip(names, values, strict=True)), dict(zip(names, values, strict=True))) for values in product
    )


def variables(foreach: Foreach | None) -> tuple[str, ...] | None:
    """Return the names that identify a job, None where only a table says them."""
    if foreach is None:
        return ()
    if isinstance(foreach, ForeachTable):
        return foreach.by or None
    if isinstance(foreach, ForeachMaps):
        return tuple(foreach.maps[0])
    if isinstance(foreach, ForeachItems) and foreach.chunk is not None:
        return (CHUNK,)
    if isinstance(foreach, ForeachGlob | ForeachItems):
        return pattern_names(foreach.pattern) or (PATH,)
    return tuple(variable.name for variable in foreach)


def joined(maker: Foreach | None, names: Iterable[str], user: Foreach | None, bound: Container[str]) -> tuple[str, ...]:
    """Return those of a step's variables ``names`` on which another step, which has ``bound`` ones, joins it.

    ``path`` and ``chunk`` tell files apart within one range: they join steps over the same files, and no others.
    """
    apart = (
        maker != user and isinstance(maker, ForeachGlob | ForeachItems) and isinstance(user, ForeachGlob | ForeachItems)
    )
    return tuple(name for name in names if name in bound and not (apart and name in (PATH, CHUNK)))


def columns(foreach: Foreach | None) -> frozenset[str] | None:
    """Return the names of all foreach values, None where only a table says them."""
    names = variables(foreach)
    if isinstance(foreach, ForeachTable) or names is None:
        return None
    if isinstance(foreach, ForeachGlob | ForeachItems):
        return frozenset((*names, *pattern_names(foreach.pattern), PATH))
    return frozenset(names)


def job_id(step: str, bindings: Mapping[str, str], names: Iterable[str]) -> str:
    """Return ``step[a=1,b=2]`` for the named bindings; values that would be misread are written as JSON strings."""
    inner = ",".join(f"{name}={_shown(bindings[name])}" for name in names)
    return f"{step}[{inner}]" if inner else step


def _shown(value: str) -> str:
    return value if _READABLE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
