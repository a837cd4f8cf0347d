"""The ``foreach:`` of a step: nodes to lists, a table, or maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.model import ForeachList, ForeachMaps, ForeachTable
from repro.workflow.paths import read_path
from repro.workflow.source import ListNode, MapNode, Node, Scalar
from repro.workflow.tables import suffix_supported
from repro.workflow.template import JINJA_WORDS

if TYPE_CHECKING:
    from repro.workflow.fields import Problems
    from repro.workflow.model import Foreach

RESERVED = frozenset(("inputs", "outputs", "params", "resources", "attempt")) | JINJA_WORDS
_LATER = ("glob", "items")
_FORMS = "a mapping of lists, {table: file, by: [columns]}, or a list of mappings"


def read_foreach(node: Node, path: str, problems: Problems) -> Foreach | None:
    """Return what a step ranges over; None where it has mistakes, which are left in ``problems``."""
    if isinstance(node, ListNode):
        return _maps(node, path, problems)
    if not isinstance(node, MapNode):
        problems.add(node.where, path, f"{_FORMS} is needed here, found {fields.described(node)}")
        return None
    scalars = {entry.key.text: entry for entry in node if isinstance(entry.value, Scalar)}
    for key in _LATER:
        if key in scalars:
            hint = "list the values, or put them into a table"
            problems.add(
                scalars[key].key.where,
                f"{path}.{key}",
                f"foreach over {key!r} is not supported by this version of repro",
                hint,
            )
            return None
    if "table" in scalars:
        return _table(node, path, problems)
    return _lists(node, path, problems)


def _table(node: MapNode, path: str, problems: Problems) -> ForeachTable | None:
    found = fields.keys(node.entries, path, problems, ("table", "by"), {"pattern": "use `by`", "chunk": "remove it"})
    table = read_path(found["table"], f"{path}.table", problems)
    if table is not None and not suffix_supported(table):
        hint = "name it .csv, .tsv or .parquet, for what it is"
        problems.add(found["table"].where, f"{path}.table", f"{table!r} does not say which kind of table it is", hint)
        table = None
    by: tuple[str, ...] = ()
    if "by" in found:
        by = fields.texts(found["by"], f"{path}.by", problems, "column names") or ()
        if len(set(by)) != len(by):
            problems.add(found["by"].where, f"{path}.by", "a column stands here twice", "keep one of the two")
    return ForeachTable(table, by) if table is not None else None


def _lists(node: MapNode, path: str, problems: Problems) -> tuple[ForeachList, ...] | None:
    if not node.entries:
        problems.add(node.where, path, "there is nothing to range over", f"write {_FORMS}")
        return None
    lists = []
    before = len(problems.found)
    for name, value in fields.named(node.entries, path, problems, "a foreach variable", taken=RESERVED).items():
        values = fields.texts(value, f"{path}.{name}", problems, "values")
        if values is None:
            continue
        if not values:
            problems.add(
                value.where, f"{path}.{name}", "the list is empty, so there would be no job", "give at least one value"
            )
        elif len(set(values)) != len(values):
            twice = next(item for place, item in enumerate(values) if item in values[:place])
            problems.add(value.where, f"{path}.{name}", f"the value {twice!r} is there twice", "keep one of the two")
        lists.append(ForeachList(name, values))
    return tuple(lists) if len(problems.found) == before else None


def _maps(node: ListNode, path: str, problems: Problems) -> ForeachMaps | None:
    before = len(problems.found)
    maps: list[dict[str, str]] = []
    for number, item in enumerate(node.items):
        place = f"{path}.{number}"
        entries = fields.entries(item, place, problems, "a mapping of values")
        if entries is None:
            continue
        named = fields.named(entries, place, problems, "a foreach variable", taken=RESERVED)
        read = {name: fields.text(value, f"{place}.{name}", problems, "a value") for name, value in named.items()}
        values = {name: value for name, value in read.items() if value is not None}
        if maps and set(values) != set(maps[0]):
            odd = ", ".join(sorted(set(values) ^ set(maps[0])))
            problems.add(item.where, place, f"every mapping needs the keys of the first one; they differ in {odd}")
        elif values in maps:
            problems.add(item.where, place, "this combination is there twice", "keep one of the two")
        maps.append(values)
    if not node.items or not (maps and maps[0]):
        if len(problems.found) == before:
            problems.add(node.where, path, "there is nothing to range over", f"write {_FORMS}")
        return None
    return ForeachMaps(tuple(maps)) if len(problems.found) == before else None
