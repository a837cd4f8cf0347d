"""`repro graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.selecting import add_params, workflow_and_targets
from repro.workflow.graph_text import FORMATS, graph_text

if TYPE_CHECKING:
    import argparse

_EPILOG = """\
  repro graph                                     the steps, as Mermaid: GitHub and GitLab draw it in Markdown
  repro graph --format svg -o workflow.svg        a drawing that needs nothing else to be looked at
  repro graph --format dot | dot -Tpdf            through Graphviz
  repro graph --jobs workflow.yaml results/a.bam  the jobs behind one result
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.set_defaults(intermixed=True)
    parser.add_argument(
        "words", nargs="*", metavar="WORKFLOW|TARGET", help="the workflow file (default: workflow.yaml), then targets"
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=f"default: {FORMATS[0]}")
    parser.add_argument("--jobs", action="store_true", help="draw each job, not each step")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead of to stdout")
    add_params(parser)


def run(options: argparse.Namespace) -> int:
    """Print the graph of the workflow's steps or jobs; nothing is locked, built or run."""
    host = api.Host.current()
    workflow, targets = workflow_and_targets(host, options.words)
    params = api.read_overrides(host, options.params, options.set)
    plan = api.validate(host, workflow, api.Selection(targets=targets, params=params))
    text = graph_text(plan, options.format, jobs=options.jobs)
    if options.output is None:
        print(text, end="")
    else:
        (host.cwd / options.output).write_text(text, encoding="utf-8")
    return 0
