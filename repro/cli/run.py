"""`repro run`."""

from __future__ import annotations

import argparse
import signal

from repro import api
from repro.cli.arguments import add_vendor, add_workflow, console, host_for
from repro.errors import Interrupted, JobsFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_workflow(parser)
    parser.add_argument("-j", "--cpus", type=int, metavar="N", help="use at most N processors (default: all)")
    parser.add_argument("--memory", metavar="SIZE", help="plan jobs within SIZE, such as 8GB (default: all)")
    parser.add_argument(
        "--locked",
        action=argparse.BooleanOptionalAction,
        help="add nothing to workflow.lock: fail where it lacks an entry (the default where $CI is set)",
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=NAME[,src=FILE|,env=VAR]",
        help="show these bytes as /run/secrets/NAME to the steps that name them (repeatable)",
    )
    parser.add_argument("--publish", action="store_true", help="after a run that succeeded, as `repro publish`")
    add_vendor(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same as `repro plan`")


def run(options: argparse.Namespace) -> int:
    """Run the workflow; Ctrl-C and TERM stop the jobs, leave nothing half-done, and end with 130."""
    if options.dry_run:
        from repro.cli import plan  # noqa: PLC0415 - another command, only when asked for

        options.json = False
        return plan.run(options)
    host = host_for(options)
    locked = options.locked if options.locked is not None else host.environ.get("CI", "").lower() in ("1", "true")
    if options.publish:
        api.require_publish(host, options.workflow)
    with console(options) as sink:
        running = api.Run(
            host,
            options.workflow,
            cpus=options.cpus,
            memory=options.memory,
            locked=locked,
            secrets=tuple(options.secret),
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
    if options.publish:
        _publish(host, options)
    return 0


def _publish(host: api.Host, options: argparse.Namespace) -> None:
    """Publish what the workflow says, after a run that succeeded."""
    from repro.cli.publish import let_interrupt, print_standing  # noqa: PLC0415 - another command, only when asked for

    let_interrupt()  # the run's handlers would stop a run
    with console(options) as sink:
        standing = api.publish(host, options.workflow, sink=sink)
    print_standing(standing)
