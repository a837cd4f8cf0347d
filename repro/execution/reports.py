"""What our plugin tells of the batches of a round, and Snakemake's log when it tells nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repro.execution.rounds import Loss

if TYPE_CHECKING:
    from pathlib import Path


class Reports:
    """Reads when a batch was given to Slurm, and how one without a result ended, as far as that is told."""

    def __init__(self, path: Path) -> None:
        self.known: dict[str, str] = {}  # batch to its Slurm job, empty where there was none
        self.refused: dict[str, str] = {}  # batches that Slurm did not take, and why
        self._path = path
        self._offset = 0
        self._states: dict[str, str] = {}

    def read(self) -> list[str]:
        """Return the batches of which something is told for the first time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        fresh = []
        for line in whole.splitlines():
            entry = json.loads(line)
            batch, number = entry["batch"], str(entry["slurm"] or "")
            if batch not in self.known:
                fresh.append(batch)
            self.known[batch] = number or self.known.get(batch, "")
            if "state" in entry:
                self._states[batch] = entry["state"]
            if "refused" in entry:
                self.refused[batch] = entry["refused"]
        return fresh

    def loss(self, batch: str) -> Loss:
        """Return how the batch ended, as far as that was told."""
        return Loss(self.known.get(batch, ""), self._states.get(batch, ""))


def last_words(log: Path) -> str:
    """Return the last lines of a log as one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return " / ".join(line.strip() for line in lines[-4:] if line.strip())
