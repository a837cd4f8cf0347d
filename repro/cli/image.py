"""`repro image ls | inspect | build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli import image_build
from repro.cli.arguments import add_json, print_json, print_table
from repro.cli.build_text import size_text
from repro.cli.main import Parser

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments; Docker's own flags and spellings."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ls | inspect | build", parser_class=_Sub)
    listing = commands.add_parser("ls", help="list the images in the store")
    listing.add_argument("--no-trunc", action="store_true", help="print image IDs in full")
    add_json(listing)
    inspect = commands.add_parser("inspect", help="print an image's configuration as JSON")
    inspect.add_argument("image", metavar="IMAGE", help="a name, an image ID or the start of one")
    inspect.add_argument(
        "-f", "--format", metavar="'{{ .Field }}'", help="print only this field, such as '{{ .Size }}'"
    )
    build = commands.add_parser("build", help="build an image from a Dockerfile")
    image_build.add_arguments(build)
    build.epilog = image_build.EPILOG


class _Sub(Parser):
    """A subcommand's parser: argparse makes it with keywords of its own."""

    def __init__(self, prog: str, **_: object) -> None:
        super().__init__(prog, "")


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    host = api.Host.current()
    if options.action == "ls":
        images = api.list_images(host)
        if options.json:
            print_json(images)
        else:
            rows = [
                (
                    image.name,
                    str(image.image_id) if options.no_trunc else image.image_id.short,
                    image.created,
                    size_text(image.size),
                )
                for image in images
            ]
            print_table(("name", "image id", "created", "size"), rows)
    elif options.action == "inspect":
        inspected = api.inspect_image(host, options.image)
        if options.format is None:
            print_json([inspected])
        else:
            print(api.format_fields(options.format, inspected))
    else:
        return image_build.run(options)
    return 0
