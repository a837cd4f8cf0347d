"""`repro image ls`, with the flags and spellings of `docker image ls`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table
from repro.cli.build_text import size_text
from repro.cli.listings import add_format, print_formatted, shown_time, since

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from repro.api import ImageRow
    from repro.digest import Json

EPILOG = """\
Names may have wildcards: repro image ls 'lab/*'. Filters: dangling=true|false, label=KEY or KEY=VALUE (label!= for
without), reference=PATTERN, before=IMAGE, since=IMAGE, until=TIME (24h, 7d, 2024-05-31); several of one kind are
alternatives. SIZE is of the layers' files, UNIQUE of those of layers that no other image has. On a terminal CREATED is
how long ago; it is the time that the image bears, not that of its coming here.
Fields of --format: Name, Repository, Tag, ID, Digest, CreatedAt, CreatedSince, Size, UniqueSize, SharedSize.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("names", metavar="NAME", nargs="*", help="only images of these names; wildcards are understood")
    add("-q", "--quiet", action="store_true", dest="only_ids", help="print image IDs alone, each once")
    add("--digests", action="store_true", help="also the digest that the image has in the name's registry")
    add("--no-trunc", action="store_true", help="print image IDs in full")
    add("-a", "--all", action="store_true", help="accepted and without effect: there are no hidden images")
    add("-f", "--filter", action="append", default=[], metavar="KEY=VALUE", help="only images that fit (repeatable)")
    add_format(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the images."""
    host = api.Host.current()
    with console(options) as sink:
        images = api.list_images(host, options.names, options.filter, sink=sink)
    now = host.now()
    if options.json:
        print_json(images)
    elif options.only_ids:
        for image_id in dict.fromkeys(image.image_id for image in images):
            print(image_id if options.no_trunc else image_id.short)
    elif options.format is not None:
        print_formatted(options.format, [_fields(image, now, full=options.no_trunc) for image in images])
    else:
        head = ["name", "image id", "created", "size", "unique", "shared"]
        rows = [_row(image, now, full=options.no_trunc) for image in images]
        if options.digests:
            head.insert(1, "digest")
            rows = [[row[0], image.digest or "<none>", *row[1:]] for row, image in zip(rows, images, strict=True)]
        print_table(head, rows)
    return 0


def _row(image: ImageRow, now: datetime, *, full: bool) -> list[str]:
    image_id = str(image.image_id) if full else image.image_id.short
    if image.damaged:
        return [image.name, image_id, "damaged", "", "", ""]
    sizes = map(size_text, (image.size, image.unique, image.shared))
    return [image.name, image_id, shown_time(image.created, now), *sizes]


def _fields(image: ImageRow, now: datetime, *, full: bool) -> dict[str, Json]:
    """Return the fields that Docker's listing has, and Name."""
    repository, tag = _split(image.name)
    return {
        "Name": image.name,
        "Repository": repository,
        "Tag": tag,
        "ID": str(image.image_id) if full else image.image_id.short,
        "Digest": image.digest or "<none>",
        "CreatedAt": image.created,
        "CreatedSince": since(image.created, now),
        "Size": size_text(image.size),
        "UniqueSize": size_text(image.unique),
        "SharedSize": size_text(image.shared),
        "Containers": "N/A",
    }


def _split(name: str) -> tuple[str, str]:
    """Return a name's repository and tag; ``<none>`` for a tag that it does not have."""
    bare = name.partition("@")[0]
    slash, colon = bare.rfind("/"), bare.rfind(":")
    return (bare[:colon], bare[colon + 1 :]) if colon > slash else (bare, "<none>")
