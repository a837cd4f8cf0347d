"""`repro store df | gc | check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, console, print_json, print_table
from repro.cli.build_text import size_text
from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse

    from repro.oci.checking import Finding, Report
    from repro.oci.keeping import Freed
    from repro.oci.usage import Usage

_FOREIGN = "it belongs to IDs that this process does not have"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="df | gc | check", parser_class=Subparser)
    usage = commands.add_parser("df", help="say what images, build cache and downloads take")
    usage.add_argument("--images", action="store_true", help="also each image, with what only it has")
    add_json(usage)
    collect = commands.add_parser("gc", help="remove what no image, and no build to come, needs")
    collect.add_argument("--cache", action="store_true", help="also the build cache: builds start from nothing then")
    collect.add_argument("--downloads", action="store_true", help="also files fetched by hash ($REPRO_CACHE)")
    collect.add_argument("--older-than", metavar="TIME", help="only what was made before: 7d (ago), or a date")
    collect.add_argument("--dry-run", action="store_true", help="remove nothing; say what would be")
    collect.add_argument("--wait", action="store_true", help="wait for other processes that work in the store")
    add_json(collect)
    check = commands.add_parser("check", help="verify every blob and layer; name what is damaged")
    check.add_argument("--repair", action="store_true", help="mend what can be: from copies, or from the registry")
    check.add_argument("--wait", action="store_true", help="to repair, wait for others that work in the store")
    add_json(check)


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says; 1 where the store is damaged, or something could not be removed."""
    return {"df": _usage, "gc": _collect, "check": _check}[options.action](options)


def _usage(options: argparse.Namespace) -> int:
    with console(options) as sink:
        usage = api.store_usage(api.Host.current(), sink=sink)
    if options.json:
        print_json(usage)
    else:
        _print_usage(usage, images=options.images)
    return 0


def _collect(options: argparse.Namespace) -> int:
    with console(options) as sink:
        freed = api.collect_store(
            api.Host.current(),
            sink=sink,
            cache=options.cache,
            downloads=options.downloads,
            older_than=options.older_than,
            dry_run=options.dry_run,
            wait=options.wait,
        )
    if options.json:
        print_json(freed)
    else:
        _print_freed(freed, "would be removed" if options.dry_run else "removed")
    return 1 if freed.left else 0


def _check(options: argparse.Namespace) -> int:
    with console(options) as sink:
        report = api.check_store(
            api.Host.current(), sink=sink, mend=options.repair, wait=options.wait, repairer=api.repairer
        )
    if options.json:
        print_json(report)
    else:
        _print_report(report)
    return 0 if report.good else 1


def _print_usage(usage: Usage, *, images: bool) -> None:
    parts = (
        ("layers of images", usage.layers),
        ("  of these shared", usage.shared),
        ("blobs of images", usage.blobs),
        ("build cache", usage.cache),
        ("unused", usage.unused),
        ("downloads", usage.downloads),
        ("in progress", usage.partial),
    )
    rows = [("images", str(len(usage.images)), "", "")]
    rows += [(name, str(part.count), size_text(part.size), size_text(part.reclaimable)) for name, part in parts]
    print_table(("type", "count", "size", "reclaimable"), rows)
    if images:
        print()
        lines = [
            (", ".join(image.names) or "<none>", image.image_id.short, size_text(image.unique), size_text(image.shared))
            for image in usage.images
        ]
        print_table(("image", "image id", "unique", "shared"), lines)


def _print_freed(freed: Freed, verb: str) -> None:
    counts = (
        (freed.layers, "layer"),
        (freed.blobs, "blob"),
        (freed.facts, "fact"),
        (freed.caches, "cache"),
        (freed.downloads, "download"),
    )
    parts = [f"{count} {word}{'s' if count != 1 else ''}" for count, word in counts if count]
    print(f"{verb}: {', '.join(parts) or 'nothing'} ({size_text(freed.bytes)})")
    for path in freed.left:
        print(f"left: {path} ({_FOREIGN})")


def _print_report(report: Report) -> None:
    for finding in report.findings:
        _print_finding(finding)
    for layer in report.unread:
        print(f"not read: layer {layer} ({_FOREIGN})")
    mended = sum(1 for finding in report.findings if finding.mended)
    read = f"{report.blobs} blobs and {report.layers} layers read ({size_text(report.bytes)})"
    wrong = f"{len(report.findings)} damaged" if report.findings else "nothing damaged"
    print(f"{read}: {wrong}{f', {mended} mended' if mended else ''}")


def _print_finding(finding: Finding) -> None:
    print(f"{'mended' if finding.mended else 'DAMAGED'}: {finding.kind} {finding.subject}")
    print(f"  where: {finding.where}")
    print(f"  why: {finding.why}")
    if finding.images:
        print(f"  of: {', '.join(finding.images)}")
    print(f"  how: {finding.mended}" if finding.mended else f"  fix: {finding.hint}")
