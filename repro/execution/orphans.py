"""A run on a cluster whose driver was killed: its Slurm jobs are cancelled, and its journal is made whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.events import Notice
from repro.execution import slurm
from repro.execution.relay import PREFIX, ended_lines
from repro.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from repro.events import Sink
    from repro.execution.state import State


def adopt(state: State, sink: Sink) -> None:
    """Bring a run to its end whose driver was killed, where there is one; only for who holds the project's lock.

    Raises:
        HostError: Slurm does not answer, or its jobs do not end.
    """
    try:
        run_id = state.cluster.read_text().strip()
    except FileNotFoundError:
        return
    found = slurm.cancel(slurm.tag(state.project))
    if found:
        sink(Notice("warning", f"{found} Slurm jobs of run {run_id}, whose driver was killed, are cancelled"))
    _complete_journal(state.runs / run_id)
    state.cluster.unlink(missing_ok=True)


def _complete_journal(folder: Path) -> None:
    """Append to a run's journal the ends of jobs that nodes told, and the driver did not live to tell on."""
    journal = folder / "journal.jsonl"
    if not journal.exists():
        return
    known = {job for job, _ in ended_lines(journal)}
    more = [
        line for path in sorted(folder.glob(f"{PREFIX}*.jsonl")) for job, line in ended_lines(path) if job not in known
    ]
    if more:
        data = journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # a line that the kill cut short would spoil what follows
        write_atomic(journal, whole + b"".join(more))
