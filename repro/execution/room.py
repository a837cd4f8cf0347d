"""What a run has for all jobs that are under way, and what one attempt at a job gets of it."""

from __future__ import annotations

import os
from dataclasses import field, replace
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import Problem, WorkflowError
from repro.workflow.resources import granted, has_templates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from repro.workflow.model import Job
    from repro.workflow.resources import Granted

GPUS = "gpus"  # among the named resources of a run


@dataclass(frozen=True, slots=True)
class Room:
    """What all running jobs may use together.

    Attributes:
        cpus: processors.
        memory: bytes.
        scratch: folder, there or not yet, on whose file system the jobs' worlds lie: its free space is the disk.
        named: how many there are of whatever else the run has; ``gpus`` among them.
    """

    cpus: int
    memory: int
    scratch: Path
    named: Mapping[str, int] = field(default_factory=dict)

    def share(self, job: Job, attempt: int = 1) -> Granted:
        """Return what the attempt gets: no more cpus than there are; in a later attempt, no more of anything.

        Raises:
            AmountError: a template of the step's resources gives no such amount.
        """
        asked = granted(job, attempt)
        given = replace(asked, cpus=min(asked.cpus, self.cpus))
        if attempt > 1 and given.memory is not None and given.memory > self.memory:
            given = replace(given, memory=self.memory)  # it grew, and now gets all that there is
        return given

    def amounts(self, given: Granted) -> dict[str, int]:
        """Return what an attempt with these resources takes of the room."""
        own = {"cpus": given.cpus, "memory": given.memory or 0, "disk": given.disk or 0, GPUS: given.gpus}
        return {**own, **given.named}

    def all(self) -> dict[str, int]:
        """Return the whole of it, by the same names."""
        return {"cpus": self.cpus, "memory": self.memory, "disk": free_space(self.scratch), **self.named}

    def require(self, jobs: Iterable[Job]) -> None:
        """Raise WorkflowError where jobs ask for more than the run has; cpus aside, of which they get what there is."""
        problems: dict[tuple[str, str], Problem] = {}
        settled: set[str] = set()
        for job in jobs:
            step = job.step
            if step.name in settled:
                continue
            if not has_templates(step.resources):
                settled.add(step.name)
            for name, message, hint in self._excess(granted(job)):
                where = step.marks.get(f"resources.{name}", step.marks.get("resources", step.where))
                path = f"steps.{step.name}.resources.{name}"
                problems.setdefault((step.name, name), Problem(where, path, message, hint=hint))
        if problems:
            raise WorkflowError(problems.values())

    def _excess(self, asked: Granted) -> Iterator[tuple[str, str, str]]:
        """Yield what is asked for in vain: its name, the message and what to do."""
        if asked.memory is not None and asked.memory > self.memory:
            text = f"{gigabytes(asked.memory)} of memory are asked for; this run has {gigabytes(self.memory)}"
            yield "memory", text, "ask for less, or use a larger host"
        if asked.disk is not None and asked.disk > (free := free_space(self.scratch)):
            text = f"{gigabytes(asked.disk)} of disk are asked for; {self.scratch} has {gigabytes(free)} free"
            yield "disk", text, "make room there, or ask for less"
        for name, count in {GPUS: asked.gpus, **asked.named}.items():
            if count > self.named.get(name, 0):
                text = f"{count} of {name} asked for; this run has {self.named.get(name, 0)}"
                yield name, text, f"say how many there are: repro run --resource {name}={count}"


def free_space(folder: Path) -> int:
    """Return how many bytes the caller may still write where ``folder`` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def gigabytes(size: int) -> str:
    """Return the number of bytes for people."""
    return f"{size / 1e9:.1f} GB"
