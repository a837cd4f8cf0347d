"""`repro image load`, which reads what docker, podman, buildah, skopeo and umoci write."""

from __future__ import annotations

import argparse
import sys

from repro import api
from repro.cli.arguments import add_json, console, print_json

EPILOG = """\
Read are Docker's archives, OCI image layouts in a tar, and folders with one; tars may be compressed with gzip, zstd,
xz or bzip2. Of an image for several platforms this machine's is taken. Every byte is checked against its digest.
Example: ssh other 'docker save lab/results:1.0 | zstd' | repro image load
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("-i", "--input", metavar="FILE|DIR", help="the archive, or a folder (default: standard input)")
    add("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="only warnings and the result")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Load the images and print their names."""
    stdin = None if sys.stdin.isatty() else sys.stdin.buffer
    with console(options) as sink:
        loaded = api.load_images(api.Host.current(), options.input, stdin=stdin, sink=sink)
    if options.json:
        print_json(loaded)
        return 0
    for image in loaded:
        for name in image.names:
            print(f"Loaded image: {name}")
        if not image.names:
            print(f"Loaded image ID: {image.image_id}")
    return 0
