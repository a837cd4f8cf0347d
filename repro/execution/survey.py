"""How all jobs of a plan stand, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from repro.errors import DataError
from repro.execution.assess import Assessment, JobState
from repro.execution.world import wanted_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.digest import Digest
    from repro.execution.assess import Assessor, Checked, Files
    from repro.execution.jobs import Jobs
    from repro.workflow.model import Job

Standing: TypeAlias = tuple[JobState, Assessment | None]


class Survey:
    """Looks at every job of a plan, once."""

    def __init__(self, jobs: Jobs, files: Files, assessor: Assessor, image_ids: Mapping[str, Digest]) -> None:
        self._jobs = jobs
        self._files = files
        self._assessor = assessor
        self._image_ids = image_ids
        self._unsettled: set[str] = set()  # jobs that are not cached

    def take(self, *, lenient: bool = False) -> list[Standing]:
        """Return each job's standing, in the plan's order; the plan grows by what is known once its steps are cached.

        ``lenient`` leaves what is wrong with a job's files to the job itself.

        Raises:
            DataError: an input that no job makes is missing or cannot be read.
            WorkflowError: what a step ranges over is not as it says.
        """
        found: list[Standing] = []
        new = self._jobs.plan.jobs
        while new:
            found += self._look(new, lenient=lenient)
            new = self._jobs.grow({state.job.step.name for state, _ in found if state.status != "cached"})
        wanted = self._wanted_back(found)
        return self._corrected(found, wanted) if wanted else found

    def _look(self, jobs: Sequence[Job], *, lenient: bool) -> Iterable[Standing]:
        self._files.may_go(self._jobs.temporaries())
        raw = [path for job in jobs for path in wanted_paths(job) if path not in self._jobs.makers]
        seen = self._files.check_all(raw)
        for job in jobs:
            try:
                standing = self._assess(job, seen)
            except DataError as error:
                if not lenient:
                    raise
                standing = JobState(job, "run", error.message), None
            if standing[0].status != "cached":
                self._unsettled.add(job.id)
            yield standing

    def _assess(self, job: Job, seen: dict[str, Checked]) -> Standing:
        if (pending := self._pending(job)) is not None:
            return pending, None
        image = self._image_ids.get(job.step.environment)
        if image is None:
            return JobState(job, "run", f"environment {job.step.environment} has no image yet"), None
        assessment = self._assessor.assess(job, image, seen)
        return assessment.state, assessment

    def _pending(self, job: Job) -> JobState | None:
        waits = [need for need in job.needs if need in self._unsettled]
        if not waits:
            return None
        more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
        return JobState(job, "pending", f"it needs {waits[0]}{more}")

    def _wanted_back(self, found: Sequence[Standing]) -> dict[str, str]:
        """Return the cached jobs whose temporary outputs are gone and needed by jobs that run, and why each runs."""
        wanted: dict[str, str] = {}
        for state, _ in reversed(found):
            job = state.job
            if state.status != "run" and job.id not in wanted:
                continue
            for path in wanted_paths(job):
                if self._files.gone(path) is not None:
                    self._files.need(path)
                    wanted.setdefault(self._jobs.maker(path).id, f"{job.id} needs its temporary {path} again")
        return wanted

    def _corrected(self, found: Sequence[Standing], wanted: Mapping[str, str]) -> list[Standing]:
        """Return the standings with the jobs in ``wanted`` to run, and what needs them pending."""
        corrected: list[Standing] = []
        for state, assessment in found:
            job = state.job
            now: JobState | None = None
            if job.id in wanted:
                now = JobState(job, "run", wanted[job.id])
            elif state.status == "cached":
                now = self._pending(job)
            if now is not None:
                self._unsettled.add(job.id)
            corrected.append((state, assessment) if now is None else (now, None))
        return corrected
