"""`repro data ls | get | put | check | tree | gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table, print_text
from repro.cli.build_text import size_text
from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_PATHS = "the inputs meant, by their project paths (default: all)"
_EPILOG = """\
An input is pinned in workflow.lock by the digest of its bytes (docs/reference/data.md).

  repro data ls                         what is pinned, and where its bytes are
  repro data get --to ref/ ref/tx.fa.gz have it in a folder, as an ordinary file
  repro data check                      ask the sources: is what was locked still there?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(
        dest="action", required=True, metavar="ls | get | put | check | tree | gc", parser_class=Subparser
    )
    listing = commands.add_parser("ls", help="list the inputs of a workflow and where their bytes are")
    _add_file(listing)
    add_json(listing)
    get = commands.add_parser("get", help="fetch inputs, and say where they are")
    get.add_argument("paths", nargs="*", metavar="PATH", help=_PATHS)
    get.add_argument("--to", metavar="DIR", help="also put them into DIR, at their project paths")
    _add_file(get)
    add_json(get)
    put = commands.add_parser("put", help="bring a file, or a folder, to an address")
    put.add_argument("path", metavar="FILE", help="a file or folder of this machine")
    put.add_argument("uri", metavar="URI", help="where it goes: s3://, nfs://, smb://, sftp://, file:// or a path")
    put.add_argument("--replace", action="store_true", help="replace what is there")
    add_json(put)
    check = commands.add_parser("check", help="say whether what was locked can still be had from its source; 1 if not")
    check.add_argument("paths", nargs="*", metavar="PATH", help=_PATHS)
    check.add_argument("--full", action="store_true", help="read every byte instead of asking for sizes and versions")
    _add_file(check)
    add_json(check)
    tree = commands.add_parser("tree", help="print the files of an input, or of any folder, with their digests")
    tree.add_argument("path", metavar="PATH", help="an input's project path, or a path of this machine")
    _add_file(tree)
    add_json(tree)
    collect = commands.add_parser("gc", help="remove fetched data that was not used for longest")
    collect.add_argument(
        "--limit", metavar="SIZE", help="leave at most SIZE, such as 50GB (default: $REPRO_CACHE_LIMIT)"
    )
    collect.add_argument("--dry-run", action="store_true", help="remove nothing; say what would be")
    add_json(collect)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", dest="workflow", metavar="WORKFLOW", help="the workflow (default: workflow.yaml)"
    )


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says; for ``check`` 1 where a source has not what was locked."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "ls": _list,
        "get": _get,
        "put": _put,
        "check": _check,
        "tree": _tree,
        "gc": _collect,
    }
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    with console(options) as sink:
        rows = api.list_data(api.Host.current(), options.workflow, sink=sink)
    if options.json:
        print_json(rows)
        return 0
    lines = [
        (
            row.path,
            row.source,
            "-" if row.files is None else str(row.files),
            "-" if row.size is None else size_text(row.size),
            row.state,
            row.standing + (", private" if row.private else ""),
            "" if row.digest is None else row.digest.short,
        )
        for row in rows
    ]
    print_table(("path", "source", "files", "size", "state", "standing", "digest"), lines)
    return 0


def _get(options: argparse.Namespace) -> int:
    with console(options) as sink:
        found = api.get_data(api.Host.current(), options.workflow, options.paths, to=options.to, sink=sink)
    if options.json:
        print_json(found)
        return 0
    for one in found:
        print_text(f"{one.path} {one.place}")
    return 0


def _put(options: argparse.Namespace) -> int:
    with console(options) as sink:
        sent = api.put_data(api.Host.current(), options.path, options.uri, replace=options.replace, sink=sink)
    if options.json:
        print_json(sent)
        return 0
    for one in sent:
        print_text(f"{one.address}  {one.digest}  {one.state}")
    return 0


def _check(options: argparse.Namespace) -> int:
    with console(options) as sink:
        found = api.check_data(api.Host.current(), options.workflow, options.paths, full=options.full, sink=sink)
    wrong = [one for one in found if one.state not in ("ok", "moved on")]  # what has moved on can still be had
    if options.json:
        print_json(found)
    else:
        print_table(("path", "state", "detail"), [(one.path, one.state, one.detail) for one in found])
    return 1 if wrong else 0


def _tree(options: argparse.Namespace) -> int:
    with console(options) as sink:
        found = api.data_tree(api.Host.current(), options.workflow, options.path, sink=sink)
    if options.json:
        print_json(found)
        return 0
    for file in found.files:
        print_text(f"{file.digest.hex}  {file.size:>12}  {file.name}")
    print_text(f"{found.digest}  {found.size} bytes in {found.count} files  {found.path}")
    return 0


def _collect(options: argparse.Namespace) -> int:
    with console(options) as sink:
        freed = api.collect_data(api.Host.current(), limit=options.limit, dry_run=options.dry_run, sink=sink)
    if options.json:
        print_json(freed)
        return 0
    verb = "would go" if options.dry_run else "removed"
    print_text(f"{verb}: {freed.count} files and folders, {size_text(freed.bytes)}; left: {size_text(freed.left)}")
    return 0
