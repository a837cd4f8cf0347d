"""`repro image prune`, with the flags and spellings of `docker image prune`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json
from repro.cli.build_text import size_text
from repro.cli.image_rm import print_removal
from repro.errors import UsageError
from repro.events import ignore

if TYPE_CHECKING:
    import argparse

EPILOG = """\
An image without a name stays if the workflow.lock of the current folder names it. With -a every image goes, named ones
and those of workflows, too; what is needed is built or pulled again. Filters: until=TIME (24h, 7d, 2024-05-31),
label=KEY or KEY=VALUE, label!=... for images without.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="all images, also those that have names")
    add("-f", "--force", action="store_true", help="do not ask")
    add("--filter", action="append", default=[], metavar="KEY=VALUE", help="only images that fit (repeatable)")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Ask, and remove."""
    host = api.Host.current()
    if not options.force and not _agreed(host, options):
        return 0
    with console(options) as sink:
        removal = api.prune_images(host, every=options.all, filters=options.filter, sink=sink)
    if options.json:
        print_json({"untagged": removal.untagged, "deleted": removal.deleted, "freed": removal.freed})
        return 0
    print_removal(removal)
    print(f"Total reclaimed space: {size_text(0 if removal.freed is None else removal.freed.bytes)}")
    return 0


def _agreed(host: api.Host, options: argparse.Namespace) -> bool:
    """Ask on the terminal; UsageError where there is none."""
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError("there is no terminal to ask on", hint="give -f to remove without being asked")
    found = api.prune_images(host, every=options.all, filters=options.filter, dry_run=True, sink=ignore)
    what = "all images" if options.all else "the images that have no name"
    print(f"This removes {what}: {len(found.deleted)} of them.", file=sys.stderr)
    for name in found.untagged:
        print(f"  {name}", file=sys.stderr)
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
