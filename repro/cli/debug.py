"""`repro debug`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_vendor, console, host_for
from repro.cli.selecting import add_params, workflow_and_targets
from repro.errors import UsageError

if TYPE_CHECKING:
    import argparse

_EPILOG = """\
  repro debug 'align[sample=a]'                       a shell where the job would run
  repro debug workflow.yaml align -- ls -l            one command there

The container is as the job's: its image, its inputs read-only in /work, its variables, its resources file $REPRO_JOB.
What is written there is gone afterwards, outputs too, and no record is kept.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORKFLOW|JOB|COMMAND",
        help="the workflow file (default: workflow.yaml), the job as `repro plan --all` names it, and a command",
    )
    add_params(parser)
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=NAME[,src=FILE|,env=VAR]",
        help="show these bytes as /run/secrets/NAME if the step names them (repeatable)",
    )
    add_vendor(parser)


def run(options: argparse.Namespace) -> int:
    """Open a shell where the job would run, or run a command there; return its exit status."""
    host = host_for(options)
    workflow, words = workflow_and_targets(host, options.words)
    if not words:
        raise UsageError("no job is named", hint="`repro plan --all` lists the jobs")
    with console(options) as sink:
        return api.debug(
            host,
            workflow,
            words[0],
            command=words[1:],
            selection=api.Selection(params=api.read_overrides(host, options.params, options.set)),
            secrets=tuple(options.secret),
            sink=sink,
            ready=sink.finish,
        )
