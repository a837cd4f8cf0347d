"""`repro completion`: made from the same parsers that read the command line."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

from repro.cli.main import COMMANDS, Parser, top_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

# The words before the cursor, options and what they take left out, are the command (`image build`); its options
# and subcommands stand in _repro_words. File names come one a line, for they may have blanks in them. To readline, the
# colon before a tag begins another word: what stands before it is not repeated.
_BASH = """\
_repro_words() {{
  case "$1" in
{cases}
  esac
}}
_repro_images() {{
  local typed="${{COMP_LINE:0:COMP_POINT}}" found
  typed="${{typed##* }}"
  found="$(repro image ls --filter dangling=false --format '{{{{ .Name }}}}' 2>/dev/null)"
  COMPREPLY=($(compgen -W "$found" -- "$typed")) || return 0
  if [[ "$typed" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{typed%"${{typed##*:}}"}}"}}")
  fi
}}
_repro() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="" word next="" IFS=$' \\t\\n'
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ -n "$next" ]]; then next=""; continue; fi
    case "$word" in
      {taking}) [[ -n "$command" ]] || next=1 ;;
      -*) ;;
      *) [[ -n "$(_repro_words "$command${{command:+ }}$word")" ]] && command="$command${{command:+ }}$word" ;;
    esac
  done
  local words="$(_repro_words "$command")"
  COMPREPLY=()
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  local names=""
  for word in $words; do [[ "$word" == -* ]] || names="$names $word"; done
  if [[ -z "$next" && -n "$names" ]]; then
    COMPREPLY=($(compgen -W "$names" -- "$current"))
    return
  fi
  case "$command" in
    {images}) _repro_images ;;
  esac
  if [[ ${{#COMPREPLY[@]}} == 0 ]]; then
    IFS=$'\\n'
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _repro repro
"""
IMAGES = ("inspect", "history", "diff", "tag", "rm", "save", "push")  # of `repro image`: those that take images here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="put the output into the shell's start-up file")


def run(options: argparse.Namespace) -> int:
    """Print the script; zsh reads bash's through its own bashcompinit."""
    top = top_parser()
    words = {"": [*_options(top), *COMMANDS]}
    for name in COMMANDS:
        parser = Parser(name, "")
        importlib.import_module(f"repro.cli.{name}").add_arguments(parser)
        words |= _words(name, parser)
    cases = "\n".join(f'    "{name}") echo "{" ".join(found)}" ;;' for name, found in words.items())
    if options.shell == "zsh":
        print("autoload -U +X compinit bashcompinit && compinit && bashcompinit")
    images = "|".join(f'"image {name}"' for name in IMAGES)
    print(_BASH.format(cases=cases, taking="|".join(_options(top, taking=True)), images=images), end="")
    return 0


def _words(command: str, parser: argparse.ArgumentParser) -> dict[str, list[str]]:
    """Return what may follow the command: options, subcommands, fixed choices; the same of each subcommand."""
    words = {command: list(_options(parser))}
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of its arguments
        if not action.option_strings and action.choices is not None:
            words[command] += [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, parsed in action.choices.items():
                words |= _words(f"{command} {name}", parsed)
    return words


def _options(parser: argparse.ArgumentParser, *, taking: bool = False) -> Iterator[str]:
    """Give the parser's options; ``taking``: only those that take a value."""
    for action in parser._actions:  # noqa: SLF001
        if not taking or action.nargs != 0:
            yield from action.option_strings
