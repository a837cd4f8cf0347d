#!/usr/bin/env python3
"""Side-by-side runs against peers, on this machine, in one go: ratios count, not seconds.

    benchmarks/run.py help      `repro --help` against `python -c pass`
    benchmarks/run.py noop      a run of examples/samtools in which all is cached (run the example once before)
    benchmarks/run.py start     start of a container's `true`, warm, against crun and runc on a prepared bundle
    benchmarks/run.py base      the archive base, downloads included, against mmdebstrap
    benchmarks/run.py build     builds against docker (BuildKit), buildah and podman: the samtools example, small
                                steps, big copies, commits. A part alone: build.samtools, build.steps, build.copies,
                                build.commits. As root; about a quarter of an hour in all
    benchmarks/run.py data      checksums of 1 GiB and of 10,000 small files, and runs over 10,000 and 100,000 files in
                                which nothing changed, against one thread of hashlib and DVC; S3 objects up and down
                                against boto3's own transfer. A part alone: data.hashing, data.noop, data.s3
    benchmarks/run.py steps     workflows of 1,000 and 10,000 small steps, of a chain of 1,000, and of 100 of which each
                                needs 100 others, against snakemake (greedy, no containers), make and cwltool; each
                                again when all is done. A part alone: steps.1000, ...10000, ...chain, ...scatter
    benchmarks/run.py transfer  push and pull of the naive samtools image against podman and skopeo. As root

Without a name: all of them. A peer that is not installed is left out and named (on Debian: docker.io, buildah, podman,
runc, crun, mmdebstrap, skopeo, docker-registry); its daemon is one of our own, started and stopped here. Each figure is
a median; the sides of a comparison take turns. The budgets are ratios; leave the machine alone meanwhile.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project, not this folder

from benchmarks import building, hashing, starting, stepping, transferring  # noqa: E402 - found there


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    whole: dict[str, Callable[[], None]] = {
        "help": starting.help_text,
        "noop": starting.noop,
        "start": starting.start,
        "base": starting.base,
        "build": building.build,
        "data": hashing.data,
        "steps": stepping.steps,
        "transfer": transferring.transfer,
    }
    known = whole | {f"build.{part}": partial(building.build, (part,)) for part in building.PARTS}
    known |= {f"steps.{part}": partial(stepping.steps, (part,)) for part in stepping.PARTS}
    known |= {f"data.{part}": partial(hashing.data, (part,)) for part in hashing.PARTS}
    for name in sys.argv[1:] or whole:
        if name not in known:
            raise SystemExit(f"no benchmark {name!r}; there are: {', '.join(known)}")
        print(f"{name}  ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f})", flush=True)
        known[name]()


if __name__ == "__main__":
    main()
