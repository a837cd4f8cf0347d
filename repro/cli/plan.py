"""`repro plan`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, add_workflow, print_json

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print a line per job: cached, or why it would run, and which part of its key changed from what to what."""
    planned = api.plan(api.Host.current(), options.workflow)
    if options.json:
        print_json(planned)
        return 0
    for state in planned.jobs:
        print(f"{state.status:8}  {state.job}  {state.why}".rstrip())
        for change in state.changes if len(state.changes) > 1 else ():  # one alone is the reason itself
            print(f"{'':10}  {change.part}: {change.old} -> {change.new}")
    counts = {name: sum(state.status == name for state in planned.jobs) for name in ("cached", "run", "pending")}
    print(
        f"{counts['cached']} cached, {counts['run']} to run, {counts['pending']} pending until their inputs are there",
        file=sys.stderr,
    )
    return 0
