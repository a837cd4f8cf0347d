"""Writes docs/reference/commands.md from the commands' parsers; ``--check`` only compares."""  # noqa: INP001 - a script

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repro.cli.main import COMMANDS, Parser, top_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parent / "reference" / "commands.md"
HEAD = """\
# Commands

Made by `python docs/make_reference.py` from the parsers of the commands: do not edit. The same is printed by
`repro --help` and `repro COMMAND --help`.
"""


def reference() -> str:
    """Return the page."""
    top = top_parser()
    parts = [HEAD, "## repro", "", f"`{top.usage}`", "", *_table(top), "```text", (top.epilog or "").rstrip(), "```"]
    for name, line in COMMANDS.items():
        parser = Parser(f"repro {name}", f"{line[:1].upper()}{line[1:]}.")
        importlib.import_module(f"repro.cli.{name}").add_arguments(parser)
        parts += ["", *_section(parser, parser.description or "")]
    return "\n".join(parts) + "\n"


def _section(parser: argparse.ArgumentParser, description: str, level: str = "##") -> Iterator[str]:
    """Yield the lines of a command and of its subcommands."""
    yield f"{level} {parser.prog}"
    yield ""
    yield description
    table = list(_table(parser))
    if table:
        yield ""
        yield from table[:-1]
    if parser.epilog:
        yield ""
        yield from _prose(parser.epilog)
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of its arguments
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            said = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            for name, parsed in action.choices.items():
                yield ""
                yield from _section(parsed, f"{said[name][:1].upper()}{said[name][1:]}.", f"{level}#")


def _table(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table of the arguments and an empty line, or nothing where there are none."""
    rows = [
        (_spelling(action), action.help)
        for action in parser._actions  # noqa: SLF001
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)  # noqa: SLF001
        and action.help
    ]
    if rows:
        yield "| argument | meaning |"
        yield "| --- | --- |"
        for spelling, text in rows:
            yield f"| {spelling} | {_cell(text)} |"
        yield ""


def _prose(text: str) -> Iterator[str]:
    """Yield the lines of a text for terminals as Markdown: those that are indented stand in blocks of their own."""
    parts = [list(lines) for _, lines in itertools.groupby(text.strip("\n").splitlines(), _kind)]
    for number, lines in enumerate(parts):
        if not lines[0]:
            continue
        if number:
            yield ""
        examples = lines[0].startswith("  ")
        yield from ["```text", *(line[2:] for line in lines), "```"] if examples else lines


def _kind(line: str) -> str:
    return "examples" if line.startswith("  ") else "text" if line else ""


def _cell(text: str) -> str:
    """Return ``text`` as it stands in a table."""
    return text.replace("|", "\\|")


def _spelling(action: argparse.Action) -> str:
    """Return an argument as it is typed: ``-e NAME, --environment NAME``."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = _cell(value if isinstance(value, str) else " ".join(value))
    if not action.option_strings:
        return f"`[{shown}]`" if action.nargs in ("?", "*") else f"`{shown}`"
    return ", ".join(f"`{option}`" if action.nargs == 0 else f"`{option} {shown}`" for option in action.option_strings)


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 where it is not what it would be."""
    text = reference()
    if arguments == ["--check"]:
        fresh = TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{TARGET.name} is stale: run `python docs/make_reference.py`", file=sys.stderr)
        return 0 if fresh else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
