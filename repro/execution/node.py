"""A node's side of a run on a cluster: which jobs of a batch may run, and where the node has its own state."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

from repro.errors import DataError
from repro.execution import snakefile
from repro.execution.state import State
from repro.files import remove_tree, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repro.execution.ticket import Batch
    from repro.workflow.model import Job

_VISIBLE = 60  # seconds until what another node wrote must be seen here


class NodeState(State):
    """The state of a project as a node has it: records and logs are the project's, all else lies on the node.

    The driver holds the project's lock; nobody else knows of ``scratch_root``, which only this process works in.
    """

    __slots__ = ()

    @property
    def stat_cache(self) -> Path:
        """The stat cache's file, the node's own."""
        return self.scratch / "stat-cache"

    @property
    def cluster(self) -> Path:
        """Nothing: the driver's runs are no concern of a node."""
        return self.scratch / "cluster"

    @property
    def removed(self) -> Path:
        """The folder of what is being removed, the node's own."""
        return self.scratch / "removed"

    @contextlib.contextmanager
    def exclusive(self, owner: str) -> Iterator[None]:  # noqa: ARG002 - the base's
        """Have scratch while the block runs, and leave none of it."""
        try:
            yield
        finally:
            remove_tree(self.scratch)


def runnable(batch: Batch, folder: Path) -> tuple[Job, ...]:
    """Return the jobs of the batch whose needs have all succeeded, as far as they run in this round, of ``folder``.

    Raises:
        DataError: the result of a batch that came before cannot be seen.
    """
    outcomes: dict[str, str] = {}
    for name in batch.after:
        outcomes |= _outcomes(folder / snakefile.RESULTS / f"{name}.json")
    good = {job for job, outcome in outcomes.items() if outcome in ("ran", "cached")}
    return tuple(job for job in batch.jobs if good.issuperset(job.needs))


def write_result(folder: Path, batch: str, outcomes: Mapping[str, str]) -> None:
    """Tell driver and later batches how the jobs of a batch ended: its presence says that the batch is done."""
    text = json.dumps({"outcomes": dict(outcomes)}, separators=(",", ":"))
    write_atomic(folder / snakefile.RESULTS / f"{batch}.json", text.encode())


def _outcomes(path: Path) -> dict[str, str]:
    """Return the outcomes in a result; one that a network file system shows late is waited for."""
    deadline = time.monotonic() + _VISIBLE
    while True:
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            if time.monotonic() > deadline:
                hint = "do all nodes see the project's folder?"
                raise DataError(f"{path} is not seen on this node", hint=hint) from error
            time.sleep(0.5)
        else:
            return {str(job): str(outcome) for job, outcome in document["outcomes"].items()}
