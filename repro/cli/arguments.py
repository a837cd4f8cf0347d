"""Arguments and printing that several commands share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING

from repro.cli.console import Console
from repro.events import as_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


def add_workflow(parser: argparse.ArgumentParser) -> None:
    """Add the optional workflow file."""
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="the workflow file (default: workflow.yaml)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


@contextlib.contextmanager
def console(options: argparse.Namespace) -> Iterator[Console]:
    """Give the console that the options ask for; leave the terminal clean."""
    drawn = Console(os.environ, quiet=options.quiet, verbose=options.verbose)
    try:
        yield drawn
    finally:
        drawn.finish()


def print_json(value: object) -> None:
    """Print ``value`` (dataclasses, digests, mappings, tuples) as indented JSON."""
    json.dump(as_json(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, padded, the head in capitals as Docker's listings have it."""
    lines = [tuple(name.upper() for name in head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
