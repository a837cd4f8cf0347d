"""`repro lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_workflow, console

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    parser.add_argument("--upgrade", action="store_true", help="resolve everything anew, to what the archive has today")


def run(options: argparse.Namespace) -> int:
    """Write workflow.lock and print what changed in it."""
    with console(options) as sink:
        changes = api.lock(api.Host.current(), options.workflow, upgrade=options.upgrade, sink=sink)
    print("\n".join(changes) if changes else "workflow.lock is up to date")
    return 0
