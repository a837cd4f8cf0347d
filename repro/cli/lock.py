"""`repro lock`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, add_workflow, console, print_json, print_table, print_text

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

_EPILOG = """\
`repro lock` resolves what is new and what has changed; every version stays that still fits. Commit workflow.lock.

  repro lock --upgrade                  take what there is today, for everything
  repro lock --upgrade plot             for one environment (repeatable); a base is named as in archive:debian/bookworm
  repro lock --upgrade raw/reads.fq     for one input, by its project path: accept the bytes that are there now
  repro lock --upgrade data/atlas.nii   for an output of a step with `fetch: true`: accept what the next run fetches
  repro lock --diff                     say what would change, and write nothing; with --upgrade as well
  repro lock --check                    say of each package, image and input whether it can still be had, and from where
  repro lock --vendor vendor/           keep all the bytes in a folder; build from it with REPRO_VENDOR=vendor/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    add_workflow(parser)
    parser.add_argument(
        "--upgrade",
        action="append",
        nargs="?",
        const="",
        metavar="NAME",
        help="resolve anew, to what there is today: all, or what NAME names (see below; repeatable)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--diff", action="store_true", help="print what would change; write nothing")
    only.add_argument("--check", action="store_true", help="print where each file can be had; 1 if one is gone")
    only.add_argument("--vendor", metavar="DIR", help="keep all the bytes that the lock names in DIR")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Write workflow.lock and print what changed in it; or do what the other options say instead."""
    host = api.Host.current()
    if options.check:
        return _check(host, options)
    names = _names(host, options)
    with console(options) as sink:
        changes = api.lock(host, options.workflow, upgrade=names, dry=options.diff, sink=sink)
        kept = api.vendor_lock(host, options.workflow, options.vendor, sink=sink) if options.vendor else None
    if options.json:
        print_json({"changes": list(changes), **({} if kept is None else {"vendored": kept})})
        return 0
    print_text("\n".join(changes) if changes else "workflow.lock is up to date")
    if kept is not None:
        images = f", {kept.images} images" if kept.images else ""
        print_text(f"{options.vendor} has {kept.files} files ({kept.bytes} bytes){images}; {kept.fresh} are new")
    return 0


def _names(host: api.Host, options: argparse.Namespace) -> tuple[str, ...] | None:
    """Return what to upgrade: None is nothing, no names are all. A workflow's file behind --upgrade is just that."""
    if options.upgrade is None:
        return None
    names = [name for name in options.upgrade if name]
    files = [name for name in names if _is_workflow(host.cwd / name)]
    if files and options.workflow is None:
        options.workflow = files[-1]
        names.remove(files[-1])
    return tuple(names)


def _is_workflow(path: Path) -> bool:
    """Return whether a workflow is there; an input of that path would be data, and no YAML of ours."""
    return (path / "workflow.yaml").is_file() or (path.suffix in (".yaml", ".yml") and path.is_file())


def _check(host: api.Host, options: argparse.Namespace) -> int:
    """Print where the files of the lock can be had; return 1 if one is gone."""
    with console(options) as sink:
        found = api.check_lock(host, options.workflow, sink=sink)
    lost = [one for one in found if one.gone]
    if options.json:
        print_json([{**{key: getattr(one, key) for key in one.__slots__}, "gone": one.gone} for one in found])
        return 1 if lost else 0
    rows = []
    for entry in dict.fromkeys(one.entry for one in found):
        there = [one for one in found if one.entry == entry]
        places = Counter(place for one in there for place in one.places)
        counts = (str(places[place]) for place in ("cache", "store", "vendor", "origin"))
        rows.append((entry, str(len(there)), *counts, str(sum(one.gone for one in there))))
    print_table(("entry", "files", "cache", "store", "vendor", "origin", "gone"), rows)
    for one in lost:
        print_text(f"gone: {one.entry}: {one.name}" + (f" ({one.doubt})" if one.doubt else ""))
    return 1 if lost else 0
