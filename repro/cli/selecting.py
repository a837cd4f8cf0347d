"""The arguments that say which part of a workflow is meant: the file, targets, steps, and values for params."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from repro import api
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.api.selection import Selection

_ENDINGS = (".yaml", ".yml")
EPILOG = """\
The first word is the workflow file where it ends in .yaml or .yml, or is a folder with a workflow.yaml; all others are
targets:

  results/plot.png      an output, or a file in a folder output, by its path from the workflow's folder
  results/              all outputs in a folder
  step:align            all jobs of a step
  'align[sample=a]'     one job, as `repro plan --all` names it

What a target needs comes along. An output that is itself a .yaml file comes after the workflow file.
"""


class _Refused(argparse.Action):
    """An option of other engines that is not offered; it says why, and what to do instead."""

    def __call__(self, *_: object) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(
            f"{self.option_strings[0]} is not offered",
            why="a result is known by the bytes that went into it, not by times: nothing reruns because of a time, and"
            " no time makes a stale result a fresh one",
            hint="`repro plan` says what changed for each job that would run",
        )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the workflow file, the targets, and the options that choose among the jobs."""
    parser.set_defaults(intermixed=True)  # options may stand between the words
    parser.add_argument(
        "words", nargs="*", metavar="WORKFLOW|TARGET", help="the workflow file (default: workflow.yaml), then targets"
    )
    for option, text in (
        ("--from", "only this step and what follows it; what they need must be cached"),
        ("--until", "only this step and what it needs"),
        ("--force", "run this step's jobs although they are cached"),
    ):
        dest = f"{option[2:]}_steps"
        parser.add_argument(option, dest=dest, action="append", default=[], metavar="STEP", help=f"{text} (repeatable)")
    add_params(parser)
    parser.add_argument("--touch", action=_Refused, nargs=0, help="refused: results are known by bytes, not by times")


def add_params(parser: argparse.ArgumentParser) -> None:
    """Add ``--set`` and ``--params``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a param's value in place of the workflow's; NAME.ENTRY for one in a mapping (repeatable)",
    )
    parser.add_argument(
        "--params",
        action="append",
        default=[],
        metavar="FILE",
        help="a YAML or JSON file of params; --set goes before it (repeatable)",
    )


def workflow_and_targets(host: Host, words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the workflow file that the words name (None: none), and the targets."""
    if not words:
        return None, ()
    first, rest = words[0], tuple(words[1:])
    if (host.cwd / first / "workflow.yaml").is_file():
        return first, rest
    if not first.endswith(_ENDINGS):
        return None, tuple(words)
    if not (host.cwd / first).exists():
        hint = f"check the path; to make an output of that name: workflow.yaml {first}"
        raise UsageError(f"there is no workflow file {first}", hint=hint)
    return first, rest


def selected(host: Host, options: argparse.Namespace) -> tuple[str | None, Selection]:
    """Return the workflow file and what of it the options of `add_selection` choose."""
    workflow, targets = workflow_and_targets(host, options.words)
    selection = api.Selection(
        targets=targets,
        from_steps=tuple(options.from_steps),
        until=tuple(options.until_steps),
        force=tuple(options.force_steps),
        params=api.read_overrides(host, options.params, options.set),
    )
    return workflow, selection
