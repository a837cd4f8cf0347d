"""`repro env ls | render | export | diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro import api
from repro.cli.arguments import add_json, add_workflow, console, print_json, print_table, print_text
from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse

    from repro.api.env_diff import EnvironmentDifference

_DIFF: Final = """\
A and B are each an environment of the workflow, as locked; a lock file (old.lock), or one environment of it
(old.lock#NAME); what a run used (RUN#NAME, `last#NAME`); or an image, by name or ID. Between two locks bases and
sources are compared, too. Exit status: 0 no difference, 1 some; 2 and more as `repro --help` says.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    metavar = "ls | render | export | diff"
    commands = parser.add_subparsers(dest="action", required=True, metavar=metavar, parser_class=Subparser)
    listing = commands.add_parser("ls", help="list the environments and how they stand")
    add_workflow(listing)
    add_json(listing)
    render = commands.add_parser("render", help="print an environment's Dockerfile; build nothing")
    render.add_argument("name", metavar="ENV", help="the environment")
    add_workflow(render)
    export = commands.add_parser("export", help="write an environment as a folder for `docker build`")
    export.add_argument("name", metavar="ENV", help="the environment")
    export.add_argument("folder", metavar="DIR", help="the folder to write: new, or empty")
    add_workflow(export)
    diff = commands.add_parser("diff", help="say which packages two environments do not have in common")
    diff.add_argument("first", metavar="A", help="an environment, a lock file, RUN#NAME or an image")
    diff.add_argument("second", metavar="B", help="what is compared with it")
    add_workflow(diff)
    add_json(diff)
    diff.epilog = _DIFF


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says; for ``diff`` 1 where something differs."""
    return {"ls": _list, "render": _render, "export": _export, "diff": _diff}[options.action](options)


def _list(options: argparse.Namespace) -> int:
    rows = api.list_environments(api.Host.current(), options.workflow)
    if options.json:
        print_json(rows)
        return 0
    lines = []
    for row in rows:
        packages = ", ".join(f"{count} {kind}" for kind, count in row.packages.items())
        image = "" if row.image_id is None else row.image_id.short if row.built else f"{row.image_id.short} (not here)"
        lines.append((row.name, row.kind, row.base, packages, row.state, image))
    print_table(("environment", "kind", "base", "packages", "state", "image id"), lines)
    return 0


def _render(options: argparse.Namespace) -> int:
    with console(options) as sink:
        text = api.render_environment(api.Host.current(), options.workflow, options.name, sink=sink)
    print_text(text.removesuffix("\n"))
    return 0


def _export(options: argparse.Namespace) -> int:
    with console(options) as sink:
        made = api.export_environment(api.Host.current(), options.workflow, options.name, options.folder, sink=sink)
    print_text(str(made))
    return 0


def _diff(options: argparse.Namespace) -> int:
    found = api.diff_environments(api.Host.current(), options.workflow, options.first, options.second)
    if options.json:
        rows = [
            {
                "environment": one.environment,
                "change": one.change,
                "kind": one.kind,
                "name": one.name,
                "before": one.before,
                "after": one.after,
            }
            for one in found.changes
        ]
        print_json({"first": found.first, "second": found.second, "changes": rows})
    elif found.changes:
        _print_changes(found)
    return 1 if found.changes else 0


def _print_changes(found: EnvironmentDifference) -> None:
    head: tuple[str, ...] = ("kind", "name", "before", "after")
    rows: list[tuple[str, ...]] = [(one.kind, one.name, one.before or "-", one.after or "-") for one in found.changes]
    if any(one.environment for one in found.changes):
        head = ("environment", *head)
        rows = [(one.environment, *row) for one, row in zip(found.changes, rows, strict=True)]
    print_table(head, rows)
    counts = [
        f"{number} {change}"
        for change in ("added", "removed", "changed")
        if (number := sum(1 for one in found.changes if one.change == change))
    ]
    print(f"\n{', '.join(counts)} from {found.first} to {found.second}")
