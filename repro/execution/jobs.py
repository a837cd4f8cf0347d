"""The jobs of a run as far as they are known: those of deferred steps come once what these wait for is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.execution.world import wanted_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import TypeAlias

    from repro.workflow.model import Job, Plan

    Replan: TypeAlias = Callable[[frozenset[str]], Plan]


class Jobs:
    """The plan, growing; and who makes what. For one thread, but `makers` may be read from any."""

    def __init__(self, plan: Plan, replan: Replan | None = None) -> None:
        """``replan`` returns the whole plan, given the steps that are done; None: there is no more than ``plan``."""
        self.plan = plan
        self._replan = replan
        self.by_id: dict[str, Job] = {}
        self.makers: dict[str, str] = {}  # output path to step.output, for messages
        self._makers: dict[str, Job] = {}
        self._note(plan.jobs)

    def maker(self, path: str) -> Job:
        """Return the job that has ``path`` as an output."""
        return self._makers[path]

    def temporaries(self) -> Mapping[str, frozenset[str]]:
        """Return the temporary outputs that pass, by project path, each with the jobs that read it.

        An output that nobody reads stays, for nothing says when it is no longer wanted; who reads it may not be known
        while there are deferred steps. A folder of which single files are read stays, for its record has the digest of
        the whole alone; and so does a part of a folder that is read.
        """
        found: dict[str, set[str]] = {
            output.path: set() for job in self.plan.jobs for output in job.outputs.values() if output.temporary
        }
        if not found:
            return {}
        folders = {path for path in found if path.endswith("/")}
        whole = {path for job in self.plan.jobs for path in wanted_paths(job) if path.endswith("/")}
        found = {path: readers for path, readers in found.items() if whole.isdisjoint(_around(path))}
        for job in self.plan.jobs:
            for path in wanted_paths(job):
                if path in found:
                    found[path].add(job.id)
                elif folders:
                    for folder in _around(path) & folders:
                        found.pop(folder, None)
        return {path: frozenset(readers) for path, readers in found.items() if readers or self.plan.deferred}

    def grow(self, busy: Collection[str]) -> tuple[Job, ...]:
        """Return the jobs that are new now that of the steps with jobs all but the ``busy`` ones are done.

        Raises:
            WorkflowError: what a step ranges over is not as it says.
        """
        new: list[Job] = []
        while self._replan is not None and self.plan.deferred:
            deferred = {one.step for one in self.plan.deferred}
            unfinished = deferred | set(busy) | {job.step.name for job in new}
            done = frozenset(name for name in self.plan.workflow.steps if name not in unfinished)
            if not any(done.issuperset(one.waits) for one in self.plan.deferred):
                break
            plan = self._replan(done)
            found = [job for job in plan.jobs if job.id not in self.by_id]
            if not found and len(plan.deferred) == len(deferred):
                break
            self.plan = plan
            self._note(found)
            new += found
        return tuple(new)

    def _note(self, jobs: Collection[Job]) -> None:
        for job in jobs:
            self.by_id[job.id] = job
            for name, output in job.outputs.items():
                self.makers[output.path] = f"{job.step.name}.{name}"
                self._makers[output.path] = job


def _around(path: str) -> set[str]:
    """Return the folders that ``path`` lies in, each with its slash."""
    return {path[: at + 1] for at, char in enumerate(path[:-1]) if char == "/"}
