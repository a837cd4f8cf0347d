"""`repro run` on a cluster: where the jobs go, and the driver as a job of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro.api import cluster
from repro.cli.arguments import print_text
from repro.errors import UsageError
from repro.execution.snakefile import OURS

if TYPE_CHECKING:
    import argparse

    from repro.api.cluster import Destination
    from repro.api.host import Host


def destination(host: Host, workflow: str | None, options: argparse.Namespace) -> Destination | None:
    """Return what ``--executor`` and ``--profile`` say (None: this host), with a word on what nobody has tried."""
    if options.executor == "local":
        if options.profile or options.detach:
            option = "--profile" if options.profile else "--detach"
            raise UsageError(f"{option} is for runs on a cluster, --executor local for one here", hint="give one")
        return None
    for option in ("cpus", "memory"):
        if getattr(options, option) is not None:
            hint = "say in the profile how many jobs there are at once: jobs: N (docs/how-to/slurm.md)"
            raise UsageError(f"--{option} is what this host gives, and no job runs here", hint=hint)
    found = cluster.destination(host, workflow, options.executor, options.profile)
    if found.executor != OURS:
        text = f"executor {found.executor} is Snakemake's plugin as it is: untested with repro"
        print(f"warning: {text}", file=sys.stderr)
    return found


def detach(where: Destination, workflow: str | None) -> None:
    """Give the cluster this command as a job, and print its number; say on stderr how to follow it."""
    words = [word for word in sys.argv[1:] if word != "--detach"]
    made = cluster.detach(where, workflow, words)
    print_text(made.number)
    place = "" if workflow is None else f" --file {workflow}"
    lines = (
        f"the run is Slurm job {made.number}",
        "  how it stands:  repro status" + ("" if workflow is None else f" {workflow}"),
        f"  as it goes:     repro log --follow{place}",
        f"  what it prints: {made.output}",
        f"  to stop it:     scancel {made.number}",
    )
    print("\n".join(lines), file=sys.stderr)
