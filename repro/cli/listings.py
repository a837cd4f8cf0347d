"""Listings that ``--format`` shapes, as Docker's do; and times and names as people read them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import print_table, print_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from repro.digest import Json

FORMAT_HELP = "print each as a template says, such as '{{ .ID }} {{ .Size }}'; 'table ...' with a head; json"


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``."""
    parser.add_argument("--format", metavar="'{{ .Field }}'", help=FORMAT_HELP)


def print_formatted(template: str, rows: Sequence[Mapping[str, Json]]) -> None:
    """Print each row as the template says; ``table`` before it aligns what tabs separate, below a head of field names.

    UsageError for a template that is not understood, also where there is no row.
    """
    text = template.strip()
    if text == "json":
        text = "{{ json . }}"
    words = text.removeprefix("table ").strip() if text.startswith("table ") else None
    shape = api.Template(text if words is None else words, escapes=True)
    filled = [shape.fill(row) for row in rows]
    if words is None:
        for line in filled:
            print_text(line)
        return
    head = api.Template(words, escapes=True).fill(_Heads())
    print_table(head.split("\t"), _even([line.split("\t") for line in filled], head.count("\t") + 1))


def _even(rows: list[list[str]], count: int) -> list[list[str]]:
    return [[*row[: count - 1], "\t".join(row[count - 1 :])] + [""] * (count - len(row)) for row in rows]


class _Heads(dict[str, "Json"]):
    """Answers to each field with its name in words, as Docker heads its tables: ``CREATED SINCE``."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> str:
        spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in name)
        return name if name.isupper() else spaced.strip().upper()


def shown_time(text: str, now: datetime) -> str:
    """Return a time as a table has it: how long ago for a person, as it is written for a program."""
    return since(text, now) if sys.stdout.isatty() else text


def since(text: str, now: datetime) -> str:
    """Return how long ago a time (RFC 3339) was, as Docker says it; text that is no time as it is."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text
    seconds = (now - (then if then.tzinfo is not None else then.replace(tzinfo=UTC))).total_seconds()
    if seconds < 0:
        return text
    return f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    """Return a time span in its largest unit, as go-units has it."""
    minutes, hours = seconds / 60, round(seconds / 3600)
    days = int(seconds / 86400)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"
    if minutes < 60:
        return "About a minute" if int(minutes) == 1 else f"{int(minutes)} minutes"
    if hours < 48:
        return "About an hour" if hours <= 1 else f"{hours} hours"
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    return f"{days // 30} months" if days < 730 else f"{days // 365} years"
