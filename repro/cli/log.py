"""`repro log`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json, print_table

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="show the jobs of this run (an ID, or `last`)")
    parser.add_argument(
        "-f", "--file", dest="workflow", metavar="WORKFLOW", help="the workflow file (default: workflow.yaml)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the project's runs, newest first, or one run's jobs in the order they ended."""
    host = api.Host.current()
    if options.run is None:
        runs = api.runs(host, options.workflow)
        if options.json:
            print_json(runs)
            return 0
        rows = [(run.run, run.status, run.started, str(run.ran), str(run.cached), str(run.failed)) for run in runs]
        print_table(("run", "status", "started", "ran", "cached", "failed"), rows)
        return 0
    jobs = api.run_jobs(host, options.workflow, options.run)
    if options.json:
        print_json(jobs)
        return 0
    lines = [
        (job.job, job.state, f"{job.wall:.1f} s" if job.wall is not None else "", job.note.partition("\n")[0])
        for job in jobs
    ]
    print_table(("job", "status", "wall", "note"), lines)
    return 0
