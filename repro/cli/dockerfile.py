"""`repro dockerfile parse | check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json, print_table
from repro.cli.main import Subparser

if TYPE_CHECKING:
    import argparse

    from repro.build.lint import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="parse | check", parser_class=Subparser)
    parse = commands.add_parser("parse", help="print the instructions of a Dockerfile")
    parse.add_argument("file", metavar="FILE", help="the Dockerfile, a folder with one, or - for stdin")
    add_json(parse)
    check = commands.add_parser("check", help="print what the lint rules find; exit status 1 if anything")
    check.add_argument("file", metavar="FILE", help="the Dockerfile, a folder with one, or - for stdin")
    check.add_argument("--target", metavar="STAGE", help="the stage that is to be built (default: the last)")
    check.add_argument("--build-arg", action="append", default=[], metavar="K=V", help="set an ARG (repeatable)")
    add_json(check)


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    host = api.Host.current()
    if options.action == "parse":
        parsed = api.parse_dockerfile(host, options.file)
        if options.json:
            print_json(parsed)
        else:
            print_table(("lines", "stage", "instruction", "arguments"), [_row(one) for one in parsed.instructions])
        return 0
    args = api.pairs(options.build_arg, "--build-arg", host.environ)
    findings = api.check_dockerfile(host, options.file, target=options.target, args=args)
    if options.json:
        print_json([_finding(one) for one in findings])
    else:
        for one in findings:
            print(one)
    return 1 if findings else 0


def _row(one: api.ParsedInstruction) -> tuple[str, str, str, str]:
    lines = str(one.line) if one.line == one.end_line else f"{one.line}-{one.end_line}"
    flags = [f"--{flag.name}" + ("" if flag.value is None else f"={flag.value}") for flag in one.flags]
    return lines, "" if one.stage is None else str(one.stage), one.name, " ".join([*flags, one.arguments])


def _finding(one: Finding) -> dict[str, object]:
    rule, where = one.rule, one.where
    return {
        "rule": rule.code, "message": one.message, "file": where.file, "line": where.line, "column": where.column,
        "summary": rule.summary, "page": rule.page,
    }  # fmt: skip
