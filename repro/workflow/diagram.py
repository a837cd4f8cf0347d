"""A plan as boxes and arrows: one box a step, or one a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.forms import forms
from repro.workflow.model import ForeachItems, FromInput
from repro.workflow.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from repro.workflow.forms import Form
    from repro.workflow.model import Plan, Step


@dataclass(frozen=True, slots=True)
class Box:
    """A step or a job: its name, a word on it (empty for none), its environment, and what it needs (indices).

    ``settled`` ones have jobs, or are jobs; others wait for earlier steps, or are switched off.
    """

    name: str
    note: str
    environment: str
    needs: tuple[int, ...]
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes, each after those that it needs as far as the plan has an order."""

    title: str
    boxes: tuple[Box, ...]


def diagram(plan: Plan, *, jobs: bool = False) -> Diagram:
    """Return the boxes of all steps, or of all ``jobs`` and of the steps that have none yet."""
    return Diagram(plan.workflow.name, tuple(_jobs(plan) if jobs else _steps(plan)))


def _jobs(plan: Plan) -> Iterator[Box]:
    place = {job.id: number for number, job in enumerate(plan.jobs)}
    by_step: dict[str, list[int]] = {}
    for number, job in enumerate(plan.jobs):
        by_step.setdefault(job.step.name, []).append(number)
        yield Box(job.id, "", job.step.environment, tuple(place[need] for need in job.needs if need in place))
    steps = plan.workflow.steps
    waits = {one.step: one.waits for one in plan.deferred}
    known = [form for step in steps.values() for form in forms(step)]
    shown = by_step.keys() | waits.keys()
    reads = {name: _declared(steps[name], known) & shown or set(waits[name]) & shown for name in waits}
    for name in _in_order(waits, {name: read & waits.keys() for name, read in reads.items()}):
        needs = [number for read in sorted(reads[name]) for number in by_step.get(read, ())]
        by_step[name] = [len(plan.jobs) + len(by_step.keys() & waits.keys())]
        yield Box(name, _waiting(waits[name]), steps[name].environment, tuple(needs), settled=False)


def _steps(plan: Plan) -> Iterator[Box]:
    steps = plan.workflow.steps
    waits = {one.step: one.waits for one in plan.deferred}
    needs: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    of_job = {job.id: job.step.name for job in plan.jobs}
    for job in plan.jobs:
        counts[job.step.name] = counts.get(job.step.name, 0) + 1
        needs.setdefault(job.step.name, set()).update(of_job[need] for need in job.needs if need in of_job)
    off = {name for name, step in steps.items() if step.when is not None and name not in counts and name not in waits}
    if len(counts) + len(waits) + len(off) < len(steps):
        off = set()  # a part of the plan was chosen: what is off is none of it
    shown = [name for name in steps if name in counts or name in waits or name in off]
    known = [form for step in steps.values() for form in forms(step)]
    for name in shown:
        if name not in counts:
            # in a part of a plan, what a step reads may be left out, but never what it waits for
            needs[name] = _declared(steps[name], known).intersection(shown) or set(waits.get(name, ())) & set(shown)
    order = _in_order(shown, needs)
    place = {name: number for number, name in enumerate(order)}
    for name in order:
        note = _waiting(waits[name]) if name in waits else "off" if name in off else _jobs_of(counts[name])
        found = tuple(sorted(place[need] for need in needs[name] if place[need] < place[name]))
        yield Box(name, note, steps[name].environment, found, settled=name in counts)


def _jobs_of(count: int) -> str:
    return f"{count} jobs" if count > 1 else ""


def _waiting(waits: Sequence[str]) -> str:
    return f"after {', '.join(waits)}"


def _declared(step: Step, known: Iterable[Form]) -> set[str]:
    """Return the steps that a step without jobs says it reads: by name, or by a path that one of them makes."""
    read = {step.foreach.step} if isinstance(step.foreach, ForeachItems) else set()
    for taken in step.inputs.values():
        if isinstance(taken, FromInput):
            read.add(taken.step)
            continue
        paths = [path for path in taken.paths if not parse_template(path).placeholders]
        read |= {form.step for form in known for path in paths if form.fits(path) or form.lies_in(path)}
    return read - {step.name}


def _in_order(steps: Iterable[str], needs: Mapping[str, set[str]]) -> list[str]:
    """Return the steps, each after those it needs; steps that are off may need each other, and are cut loose."""
    order: dict[str, None] = {}
    for first in steps:
        pending = [first]
        entered = {first}
        while pending:
            ahead = [
                name for name in sorted(needs[pending[-1]], reverse=True) if name not in order and name not in entered
            ]
            if ahead:
                pending += ahead
                entered.update(ahead)
            else:
                order[pending.pop()] = None
    return list(order)
