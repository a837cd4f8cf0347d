"""`repro image save`, which writes what `docker load`, `podman load`, skopeo and umoci read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from repro import api

if TYPE_CHECKING:
    import argparse

_FORMATS: Final = ("docker-archive", "oci-archive", "oci-dir")
EPILOG = """\
docker-archive is what `docker save` writes; oci-archive is an OCI image layout in a tar, oci-dir the same as a folder,
to which images can be added. In OCI formats an image that was pulled or loaded keeps its manifest and its compressed
layers, and so its digest. Example: repro image save -o results.tar lab/results:1.0; gzip or zstd it as you like.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+", help="a name, which the image keeps; or an image ID, without a name then")
    add("-o", "--output", metavar="FILE", help="the archive, or the folder of oci-dir (default: standard output)")
    add("--format", choices=_FORMATS, default=_FORMATS[0], help=f"what to write (default: {_FORMATS[0]})")


def run(options: argparse.Namespace) -> int:
    """Write the archive."""
    stdout = None if sys.stdout.isatty() else sys.stdout.buffer
    api.save_images(api.Host.current(), options.images, dest=options.output, form=options.format, stdout=stdout)
    return 0
