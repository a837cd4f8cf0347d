"""`repro run`."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_vendor, console, host_for, run_console
from repro.cli.selecting import EPILOG, add_selection, selected
from repro.errors import Interrupted, JobsFailed

if TYPE_CHECKING:
    from repro.api.cluster import Destination
    from repro.api.selection import Selection
    from repro.events import RunFinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    add_selection(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same as `repro plan` with these arguments")
    parser.add_argument(
        "-k", "--keep-going", action="store_true", help="after a failure start every job that does not need it"
    )
    parser.add_argument("-f", "--tail", action="store_true", help="print what jobs print, with their names in front")
    parser.add_argument("--wait", action="store_true", help="wait until another run in this project has ended")
    parser.add_argument("-j", "--cpus", type=int, metavar="N", help="use at most N processors (default: all)")
    parser.add_argument("--memory", metavar="SIZE", help="plan jobs within SIZE, such as 8GB (default: all)")
    parser.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=N",
        help="there are N of what steps ask for as NAME, such as licences (repeatable)",
    )
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
    parser.add_argument("--executor", metavar="NAME", help="run jobs on a cluster: slurm (docs/how-to/slurm.md)")
    parser.add_argument("--profile", metavar="NAME|FILE", help="how they go there: profiles/NAME.yaml, or the file")
    parser.add_argument("--detach", action="store_true", help="be a job of the cluster as a whole, and return at once")
    parser.add_argument("--publish", action="store_true", help="after a run that succeeded, as `repro publish`")
    add_vendor(parser)


def run(options: argparse.Namespace) -> int:
    """Run the workflow; Ctrl-C and TERM stop the jobs, leave nothing half-done, and end with 130."""
    host = host_for(options)
    workflow, selection = selected(host, options)
    if options.dry_run:
        from repro.cli.plan import print_planned  # noqa: PLC0415 - another command, only when asked for

        print_planned(api.plan(host, workflow, selection), as_json=False, every=False)
        return 0
    if options.publish:
        api.require_publish(host, workflow)
    cluster = None
    if options.executor or options.profile or options.detach:
        from repro.cli import clusters  # noqa: PLC0415 - only for runs on a cluster

        cluster = clusters.destination(host, workflow, options)
        if options.detach and cluster is not None:
            clusters.detach(cluster, workflow)
            return 0
    finished = _execute(host, workflow, selection, options, cluster)
    if finished.status == "interrupted":
        raise Interrupted("stopped before the end", hint="`repro run` again carries on from here")
    if finished.status == "failed":
        raise JobsFailed(
            f"{finished.failed} of {finished.ran + finished.cached + finished.failed + finished.skipped} jobs failed",
            hint="mend what is named above and run again: what is done stays done",
        )
    if options.publish:
        _publish(host, workflow, options)
    return 0


def _execute(
    host: api.Host,
    workflow: str | None,
    selection: Selection,
    options: argparse.Namespace,
    cluster: Destination | None,
) -> RunFinished:
    locked = options.locked if options.locked is not None else host.environ.get("CI", "").lower() in ("1", "true")
    with run_console(options) as sink:
        running = api.Run(
            host,
            workflow,
            selection=selection,
            cpus=options.cpus,
            memory=options.memory,
            named_resources=api.named_amounts(options.resource),
            keep_going=options.keep_going,
            wait=options.wait,
            locked=locked,
            secrets=tuple(options.secret),
            sink=sink,
            output=sink.output if options.tail else None,
            cluster=cluster,
        )

        def stop(*_: object) -> None:
            if not running.stop():
                raise KeyboardInterrupt

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)
        return running.execute()


def _publish(host: api.Host, workflow: str | None, options: argparse.Namespace) -> None:
    """Publish what the workflow says, after a run that succeeded."""
    from repro.cli.publish import let_interrupt, print_standing  # noqa: PLC0415 - another command, only when asked for

    let_interrupt()  # the run's handlers would stop a run
    with console(options) as sink:
        standing = api.publish(host, workflow, sink=sink)
    print_standing(standing)
