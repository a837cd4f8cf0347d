"""`repro status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, add_workflow, print_json

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print how the last run went, job by job where something is not done."""
    status = api.status(api.Host.current(), options.workflow)
    if options.json:
        print_json(status)
        return 0
    if status.running is not None:
        print(f"running: {status.running}")
    if status.last is None:
        print("no run yet: start one with `repro run`")
        return 0
    run = status.last
    print(f"{run.run}: {run.status}; {run.ran} ran, {run.cached} cached, {run.failed} failed, {run.skipped} skipped")
    print(f"  workflow {run.workflow}, started {run.started}, ended {run.ended or 'not yet'}")
    for failure in status.failures:
        print(f"  failed: {failure.job}" + (f", log {failure.log}" if failure.log else ""))
    return 0
