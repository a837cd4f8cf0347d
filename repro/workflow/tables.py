"""Sample sheets: CSV, TSV and Parquet to rows of text, cells byte for byte as the file has them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import Location, Problem, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_MOST_SHOWN = 10  # mistakes of one table


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under named columns, in the file's order."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One job's share of a table: ``bindings`` identify it, ``values`` hold every column (lists outside ``by``)."""

    bindings: Mapping[str, str]
    values: Mapping[str, str | tuple[str, ...]]


def suffix_supported(path: str) -> bool:
    """Return whether the file's name says a format that `read_table` reads."""
    return path.lower().endswith((*_DELIMITERS, ".parquet"))


def read_table(data: bytes, file: str) -> Table:
    """Return the table in ``data``; its format is known by the name ``file``. WorkflowError located in the table."""
    lower = file.lower()
    if lower.endswith(".parquet"):
        table = _parquet(data, file)
    else:
        table = _delimited(data, file, next(sign for suffix, sign in _DELIMITERS.items() if lower.endswith(suffix)))
    doubled = [name for name, count in Counter(table.columns).items() if count > 1]
    if doubled:
        raise WorkflowError(
            [Problem(Location(file, 1), "", f"the column {doubled[0]!r} is there twice", hint="rename one")]
        )
    return table


def _delimited(data: bytes, file: str, delimiter: str) -> Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(Location(file, line), "", "this line is not UTF-8", hint="save the table as UTF-8")
        raise WorkflowError([problem]) from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    problems: list[Problem] = []
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    start = 1
    try:
        for cells in reader:
            if cells and not columns:
                columns = tuple(cells)
            elif cells and len(cells) != len(columns):
                message = f"this row has {_count(cells, 'cell')}, the header {len(columns)}"
                problems.append(_ragged(Location(file, start), message, text, delimiter))
            elif cells:
                rows.append(tuple(cells))
            start = reader.line_num + 1
    except csv.Error as error:
        problems.append(
            Problem(Location(file, start), "", f"this row cannot be read: {error}", hint="look for a stray quote")
        )
    if not columns and not problems:
        problems.append(Problem(Location(file, 1), "", "the table is empty", hint="its first line names the columns"))
    if problems:
        more = len(problems) - _MOST_SHOWN
        raise WorkflowError(
            [
                *problems[:_MOST_SHOWN],
                *([Problem(Location(file, start), "", f"{more} more rows are wrong")] if more > 0 else []),
            ]
        )
    return Table(columns, tuple(rows))


def _ragged(where: Location, message: str, text: str, delimiter: str) -> Problem:
    excerpt = text.split("\n")[where.line - 1].rstrip("\r").replace("\t", " ")
    name = "tab" if delimiter == "\t" else "comma"
    return Problem(
        where, "", message, excerpt, f"one cell a column, with a {name} between; quote a cell that holds one"
    )


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _parquet(data: bytes, file: str) -> Table:
    import pyarrow as pa  # noqa: PLC0415 - 234 ms
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise WorkflowError([Problem(Location(file, 1), "", f"this is not a Parquet table: {error}")]) from error
    columns = tuple(str(name) for name in table.column_names)
    cells = [
        [_cell(value, name, file) for value in table.column(place).to_pylist()] for place, name in enumerate(columns)
    ]
    return Table(columns, tuple(zip(*cells, strict=True)))


def _cell(value: object, column: str, file: str) -> str:
    """Return a cell's canonical spelling: shortest digits for numbers, ISO 8601 for times, empty for null."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return _time(value, column, file)


def _time(value: object, column: str, file: str) -> str:
    spelled = getattr(value, "isoformat", None)
    if spelled is None:
        message = f"column {column!r} holds {type(value).__name__} values, which have no spelling as text"
        raise WorkflowError([Problem(Location(file, 1), "", message, hint="store them as text")])
    return str(spelled())


def grouped(table: Table, by: Sequence[str]) -> tuple[Group, ...]:
    """Return one group per distinct combination of the ``by`` columns (all when empty), in the table's order."""
    names = tuple(by) or table.columns
    places = [table.columns.index(name) for name in names]
    rows_by_key: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in table.rows:
        rows_by_key.setdefault(tuple(row[place] for place in places), []).append(row)
    return tuple(
        Group(dict(zip(names, key, strict=True)), _values(table, names, rows)) for key, rows in rows_by_key.items()
    )


def _values(table: Table, names: Iterable[str], rows: Sequence[tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    keyed = frozenset(names)
    return {
        column: rows[0][place] if column in keyed else tuple(row[place] for row in rows)
        for place, column in enumerate(table.columns)
    }
