"""`repro image history`, with the flags and spellings of `docker history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro import api
from repro.cli.arguments import add_json, print_json, print_table
from repro.cli.build_text import size_text
from repro.cli.listings import add_format, print_formatted, shown_time, since

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from repro.api.image_inspect import HistoryRow
    from repro.digest import Json

EPILOG = """\
The latest step stands first. A step without a layer changed settings alone. Fields of --format: ID, CreatedAt,
CreatedSince, CreatedBy, Size, Comment.
"""
_WIDEST: Final = 45  # of what made a step, as Docker cuts it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name, an image ID or the start of one")
    add("-q", "--quiet", action="store_true", dest="only_ids", help="print image IDs alone")
    add("--no-trunc", action="store_true", help="print image IDs and commands in full")
    add_format(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the steps."""
    host = api.Host.current()
    steps = api.image_history(host, options.image)
    rows = [_fields(step, host.now(), full=options.no_trunc) for step in steps]
    if options.json:
        print_json(steps)
    elif options.only_ids:
        for row in rows:
            print(row["ID"])
    elif options.format is not None:
        print_formatted(options.format, rows)
    else:
        table = [
            (str(row["ID"]), shown_time(step.created, host.now()), *(str(row[key]) for key in _COLUMNS))
            for row, step in zip(rows, steps, strict=True)
        ]
        print_table(("image", "created", "created by", "size", "comment"), table)
    return 0


_COLUMNS: Final = ("CreatedBy", "Size", "Comment")


def _fields(step: HistoryRow, now: datetime, *, full: bool) -> dict[str, Json]:
    """Return the fields that Docker's listing has."""
    image_id = "<missing>"
    if step.image_id is not None:
        image_id = str(step.image_id) if full else step.image_id.short
    made_by = step.created_by if full else _cut(" ".join(step.created_by.split()))
    return {
        "ID": image_id,
        "CreatedAt": step.created,
        "CreatedSince": since(step.created, now),
        "CreatedBy": made_by,
        "Size": size_text(step.size),
        "Comment": step.comment,
    }


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
