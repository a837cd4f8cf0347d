"""`repro build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import (
    add_json,
    add_progress,
    add_vendor,
    add_workflow,
    host_for,
    print_json,
    print_table,
    progress,
)
from repro.errors import ReproError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    parser.add_argument("-e", "--environment", action="append", metavar="NAME", help="build this one only (repeatable)")
    parser.add_argument("--no-cache", action="store_true", help="run every instruction again")
    parser.add_argument("--explain", action="store_true", help="say why each instruction came from the cache, or not")
    parser.add_argument("--verify", action="store_true", help="build again under other conditions, and compare")
    parser.add_argument(
        "--no-normalize",
        action="store_true",
        help="keep logs and caches that regenerate; such an image gets no name, and no lock knows it",
    )
    add_vendor(parser)
    add_progress(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the image ID of each environment; return 1 if --verify found a difference."""
    manner = api.Manner(options.no_cache, normalize=not options.no_normalize, explain=options.explain)
    with progress(options, named=True) as display:
        try:
            built = api.build(
                host_for(options),
                options.workflow,
                environments=tuple(options.environment or ()),
                manner=manner,
                verify=options.verify,
                sink=display,
            )
        except ReproError as error:
            display.finish()
            display.failed(error)
            return error.exit_status
    if options.json:
        print_json([_for_programs(image) for image in built])
    else:
        rows = [(image.environment, str(image.image_id), image.tag) for image in built]
        print_table(("environment", "image id", "tag"), rows)
    verdicts = [(image.environment, image.verdict) for image in built if image.verdict is not None]
    if verdicts:
        from repro.cli.verdict import print_verdict  # noqa: PLC0415 - only after --verify

        for name, verdict in verdicts:
            print_verdict(verdict, name)
    return 0 if all(verdict.same for _, verdict in verdicts) else 1


def _for_programs(image: api.BuiltImage) -> dict[str, object]:
    fields: dict[str, object] = {"environment": image.environment, "image_id": image.image_id, "tag": image.tag}
    return fields if image.verdict is None else {**fields, "verdict": image.verdict.as_json()}
