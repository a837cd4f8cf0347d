"""`repro publish`."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table, print_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from repro.api.publish_records import PublishedFile

_EPILOG = """\
Outputs go where `publish:` of the workflow says, all or none (docs/how-to/publish.md). What is there with the same
bytes is not sent again; what was interrupted goes on.

  repro publish                         everything that `publish:` names
  repro publish results/                one entry of it; other workflows: repro publish other.yaml results/
  repro publish --dry-run               say what is there, what is missing, and what differs
  repro publish --list                  what was published when, from which run
"""
_SAID = {"missing": "to be sent", "differs": "other bytes are there"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.usage = "repro publish [OPTIONS] [WORKFLOW] [PATH ...]"
    parser.add_argument(
        "names",
        nargs="*",
        metavar="WORKFLOW | PATH",
        help="the workflow file or its folder (default: workflow.yaml), then entries of `publish:` (default: all)",
    )
    parser.add_argument("--replace", action="store_true", help="replace other files that are at the addresses")
    parser.add_argument("-n", "--dry-run", action="store_true", help="send nothing; say how each file stands")
    parser.add_argument("--list", action="store_true", help="list what was published, newest first")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Publish, and print a line per file; for a dry run 4 where other bytes are in the way."""
    host = api.Host.current()
    workflow, paths = _split(options.names)
    if options.list:
        return _list(host, workflow, paths, as_json=options.json)
    with console(options) as sink:
        let_interrupt()
        standing = api.publish(host, workflow, paths=paths, replace=options.replace, dry_run=options.dry_run, sink=sink)
    if options.json:
        print_json(standing)
    else:
        print_standing(standing)
    in_the_way = options.dry_run and not options.replace and any(file.state == "differs" for file in standing)
    return 4 if in_the_way else 0


def let_interrupt() -> None:
    """Have Ctrl-C, TERM and HUP raise KeyboardInterrupt: what was put in place is taken back before the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def print_standing(standing: Sequence[PublishedFile]) -> None:
    """Print a line for each published file."""
    for file in standing:
        print_text(f"{file.path} -> {file.address}  {file.digest.hex}  ({_SAID.get(file.state, file.state)})")


def _split(names: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the workflow, where the first name is one, and the paths."""
    first = names[0] if names else ""
    if first.endswith((".yaml", ".yml")) or (first and os.path.exists(os.path.join(first, "workflow.yaml"))):
        return first, tuple(names[1:])
    return None, tuple(names)


def _list(host: api.Host, workflow: str | None, paths: Sequence[str], *, as_json: bool) -> int:
    records = api.published(host, workflow)
    wanted = tuple(path.rstrip("/") for path in paths)
    rows = [
        (record, file)
        for record in records
        for file in record.files
        if not wanted or any(file.path == path or file.path.startswith(f"{path}/") for path in wanted)
    ]
    if as_json:
        print_json(
            [
                {"time": record.time, "run": record.run, "workflow": record.workflow, "file": file}
                for record, file in rows
            ]
        )
        return 0
    lines = [
        (record.time, record.run, file.path, file.address, str(file.size), file.digest.short) for record, file in rows
    ]
    print_table(("time", "run", "path", "address", "size", "digest"), lines)
    return 0
