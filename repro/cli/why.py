"""`repro why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="a result of a run, or an input of one")
    parser.add_argument(
        "--packages",
        action="store_true",
        help="list every package of each image, not only those named in the commands",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the file's lineage: digest, job, command, image and packages, then its inputs, down to raw ones."""
    lineage = api.why(api.Host.current(), options.file)
    if options.json:
        print_json(lineage)
    else:
        for line in api.lineage_lines(lineage, every_package=options.packages):
            print(line)
    return 0
