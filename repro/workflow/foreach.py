"""The ``foreach:`` of a step: nodes to lists, a table, maps, or files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.commands import read_template
from repro.workflow.model import ForeachGlob, ForeachItems, ForeachList, ForeachMaps, ForeachTable
from repro.workflow.paths import has_glob, read_path
from repro.workflow.patterns import CHUNK, PATH, pattern_mistake, pattern_names
from repro.workflow.source import ListNode, MapNode, Node, Scalar
from repro.workflow.tables import suffix_supported
from repro.workflow.template import JINJA_WORDS, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.workflow.fields import Problems
    from repro.workflow.model import Foreach

RESERVED = frozenset(("inputs", "outputs", "params", "resources", "attempt", "logs", "checkpoint")) | JINJA_WORDS
FORMS: Mapping[str, tuple[str, ...]] = {  # the key that tells a form, and all that it may have
    "table": ("table", "by"),
    "glob": ("glob", "pattern"),
    "items": ("items", "pattern", "chunk"),
}
_ELSEWHERE = {
    "by": "`by` chooses the columns of a table",
    "pattern": "`pattern` names the parts of a file's path: use it with `glob` or `items`",
    "chunk": "`chunk` gathers what an earlier step made: use it with `items`",
}
_FORMS = "a mapping of lists, {table: file, by: [columns]}, a list of mappings, {glob: ...} or {items: step.output}"


def read_foreach(node: Node, path: str, problems: Problems) -> Foreach | None:
    """Return what a step ranges over; None where it has mistakes, which are left in ``problems``."""
    if isinstance(node, ListNode):
        return _maps(node, path, problems)
    if not isinstance(node, MapNode):
        problems.add(node.where, path, f"{_FORMS} is needed here, found {fields.described(node)}")
        return None
    scalars = {entry.key.text: entry for entry in node if isinstance(entry.value, Scalar)}
    for form, read in (("table", _table), ("glob", _glob), ("items", _items)):
        if form in scalars:
            return read(node, path, problems)
    return _lists(node, path, problems)


def _table(node: MapNode, path: str, problems: Problems) -> ForeachTable | None:
    found = fields.keys(node.entries, path, problems, FORMS["table"], elsewhere=_ELSEWHERE)
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


def _glob(node: MapNode, path: str, problems: Problems) -> ForeachGlob | None:
    found = fields.keys(node.entries, path, problems, FORMS["glob"], elsewhere=_ELSEWHERE)
    glob = read_path(found["glob"], f"{path}.glob", problems)
    pattern = _pattern(found["pattern"], f"{path}.pattern", problems) if "pattern" in found else None
    if glob is not None and not has_glob(parse_template(glob)):
        hint = "write a pattern of file names, as in images/*.png"
        problems.add(found["glob"].where, f"{path}.glob", f"there is no '*', '?' or '[' in {glob!r}", hint)
        return None
    if glob is not None and glob.endswith("/"):
        problems.add(found["glob"].where, f"{path}.glob", f"{glob!r} ends in '/', and files are ranged over",
                     "end it in their names, as in images/*.png")  # fmt: skip
        return None
    return ForeachGlob(glob, pattern) if glob is not None and ("pattern" in found) == (pattern is not None) else None


def _items(node: MapNode, path: str, problems: Problems) -> ForeachItems | None:
    found = fields.keys(node.entries, path, problems, FORMS["items"], elsewhere=_ELSEWHERE)
    output = read_output_name(found["items"], f"{path}.items", problems)
    pattern = _pattern(found["pattern"], f"{path}.pattern", problems) if "pattern" in found else None
    chunk = fields.whole(found["chunk"], f"{path}.chunk", problems, 1) if "chunk" in found else None
    if output is None or ("pattern" in found) != (pattern is not None) or ("chunk" in found) != (chunk is not None):
        return None
    return ForeachItems(*output, pattern, chunk)


def read_output_name(node: Node, path: str, problems: Problems) -> tuple[str, str] | None:
    """Return the step and the output that ``step.output`` names."""
    text = fields.text(node, path, problems, "step.output")
    if text is None:
        return None
    step, dot, output = text.partition(".")
    if step and dot and output:
        return step, output
    problems.add(node.where, path, f"{text!r} does not name an output", "write it as step.output")
    return None


def _pattern(node: Node, path: str, problems: Problems) -> str | None:
    text = fields.text(node, path, problems, "a pattern")
    if text is None or read_template(text, node.where, path, problems) is None:
        return None
    wrong = pattern_mistake(text)
    taken = next((name for name in pattern_names(text) if name in RESERVED or name in (PATH, CHUNK)), None)
    if wrong is None and taken is not None:
        wrong = f"{taken!r} has a meaning of its own", "choose another name"
    if wrong is not None:
        problems.add(node.where, path, *wrong)
        return None
    return text


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
