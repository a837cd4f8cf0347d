"""`repro image ls | inspect | build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table
from repro.cli.console import size_text
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
    build.add_argument("context", metavar="PATH", help="the build context, a folder")
    build.add_argument("-f", "--file", metavar="FILE", help="the Dockerfile (default: PATH/Dockerfile)")
    build.add_argument("-t", "--tag", action="append", default=[], metavar="NAME", help="name the image (repeatable)")
    build.add_argument("--target", metavar="STAGE", help="stop at this stage")
    build.add_argument("--build-arg", action="append", default=[], metavar="K=V", help="set an ARG (repeatable)")
    build.add_argument("--label", action="append", default=[], metavar="K=V", help="set a label (repeatable)")
    build.add_argument("--no-cache", action="store_true", help="run every instruction again")
    build.add_argument("--network", choices=("host", "none", "default"), default="host", help="of RUN (default: host)")


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
        with console(options) as sink:
            image_id = api.build_image(
                host,
                options.context,
                file=options.file,
                tags=tuple(options.tag),
                target=options.target,
                args=api.pairs(options.build_arg, "--build-arg", host.environ),
                labels=api.pairs(options.label, "--label", {}),
                no_cache=options.no_cache,
                network=options.network,
                sink=sink,
            )
        print(image_id)
    return 0
