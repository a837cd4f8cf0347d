"""`repro data ls | get | put | check | tree | gc`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table, print_text
from repro.cli.build_text import size_text
from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

_PATHS = "the inputs meant, by their project paths (default: all)"
_EPILOG = """\
An input is pinned in workflow.lock by the digest of its bytes (docs/reference/data.md).

  repro data ls                         what is pinned, and where its bytes are
  repro data get --to here ref/tx.fa.gz have it in a folder, as an ordinary file
  repro data check                      ask the sources: is what was locked still there?
"""
_LIST: Final = """\
Nothing is fetched, and no source asked. STATE says where the bytes are: `in place` (on this machine, bound from there),
`missing` (they should be there), `cached`, or `elsewhere` (fetched when a job needs them); else that the input is
`not locked`, or `declared anew` since it was. STANDING is `proven` where the digest is that of the bytes, `asserted`
where a fingerprint stands for them.

  repro data ls                         the inputs of workflow.yaml
  repro data ls -f other.yaml --json    those of another workflow, with digests in full
"""
_GET: Final = """\
Each input is printed with the path where its bytes are: in the cache, or, of what lies on this machine, its own place.
Neither is for writing to; --to makes copies that are (reflinks where the file system has them), and refuses where other
bytes are in the way. What is not locked yet is locked first.

  repro data get                        have all of them, before work without a network
  repro data get --to here ref/tx.fa.gz also as an ordinary file, here/ref/tx.fa.gz
"""
_PUT: Final = """\
All files of a folder go, or none, with a list of their checksums (SHA256SUMS); a single file has `NAME.sha256` beside
it, but on S3, where the digest is in the object's metadata. What is there with the same bytes is not sent again, and
what was interrupted goes on. Other bytes that are there are an error, unless --replace says that they may go.

  repro data put table.csv s3://lab-bucket/2026/               a file into a folder
  repro data put results/ sftp://server.example/srv/results/   a folder
"""
_CHECK: Final = """\
What lies on this machine is looked at; other sources are asked for sizes, versions and ETags. STATE is `ok`, `moved on`
(there is a newer version, and the locked one can still be had), `changed`, `gone`, `damaged` (the copy in the cache,
which is removed), `not locked`, or `unknown` (the source did not answer). The lock stays as it is: to accept what is
there now is `repro lock --upgrade PATH`. Exit status: 0 all are `ok` or `moved on`, 1 some are not; 2 and more as
`repro --help` says.

  repro data check                      ask for all inputs
  repro data check --full raw/          read every byte of one, and of its copy in the cache
"""
_TREE: Final = """\
A line has the sha256 of a file, its size in bytes and its name; the last line has the digest of the whole, as a lock or
a record has it. An input is printed as it is locked, and its source is not asked; anything else on this machine as it
is now, for which no workflow is needed.

  repro data tree raw/                  an input
  repro data tree /mnt/runs/2026-10     any folder
"""
_COLLECT: Final = """\
Files and folders in the cache ($REPRO_CACHE: data, packages) and broken-off downloads go, those first that were not
used for longest, until it takes at most SIZE. What is needed again is fetched again, where its source still has it.
While another process uses the cache nothing is removed; exit status 5. Where $REPRO_CACHE_LIMIT is set, each run ends
with the same.

  repro data gc --limit 50GB --dry-run  what would go
  repro data gc --limit 0               all that was fetched
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(
        dest="action", required=True, metavar="ls | get | put | check | tree | gc", parser_class=Subparser
    )
    listing = commands.add_parser("ls", help="list the inputs of a workflow and where their bytes are")
    listing.epilog = _LIST
    _add_file(listing)
    add_json(listing)
    get = commands.add_parser("get", help="fetch inputs, and say where they are")
    get.epilog = _GET
    get.add_argument("paths", nargs="*", metavar="PATH", help=_PATHS)
    get.add_argument("--to", metavar="DIR", help="also put them into DIR, at their project paths")
    _add_file(get)
    add_json(get)
    put = commands.add_parser("put", help="bring a file, or a folder, to an address")
    put.epilog = _PUT
    put.add_argument("path", metavar="FILE", help="a file or folder of this machine")
    put.add_argument("uri", metavar="URI", help="where it goes: s3://, nfs://, smb://, sftp://, file:// or a path")
    put.add_argument("--replace", action="store_true", help="replace what is there")
    add_json(put)
    check = commands.add_parser("check", help="say whether what was locked can still be had from its source; 1 if not")
    check.epilog = _CHECK
    check.add_argument("paths", nargs="*", metavar="PATH", help=_PATHS)
    check.add_argument("--full", action="store_true", help="read every byte instead of asking for sizes and versions")
    _add_file(check)
    add_json(check)
    tree = commands.add_parser("tree", help="print the files of an input, or of any folder, with their digests")
    tree.epilog = _TREE
    tree.add_argument("path", metavar="PATH", help="an input's project path, or a path of this machine")
    _add_file(tree)
    add_json(tree)
    collect = commands.add_parser("gc", help="remove fetched data that was not used for longest")
    collect.epilog = _COLLECT
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
    return _print(options, found, (f"{one.path} {one.place}" for one in found))


def _put(options: argparse.Namespace) -> int:
    with console(options) as sink:
        sent = api.put_data(api.Host.current(), options.path, options.uri, replace=options.replace, sink=sink)
    return _print(options, sent, (f"{one.address}  {one.digest}  {one.state}" for one in sent))


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
    files = (f"{file.digest.hex}  {file.size:>12}  {file.name}" for file in found.files)
    whole = f"{found.digest}  {found.size} bytes in {found.count} files  {found.path}"
    return _print(options, found, chain(files, [whole]))


def _collect(options: argparse.Namespace) -> int:
    with console(options) as sink:
        freed = api.collect_data(api.Host.current(), limit=options.limit, dry_run=options.dry_run, sink=sink)
    verb = "would go" if options.dry_run else "removed"
    sizes = f"{size_text(freed.bytes)}; left: {size_text(freed.left)}"
    return _print(options, freed, [f"{verb}: {freed.count} files and folders, {sizes}"])


def _print(options: argparse.Namespace, found: object, lines: Iterable[str]) -> int:
    """Print what was found, as JSON where that is asked for, else in ``lines``; return 0."""
    if options.json:
        print_json(found)
    else:
        for line in lines:
            print_text(line)
    return 0
