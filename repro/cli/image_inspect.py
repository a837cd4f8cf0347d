"""`repro image inspect`, which prints what `docker image inspect` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import print_json, print_text
from repro.cli.main import print_error
from repro.errors import ReproError

if TYPE_CHECKING:
    import argparse

EPILOG = """\
Templates are Docker's: '{{ .Id }}', '{{ json .Config.Env }}', '{{ index .RepoDigests 0 }}',
'{{ range $key, $value := .Config.Labels }}{{ $key }}={{ $value }}{{ println }}{{ end }}',
'{{ if .Config.User }}{{ .Config.User }}{{ else }}root{{ end }}', '{{ join .Config.Cmd " " }}'.
The exit status is that of the first image that could not be inspected; the others are printed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a name, an image ID or the start of one")
    parser.add_argument(
        "-f", "--format", metavar="'{{ .Field }}'", help="print this of each image, such as '{{ .Size }}'; json: all"
    )


def run(options: argparse.Namespace) -> int:
    """Print each image."""
    host = api.Host.current()
    template = None
    if options.format is not None:
        template = api.Template("{{ json . }}" if options.format == "json" else options.format)
    found, failed = [], []
    for name in options.images:
        try:
            found.append(api.inspect_image(host, name))
        except ReproError as error:
            failed.append(error)
    if template is None:
        print_json(found)
    else:
        for image in found:
            print_text(template.fill(image))
    for one in failed:
        print_error(one)
    return failed[0].exit_status if failed else 0
