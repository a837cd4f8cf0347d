"""`repro image`: one module a subcommand, with Docker's own flags and spellings wherever it has them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

_COMMANDS: Final = {  # name: what its help says, in the order of `repro image --help`
    "ls": "list the images in the store",
    "inspect": "print an image's configuration as JSON",
    "history": "print the steps that made an image",
    "diff": "say in which files and packages two images differ",
    "tag": "give an image a further name",
    "rm": "take names away, and images with their last one",
    "prune": "remove the images that have no name",
    "save": "write images into an archive, for other machines and tools",
    "load": "take images from an archive",
    "pull": "take images from a registry",
    "push": "send images to a registry",
    "build": "build an image from a Dockerfile",
}
_HOMES: Final = {"pull": "image_transfer", "push": "image_transfer"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(
        dest="action", required=True, metavar=" | ".join(_COMMANDS), parser_class=Subparser
    )
    for name, line in _COMMANDS.items():
        module = _module(name)
        add = getattr(module, f"add_{name}", None) or module.add_arguments
        sub = commands.add_parser(name, help=line)
        add(sub)
        sub.epilog = sub.epilog or getattr(module, "EPILOG", None)


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    status = _module(options.action).run(options)
    assert isinstance(status, int)
    return status


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"repro.cli.{_HOMES.get(name, f'image_{name}')}")
