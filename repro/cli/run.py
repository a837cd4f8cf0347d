"""`repro run`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_workflow, console
from repro.errors import Interrupted, JobsFailed

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    parser.add_argument("-j", "--cpus", type=int, metavar="N", help="use at most N processors (default: all)")
    parser.add_argument("--memory", metavar="SIZE", help="plan jobs within SIZE, such as 8GB (default: all)")
    parser.add_argument(
        "--locked", action="store_true", help="add nothing to workflow.lock: fail where it lacks an entry"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same as `repro plan`")


def run(options: argparse.Namespace) -> int:
    """Run the workflow; Ctrl-C and TERM stop the jobs, leave nothing half-done, and end with 130."""
    if options.dry_run:
        from repro.cli import plan  # noqa: PLC0415 - another command, only when asked for

        options.json = False
        return plan.run(options)
    with console(options) as sink:
        running = api.Run(
            api.Host.current(),
            options.workflow,
            cpus=options.cpus,
            memory=options.memory,
            locked=options.locked,
            sink=sink,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: running.stop())
        finished = running.execute()
    if finished.status == "interrupted":
        raise Interrupted("stopped before the end", hint="`repro run` again carries on from here")
    if finished.status == "failed":
        raise JobsFailed(
            f"{finished.failed} of {finished.ran + finished.cached + finished.failed + finished.skipped} jobs failed",
            hint="mend what is named above and run again: what is done stays done",
        )
    return 0
