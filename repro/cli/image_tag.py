"""`repro image tag`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api

if TYPE_CHECKING:
    import argparse

EPILOG = """\
Names are Docker's: no registry means docker.io, no tag means latest. To send an image to a registry, name it with that:
repro image tag results registry.example.org/lab/results:1.0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", metavar="SOURCE", help="a name, an image ID or the start of one")
    parser.add_argument("target", metavar="TARGET", help="the name to give; another image that has it loses it")


def run(options: argparse.Namespace) -> int:
    """Name the image; say nothing, as Docker."""
    api.tag_image(api.Host.current(), options.source, options.target)
    return 0
