"""``foreach`` to the groups of values that jobs are bound to, and the names of those jobs."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING

from repro.workflow.model import ForeachMaps, ForeachTable
from repro.workflow.tables import Group, grouped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.workflow.model import Foreach
    from repro.workflow.tables import Table

_READABLE = re.compile(r"[^\s,=\[\]\"\\\x00-\x1f\x7f]+")


def groups(foreach: Foreach | None, table: Table | None) -> tuple[Group, ...]:
    """Return one group of values per job, in order; ``table`` is the content of a ForeachTable's file."""
    if foreach is None:
        return (Group({}, {}),)
    if isinstance(foreach, ForeachTable):
        return grouped(table, foreach.by) if table is not None else ()
    if isinstance(foreach, ForeachMaps):
        return tuple(Group(one, dict(one)) for one in foreach.maps)
    names = tuple(variable.name for variable in foreach)
    product = itertools.product(*(variable.values for variable in foreach))
    return tuple(
        Group(dict(zip(names, values, strict=True)), dict(zip(names, values, strict=True))) for values in product
    )


def job_id(step: str, bindings: Mapping[str, str], names: Iterable[str]) -> str:
    """Return ``step[a=1,b=2]`` for the named bindings; values that would be misread are written as JSON strings."""
    inner = ",".join(f"{name}={_shown(bindings[name])}" for name in names)
    return f"{step}[{inner}]" if inner else step


def _shown(value: str) -> str:
    return value if _READABLE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
