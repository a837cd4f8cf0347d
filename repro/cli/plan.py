"""`repro plan`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json
from repro.cli.selecting import EPILOG, add_selection, selected

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="a line per job, also where there are more than 50")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print a line per job: cached, or why it would run, and which part of its key changed from what to what."""
    host = api.Host.current()
    print_planned(api.plan(host, *selected(host, options)), as_json=options.json, every=options.all)
    return 0


def print_planned(planned: api.Planned, *, as_json: bool, every: bool) -> None:
    """Print the jobs to stdout, the counts to stderr; or all as JSON."""
    if as_json:
        print_json(planned)
        return
    from repro.cli.plan_text import print_plan, summary  # noqa: PLC0415 - for people only

    print_plan(planned, every=every)
    print(summary(planned), file=sys.stderr)
