"""`repro validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_workflow

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)


def run(options: argparse.Namespace) -> int:
    """Print how much was found in order; WorkflowError prints the rest."""
    plan = api.validate(api.Host.current(), options.workflow)
    steps = len(plan.workflow.steps)
    print(f"{plan.workflow.file}: in order; {steps} steps, {len(plan.jobs)} jobs")
    return 0
