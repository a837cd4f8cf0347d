"""`repro schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.cli.arguments import print_json
from repro.workflow.schema import schema

if TYPE_CHECKING:
    import argparse

_EPILOG = """\
Editors with a YAML language server check a workflow as it is typed, and say what may stand where, with

  repro schema > workflow.schema.json

and this line at the top of the workflow:

  # yaml-language-server: $schema=workflow.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: it has none."""
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command's
    """Print the JSON Schema of workflow files."""
    print_json(schema())
    return 0
