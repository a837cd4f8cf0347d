"""Slurm by its own commands: who waits in the queue, cancelling, and one job given by hand."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from repro import process
from repro.dataclass import dataclass
from repro.errors import HostError, ReproError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SECONDS = 60  # until a command of Slurm must answer: its controller may be busy
_ACCOUNTING = re.compile(rb"^AccountingStorageType\s*=\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Queued:
    """A Slurm job of the caller that waits or runs; ``state`` in Slurm's words."""

    number: str
    name: str
    state: str


def tag(project: Path, run: str = "") -> str:
    """Return the name that all Slurm jobs of a run of the project have; without ``run``, how all its names begin."""
    mark = hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:12]
    return f"repro-{mark}-{run}"


def has_accounting() -> bool:
    """Return whether Slurm keeps accounts here; HostError where there is no Slurm, or it does not answer."""
    found = _ACCOUNTING.search(_ask("scontrol", "show", "config"))
    return found is not None and found[1] not in (b"accounting_storage/none", b"(null)")


def queued(prefix: str) -> tuple[Queued, ...]:
    """Return the caller's Slurm jobs whose names begin so; HostError where Slurm does not answer."""
    lines = _ask("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i|%T|%j").decode(errors="replace")
    found = (line.strip().split("|", 2) for line in lines.splitlines() if line.strip())
    return tuple(Queued(number, name, state) for number, state, name in found if name.startswith(prefix))


def cancel(prefix: str, *, seconds: float = 120, only_waiting: bool = False) -> int:
    """Cancel the caller's Slurm jobs whose names begin so; return how many there were, once all have left the queue.

    Raises:
        HostError: Slurm does not answer, or some are still there after so many ``seconds``.
    """
    seen: set[str] = set()
    deadline = time.monotonic() + seconds
    while True:
        left = [job for job in queued(prefix) if not only_waiting or job.state == "PENDING"]
        if not left:
            return len(seen)
        if time.monotonic() > deadline:
            numbers = " ".join(job.number for job in left)
            hint = f"look at them with squeue, and end them with `scancel {numbers}`"
            raise HostError(f"{len(left)} Slurm jobs of this project do not end", hint=hint)
        fresh = [job.number for job in left if job.number not in seen]
        for start in range(0, len(fresh), 500):  # a command line has an end
            _ask("scancel", *fresh[start : start + 500])
        seen.update(fresh)
        if only_waiting:
            return len(seen)
        time.sleep(0.5)


def submit(script: str, options: Sequence[str], folder: Path) -> str:
    """Give Slurm one job with ``folder`` as its directory; return its number. HostError where Slurm refuses it."""
    text = _ask("sbatch", "--parsable", f"--chdir={folder}", *options, stdin=script.encode())
    return text.decode(errors="replace").strip().partition(";")[0]  # of several clusters: NUMBER;CLUSTER


def _ask(*argv: str, stdin: bytes = b"") -> bytes:
    """Return what a command of Slurm prints; a controller that is too busy is asked again."""
    for pause in (1, 4, 0):
        try:
            return process.run(argv, stdin=stdin, timeout=_SECONDS)
        except HostError as error:
            hint = "work on a login node of the cluster, where sbatch and squeue are"
            raise HostError(f"{argv[0]} is not on this machine", hint=hint) from error
        except ReproError as error:
            busy = error.why is not None and re.search(r"timed out|temporarily|Unable to contact", error.why)
            if argv[0] == "sbatch" or not busy or not pause:  # sbatch may have been heard: not twice
                raise HostError(f"Slurm refuses `{argv[0]}`", why=error.why or error.message) from error
            time.sleep(pause)
    raise AssertionError  # the last turn returns or raises
