"""Arguments and printing that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from repro.errors import visible
from repro.events import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.api.host import Host
    from repro.cli.console import Console
    from repro.cli.run_console import RunConsole
    from repro.errors import ReproError
    from repro.events import Event

# In JSON only text can hold these: controls beyond ASCII, what turns the writing direction, halves of surrogate pairs.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def add_workflow(parser: argparse.ArgumentParser) -> None:
    """Add the optional workflow file."""
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="the workflow file (default: workflow.yaml)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def add_vendor(parser: argparse.ArgumentParser) -> None:
    """Add ``--vendor``."""
    text = "take packages and images from DIR (a folder that `repro lock --vendor` made, or its URL) where it has them"
    parser.add_argument("--vendor", metavar="DIR", help=f"{text}; default: $REPRO_VENDOR")


def host_for(options: argparse.Namespace) -> Host:
    """Return the host, with the vendor folder that the options name."""
    from repro import api  # noqa: PLC0415 - not for commands that start without it

    host = api.Host.current()
    if options.vendor is None:
        return host
    named = options.vendor if "://" in options.vendor else (host.cwd / options.vendor).resolve().as_uri()
    return replace(host, environ={**host.environ, "REPRO_VENDOR": named})


@contextlib.contextmanager
def run_console(options: argparse.Namespace) -> Iterator[RunConsole]:
    """Give the console of a run that the options ask for; leave the terminal clean."""
    from repro.cli.run_console import RunConsole  # noqa: PLC0415 - for runs only

    drawn = RunConsole(os.environ, quiet=options.quiet, verbose=options.verbose)
    try:
        yield drawn
    finally:
        drawn.finish()


@contextlib.contextmanager
def console(options: argparse.Namespace) -> Iterator[Console]:
    """Give the console that the options ask for; leave the terminal clean."""
    from repro.cli.console import Console  # noqa: PLC0415 - listings draw nothing

    drawn = Console(os.environ, quiet=options.quiet, verbose=options.verbose)
    try:
        yield drawn
    finally:
        drawn.finish()


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress`` and ``--quiet``."""
    parser.add_argument(
        "--progress",
        choices=("auto", "plain", "tty", "json"),
        default="auto",
        help="what stderr shows: a moving display (tty), lines (plain), JSON lines (json); auto: tty or plain",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="only warnings, failures and the result"
    )


class BuildDisplay(Protocol):
    """Draws a build: a sink of events that can also tell how it ended."""

    def __call__(self, event: Event, /) -> None:
        """Draw one event; safe from any thread."""

    def failed(self, error: ReproError) -> None:
        """Tell the error that ended the build."""

    def finish(self) -> None:
        """Leave the terminal clean; nothing is drawn afterwards."""


@contextlib.contextmanager
def progress(options: argparse.Namespace, *, named: bool = False) -> Iterator[BuildDisplay]:
    """Give the display that ``--progress`` asks for; ``named``: several images are built, so their names are shown."""
    drawn = _display(options, named=named)
    try:
        yield drawn
    finally:
        drawn.finish()


def _display(options: argparse.Namespace, *, named: bool) -> BuildDisplay:
    kind = options.progress
    if kind == "json":
        from repro.cli.json_lines import JsonProgress  # noqa: PLC0415 - one of them is needed

        return JsonProgress()
    if options.quiet:
        from repro.cli.console import Console  # noqa: PLC0415

        return Console(os.environ, quiet=True)
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if kind == "tty" and not terminal:
        from repro.errors import UsageError  # noqa: PLC0415

        raise UsageError("--progress=tty needs a terminal on stderr", hint="use --progress=plain")
    if kind == "plain" or not terminal:
        from repro.cli.plain import PlainProgress  # noqa: PLC0415

        return PlainProgress(os.environ, named=named, explain=options.explain)
    from repro.cli.live import LiveProgress  # noqa: PLC0415

    return LiveProgress(os.environ, named=named, explain=options.explain)


def print_json(value: object) -> None:
    """Print ``value`` (dataclasses, digests, mappings, tuples) as indented JSON, what a terminal obeys escaped."""
    text = json.dumps(as_json(value), indent=2, ensure_ascii=False)
    print(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_text(text: str) -> None:
    """Print what may come from a stranger: as it is for a program, harmless on a terminal."""
    print(visible(text) if sys.stdout.isatty() else text)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, padded, the head in capitals as Docker's listings have it."""
    lines = [tuple(name.upper() for name in head), *(tuple(visible(cell, "") for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
