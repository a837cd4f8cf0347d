"""`repro build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, add_workflow, console, print_json, print_table

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    parser.add_argument("-e", "--environment", action="append", metavar="NAME", help="build this one only (repeatable)")
    parser.add_argument("--no-cache", action="store_true", help="run every instruction again")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the image ID of each environment."""
    with console(options) as sink:
        built = api.build(
            api.Host.current(),
            options.workflow,
            environments=tuple(options.environment or ()),
            no_cache=options.no_cache,
            sink=sink,
        )
    if options.json:
        print_json(built)
    else:
        rows = [(image.environment, str(image.image_id), image.tag) for image in built]
        print_table(("environment", "image id", "tag"), rows)
    return 0
