"""`repro validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_workflow
from repro.cli.selecting import add_params

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    add_params(parser)


def run(options: argparse.Namespace) -> int:
    """Print how much was found in order; WorkflowError prints the rest."""
    host = api.Host.current()
    params = api.read_overrides(host, options.params, options.set)
    plan = api.validate(host, options.workflow, api.Selection(params=params))
    steps = len(plan.workflow.steps)
    later = ", ".join(one.step for one in plan.deferred)
    more = f", and those of {later}, known once others are done" if later else ""
    print(f"{plan.workflow.file}: in order; {steps} steps, {len(plan.jobs)} jobs{more}")
    return 0
