"""`repro completion`: made from the same parsers that read the command line."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

from repro.cli.main import COMMANDS, Parser

if TYPE_CHECKING:
    from collections.abc import Iterator

_BASH = """\
_repro() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) command="$word"; break ;; esac
  done
  local words=""
  case "$command" in
    "") words="{commands}" ;;
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ -n "$command" && "$current" != -* ]] && COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -o filenames -F _repro repro
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="put the output into the shell's start-up file")


def run(options: argparse.Namespace) -> int:
    """Print the script; zsh reads bash's through its own bashcompinit."""
    cases = "\n".join(f'    {name}) words="{" ".join(_words(name))}" ;;' for name in COMMANDS)
    if options.shell == "zsh":
        print("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
    print(_BASH.format(commands=" ".join(COMMANDS), cases=cases), end="")
    return 0


def _words(command: str) -> Iterator[str]:
    """Give the options of a command, and its subcommands where it has them."""
    parser = Parser(command, "")
    importlib.import_module(f"repro.cli.{command}").add_arguments(parser)
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of its options
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from action.choices
