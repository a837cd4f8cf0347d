"""`repro image rm`, with Docker's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json
from repro.cli.main import print_error

if TYPE_CHECKING:
    import argparse

    from repro.api import Removal

EPILOG = """\
A name is taken away; the image goes with its last name. An image ID removes the image, if it has one name or none; with
more only by -f. What only a removed image needed is freed, but for what the build cache knows (`repro store gc
--cache`). Workflows whose image went build it again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a name, an image ID or the start of one")
    parser.add_argument("-f", "--force", action="store_true", help="with an ID: also if the image has several names")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Remove each; the exit status is that of the first that could not be."""
    with console(options) as sink:
        removal = api.remove_images(api.Host.current(), options.images, force=options.force, sink=sink)
    if options.json:
        print_json({"untagged": removal.untagged, "deleted": removal.deleted, "freed": removal.freed})
    else:
        print_removal(removal)
    for error in removal.failed:
        print_error(error)
    return removal.failed[0].exit_status if removal.failed else 0


def print_removal(removal: Removal) -> None:
    """Print what went, in Docker's words."""
    for name in removal.untagged:
        print(f"Untagged: {name}")
    for image_id in removal.deleted:
        print(f"Deleted: {image_id}")
