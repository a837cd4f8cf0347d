"""`repro job`: what a node of a cluster calls; people do not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("exec",), help="run the jobs of a batch")
    parser.add_argument("--batch", required=True, metavar="FILE", help="the batch's ticket, as `repro run` wrote it")


def run(options: argparse.Namespace) -> int:
    """Run a batch: 0 once it is done, whatever its jobs came to; how each ended is in its journal."""
    from repro.api.host import Host  # noqa: PLC0415
    from repro.api.node import BatchRun  # noqa: PLC0415 - not for --help

    running = BatchRun(Host.current(), options.batch)

    def stop(*_: object) -> None:
        if not running.stop():
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    running.execute()
    return 0
