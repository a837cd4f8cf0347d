"""`repro image pull` and `repro image push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, add_progress, print_json, progress
from repro.errors import ReproError

if TYPE_CHECKING:
    import argparse

    from repro.api import Transferred

PULL_EPILOG = """\
Prints NAME@DIGEST, by which anyone gets the same bytes from the registry. Of an image for several platforms this
machine's is taken. What was fetched before it broke off is not fetched again.
"""
PUSH_EPILOG = """\
The name says where to: repro image tag results registry.example.org/lab/results:1.0, then push that. Layers that the
registry has are not sent. Prints NAME@DIGEST, to be cited.
"""


def add_pull(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pull`."""
    parser.add_argument("images", metavar="NAME", nargs="+", help="an image's name, with a tag or @DIGEST")
    _add_shared(parser)
    parser.epilog = PULL_EPILOG


def add_push(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `push`."""
    parser.add_argument("images", metavar="NAME", nargs="+", help="an image's name in the store, with its registry")
    parser.add_argument(
        "--compression", choices=("gzip", "zstd"), default="gzip", help="of layers that were never sent (default: gzip)"
    )
    _add_shared(parser)
    parser.epilog = PUSH_EPILOG


def _add_shared(parser: argparse.ArgumentParser) -> None:
    add_progress(parser)
    add_json(parser)
    parser.set_defaults(explain=False)


def run(options: argparse.Namespace) -> int:
    """Pull or push each; the first failure ends it."""
    host = api.Host.current()
    done: list[Transferred] = []
    with progress(options) as display:
        try:
            for name in options.images:
                if options.action == "pull":
                    done.append(api.pull_image(host, name, sink=display))
                else:
                    done.append(api.push_image(host, name, sink=display, compression=options.compression))
        except ReproError as error:
            display.finish()
            display.failed(error)
            return error.exit_status
    if options.json:
        print_json(done)
    else:
        for one in done:
            print(f"{one.name.partition('@')[0]}@{one.digest}")
    return 0
