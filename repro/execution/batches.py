"""Which jobs share an allocation: short ones of one step that do not need each other."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass
from repro.errors import Problem, WorkflowError
from repro.execution.profile import Batching
from repro.execution.ticket import Batch
from repro.workflow.model import Resources, Retries
from repro.workflow.resources import AmountError, granted, has_templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from repro.execution.profile import Profile
    from repro.workflow.model import Job
    from repro.workflow.resources import Granted

_UNKNOWN = 60.0  # seconds that a job is thought to take of which no record tells
_MOST = 1000  # jobs in a batch
_STARTING = 120  # seconds for repro to start and to end beside the jobs
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")

_Alike: TypeAlias = tuple[object, ...]  # step, depth and grants: jobs that may share a batch have the same


@dataclass(frozen=True, slots=True)
class _Want:
    """A job of a round as it is given away: its attempt, what that gets, and the seconds that it may take."""

    job: Job
    attempt: int
    given: Granted
    seconds: float


def batches(
    jobs: Sequence[Job],
    *,
    round_number: int,
    attempts: Mapping[str, int],
    profile: Profile,
    wall: Callable[[Job], float | None],
) -> tuple[Batch, ...]:
    """Return the jobs of a round as batches, each after those it needs.

    Jobs share a batch only where step, depth in the graph and what they are granted are the same: of two batches then
    never each needs the other.

    Args:
        jobs: in the plan's order; needs that are not among them are met.
        round_number: from 1; the batches' names begin with it.
        attempts: number of the attempt that each job is at, where it is not the first.
        profile: says how many share one, and what is granted where a step asks for nothing.
        wall: gives the seconds that a job took when it last ran; None: it has no record.

    Raises:
        WorkflowError: what a job is granted cannot be told for its attempt.
    """
    here = {job.id for job in jobs}
    depth: dict[str, int] = {}
    groups: dict[_Alike, list[_Want]] = {}
    for job in jobs:
        needs = tuple(need for need in job.needs if need in here)
        depth[job.id] = 1 + max((depth[need] for need in needs), default=0)
        attempt = attempts.get(job.id, 1)
        given = _granted(job, attempt, profile)
        alike = (depth[job.id], job.step.name, *_amounts(given))
        known = wall(job)
        want = _Want(replace(job, needs=needs), attempt, given, _UNKNOWN if known is None else known)
        groups.setdefault(alike, []).append(want)
    made: list[Batch] = []
    batch_of: dict[str, str] = {}
    for alike in sorted(groups, key=lambda one: int(str(one[0]))):  # by depth, else as they came
        wants = groups[alike]
        step = wants[0].job.step.name
        for part in _parts(wants, profile.of(step).batch or Batching()):
            name = f"{round_number}-{len(made) + 1}-{_UNSAFE.sub('_', step)}"
            made.append(_batch(name, part, batch_of))
            batch_of.update(dict.fromkeys((want.job.id for want in part), name))
    return tuple(made)


def grows(job: Job) -> bool:
    """Return whether a second attempt at the job gets other resources than the first, and so another allocation."""
    if not job.step.retries.count or not has_templates(job.step.resources):
        return False
    try:
        return granted(job, 1) != granted(job, 2)
    except AmountError:
        return True  # told when it comes to that attempt


def _parts(wants: Sequence[_Want], size: Batching) -> Iterator[list[_Want]]:
    """Yield the jobs in parts: so many, or as many as take so long together."""
    part: list[_Want] = []
    seconds = 0.0
    for want in wants:
        full = len(part) >= _MOST if size.jobs is None else len(part) >= size.jobs
        if part and (full or (size.jobs is None and seconds + want.seconds > size.time)):
            yield part
            part, seconds = [], 0.0
        part.append(want)
        seconds += want.seconds
    if part:
        yield part


def _batch(name: str, part: Sequence[_Want], batch_of: Mapping[str, str]) -> Batch:
    given = part[0].given
    after = {batch_of[need] for want in part for need in want.job.needs}
    return Batch(
        name=name,
        jobs=tuple(_settled(want) for want in part),
        attempts={want.job.id: want.attempt for want in part if want.attempt > 1},
        after=tuple(sorted(after)),
        cpus=given.cpus,
        memory=given.memory,
        time=None if given.time is None else given.time * len(part) + _STARTING,
        gpus=given.gpus,
        named=dict(given.named),
    )


def _settled(want: _Want) -> Job:
    """Return the job with numbers for its resources, which tries again on the node only where that gets it the same."""
    given, step = want.given, want.job.step
    resources = Resources(
        cpus=given.cpus,
        memory=given.memory,
        disk=given.disk,
        shm=given.shm,
        time=given.time,
        gpus=given.gpus,
        named=dict(given.named),
    )
    retries = Retries(0) if grows(want.job) else step.retries
    return replace(want.job, step=replace(step, resources=resources, retries=retries))


def _granted(job: Job, attempt: int, profile: Profile) -> Granted:
    """Return what the attempt gets: what the step asks for, else what the profile says."""
    placement = profile.of(job.step.name)
    try:
        given = granted(job, attempt)
    except AmountError as error:
        step = job.step
        where = step.marks.get(f"resources.{error.name}", step.where)
        problem = Problem(where, f"steps.{step.name}.resources.{error.name}", error.message, hint=error.hint or "")
        raise WorkflowError([problem]) from error
    return replace(
        given,
        memory=placement.memory if given.memory is None else given.memory,
        time=placement.time if given.time is None else given.time,
    )


def _amounts(given: Granted) -> _Alike:
    named = tuple(sorted(given.named.items()))
    return (given.cpus, given.memory, given.disk, given.shm, given.time, given.gpus, named)
