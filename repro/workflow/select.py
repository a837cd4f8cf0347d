"""Part of a plan: the jobs that targets need, from some steps on and up to others."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.workflow.model import FromInput, Plan
from repro.workflow.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from repro.workflow.model import Step

_PLACEHOLDER = re.compile(r"\\?\{\{.*?\}\}", re.DOTALL)
_STEP = "step:"


def select(plan: Plan, targets: Sequence[str], *, from_steps: Sequence[str] = (), until: Sequence[str] = ()) -> Plan:
    """Return the plan of what ``targets`` need, in the plan's order; without any, of everything.

    Args:
        plan: all jobs.
        targets: project paths of outputs, of files in folder outputs, or of folders that outputs lie in; ``step:NAME``;
            ids of jobs (``align[sample=a]``).
        from_steps: of that, only the jobs of these steps and what follows them, with all that those need.
        until: of that, only the jobs of these steps, with all that those need.

    Raises:
        UsageError: something named is not in the workflow, or nothing is left.
    """
    for step in (*from_steps, *until):
        require_step(plan, step)
    if not targets and not from_steps and not until:
        return plan
    graph = _Graph(plan)
    kept = graph.everything()
    if targets:
        known = _Targets(plan, graph)
        kept = graph.needed(_join(known.find(target) for target in targets))
    if until:
        kept &= graph.needed(graph.of_steps(until))
        _require_some(kept, "--until", until, targets)
    if from_steps:
        kept &= graph.needed(kept & graph.following(graph.of_steps(from_steps)))
        _require_some(kept & graph.of_steps(from_steps), "--from", from_steps, (*targets, *until))
    return Plan(
        plan.workflow,
        tuple(job for job in plan.jobs if job.id in kept.jobs),
        tuple(one for one in plan.deferred if one.step in kept.deferred),
    )


def following(plan: Plan, steps: Sequence[str]) -> frozenset[str]:
    """Return the ids of the jobs of ``steps`` and of all that need these, however far."""
    graph = _Graph(plan)
    return graph.following(graph.of_steps(steps)).jobs


def require_step(plan: Plan, name: str) -> None:
    """Raise UsageError where the workflow declares no step ``name``."""
    steps = plan.workflow.steps
    if name not in steps:
        near = difflib.get_close_matches(name, steps, 1)
        hint = f"did you mean {near[0]}?" if near else f"the steps are {', '.join(steps)}"
        raise UsageError(f"there is no step {name!r}", hint=hint)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Jobs by id, and steps whose jobs are not known yet."""

    jobs: frozenset[str] = frozenset()
    deferred: frozenset[str] = frozenset()

    def __and__(self, other: _Chosen) -> _Chosen:
        return _Chosen(self.jobs & other.jobs, self.deferred & other.deferred)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.deferred)


def _join(parts: Iterable[_Chosen]) -> _Chosen:
    jobs: set[str] = set()
    deferred: set[str] = set()
    for part in parts:
        jobs |= part.jobs
        deferred |= part.deferred
    return _Chosen(frozenset(jobs), frozenset(deferred))


class _Graph:
    """What needs what. A deferred step needs all jobs of the steps that it waits for, and deferred ones it reads."""

    def __init__(self, plan: Plan) -> None:
        self._jobs = plan.jobs
        deferred = {one.step for one in plan.deferred}
        steps = plan.workflow.steps
        self._deferred = {one.step: (*one.waits, *(deferred & _read_by(steps[one.step]))) for one in plan.deferred}
        self._by_step: dict[str, list[str]] = {}
        for job in plan.jobs:
            self._by_step.setdefault(job.step.name, []).append(job.id)

    def everything(self) -> _Chosen:
        return _Chosen(frozenset(job.id for job in self._jobs), frozenset(self._deferred))

    def of_steps(self, steps: Iterable[str]) -> _Chosen:
        named = list(steps)
        jobs = frozenset(job for step in named for job in self._by_step.get(step, ()))
        return _Chosen(jobs, frozenset(step for step in named if step in self._deferred))

    def needed(self, chosen: _Chosen) -> _Chosen:
        """Return ``chosen`` with all that it needs, however far back."""
        deferred = set(chosen.deferred)
        pending = list(deferred)
        jobs = set(chosen.jobs)
        while pending:
            for step in self._deferred[pending.pop()]:
                jobs.update(self._by_step.get(step, ()))
                if step in self._deferred and step not in deferred:
                    deferred.add(step)
                    pending.append(step)
        for job in reversed(self._jobs):  # each before those it needs
            if job.id in jobs:
                jobs.update(job.needs)
        return _Chosen(frozenset(jobs), frozenset(deferred))

    def following(self, chosen: _Chosen) -> _Chosen:
        """Return ``chosen`` with all that needs it, however far on."""
        jobs, steps = set(chosen.jobs), set(chosen.deferred)
        for job in self._jobs:  # each after those it needs
            if job.id in jobs or not jobs.isdisjoint(job.needs):
                jobs.add(job.id)
                steps.add(job.step.name)
        deferred = {step for step in steps if step in self._deferred}
        while True:
            more = {
                step for step, waits in self._deferred.items() if step not in deferred and not steps.isdisjoint(waits)
            }
            if not more:
                return _Chosen(frozenset(jobs), frozenset(deferred))
            deferred |= more
            steps |= more


def _read_by(step: Step) -> frozenset[str]:
    """Return the steps whose outputs a step reads by name."""
    return frozenset(declared.step for declared in step.inputs.values() if isinstance(declared, FromInput))


def _require_some(kept: _Chosen, option: str, steps: Sequence[str], others: Sequence[str]) -> None:
    if not kept:
        why = f"{' and '.join(others)} need none of their jobs" if others else "these steps have no jobs"
        raise UsageError(f"{option} {' '.join(steps)} leaves nothing to do", why=why)


class _Targets:
    """What targets mean in a plan."""

    def __init__(self, plan: Plan, graph: _Graph) -> None:
        self._plan = plan
        self._graph = graph
        self._ids = {job.id for job in plan.jobs}
        made = [(output, job.id) for job in plan.jobs for output in job.outputs.values()]
        self._outputs = {output.path.rstrip("/"): job for output, job in made}
        self._folders = {output.path.rstrip("/") for output, _ in made if output.folder}

    def find(self, target: str) -> _Chosen:
        """Return what a target means; UsageError, with what is near, where it means nothing."""
        if target.startswith(_STEP):
            name = target.removeprefix(_STEP)
            require_step(self._plan, name)
            return self._graph.of_steps([name])
        path = target.rstrip("/")
        if path in self._outputs:
            return _Chosen(frozenset((self._outputs[path],)))
        if target in self._ids:
            return _Chosen(frozenset((target,)))
        later = frozenset(one.step for one in self._plan.deferred if self._may_make(one.step, path))
        found = _Chosen(self._around(path) or self._below(path), later)
        if not found:
            raise self._unknown(target)
        return found

    def _around(self, path: str) -> frozenset[str]:
        """Return the job whose folder output ``path`` lies in."""
        owner = next((folder for folder in ancestors(path) if folder in self._folders), None)
        return frozenset() if owner is None else frozenset((self._outputs[owner],))

    def _below(self, folder: str) -> frozenset[str]:
        """Return the jobs with outputs in the folder; ``.`` is the whole project."""
        prefix = "" if folder == "." else f"{folder}/"
        return frozenset(job for path, job in self._outputs.items() if path.startswith(prefix))

    def _may_make(self, step: str, path: str) -> bool:
        """Return whether a job of the step, of which none is known yet, could make ``path`` or what lies in it."""
        return any(
            _shape(output.path).fullmatch(path) is not None
            or path == "."
            or output.path.partition("{{")[0].startswith(f"{path}/")
            for output in self._plan.workflow.steps[step].outputs.values()
        )

    def _unknown(self, target: str) -> UsageError:
        """Return the error for a target that means nothing, with what may have been meant."""
        if target in self._plan.workflow.steps:
            hint = f"say step:{target} for all of its jobs"
            return UsageError(f"{target} is a step, not a job or an output", hint=hint)
        near = difflib.get_close_matches(target, [*self._outputs, *self._ids], 1, 0.7)
        other = "name an output, a folder of outputs, step:NAME or a job, as `repro plan --all` lists them"
        return UsageError(f"no step makes {target}", hint=f"did you mean {near[0]}?" if near else other)


def _shape(template: str) -> re.Pattern[str]:
    """Return a pattern of the paths that an output's template may become; a folder's covers what lies in it."""
    literal = [re.escape(part) for part in _PLACEHOLDER.split(template.rstrip("/"))]
    inside = "(?:/.*)?" if template.endswith("/") else ""
    return re.compile(".+".join(literal) + inside, re.DOTALL)
