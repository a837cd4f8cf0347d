"""What a step asks for, ``resources:``, and what one attempt at a job is granted of it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow import fields
from repro.workflow.amounts import Kind, parse_amount
from repro.workflow.commands import read_template
from repro.workflow.expand import render_path
from repro.workflow.model import Resources
from repro.workflow.source import Scalar
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.errors import Location
    from repro.workflow.fields import Problems
    from repro.workflow.model import Amount, Job
    from repro.workflow.source import Node

# what each is an amount of, and the least that makes sense; any other name is a named resource: a whole number
KINDS: Mapping[str, tuple[Kind, int]] = {
    "cpus": (Kind.COUNT, 1),
    "memory": (Kind.SIZE, 1),
    "disk": (Kind.SIZE, 1),
    "shm": (Kind.SIZE, 1),
    "time": (Kind.TIME, 1),
    "gpus": (Kind.COUNT, 0),
}
EXAMPLES = {"memory": "2GB", "disk": "10GB", "shm": "1GB", "time": "2h"}
_NAMED = (Kind.COUNT, 0)
# what other engines call them, and slips: as named resources they would wait for something that no host has
_MEANT = {
    "cpu": "cpus", "core": "cpus", "cores": "cpus", "threads": "cpus", "nproc": "cpus", "mem": "memory",
    "mem_mb": "memory", "mem_gb": "memory", "ram": "memory", "memory_mb": "memory", "disk_mb": "disk",
    "tmpdir": "disk", "scratch": "disk", "shm_size": "shm", "gpu": "gpus", "runtime": "time", "walltime": "time",
    "wall_time": "time", "timeout": "time",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Granted:
    """What one attempt at a job gets.

    ``memory``, ``disk`` and ``shm`` are bytes, ``time`` seconds; None where nothing was asked for. ``named`` counts
    what else the run has so many of.
    """

    cpus: int = 1
    memory: int | None = None
    disk: int | None = None
    shm: int | None = None
    time: int | None = None
    gpus: int = 0
    named: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """Amounts by name as they were read, and where each stands; a step's own come before those of ``defaults:``."""

    amounts: Mapping[str, Amount] = field(default_factory=dict)
    marks: Mapping[str, Location] = field(default_factory=dict)

    def over(self, other: Asked) -> Asked:
        """Return these amounts, and those of ``other`` that are not among them."""
        return Asked({**other.amounts, **self.amounts}, {**other.marks, **self.marks})

    def resources(self) -> Resources:
        """Return them as a step has them."""
        found = self.amounts
        return Resources(
            cpus=found.get("cpus", 1),
            memory=found.get("memory"),
            disk=found.get("disk"),
            shm=found.get("shm"),
            time=found.get("time"),
            gpus=found.get("gpus", 0),
            named={name: amount for name, amount in found.items() if name not in KINDS},
        )


def read_resources(node: Node, path: str, problems: Problems) -> Asked:
    """Return the amounts that are right; templates are kept as text, to be rendered for each attempt."""
    amounts: dict[str, Amount] = {}
    marks: dict[str, Location] = {}
    entries = fields.entries(node, path, problems) or ()
    for name, value in fields.named(entries, path, problems, "a resource").items():
        if name in _MEANT:
            where = next(entry.key.where for entry in entries if entry.key.text == name)
            problems.add(where, f"{path}.{name}", f"unknown resource {name!r}", f"did you mean {_MEANT[name]!r}?")
            continue
        marks[name] = value.where
        amount = _amount(name, value, f"{path}.{name}", problems)
        if amount is not None:
            amounts[name] = amount
    return Asked(amounts, marks)


def _amount(name: str, node: Node, path: str, problems: Problems) -> Amount | None:
    kind, least = KINDS.get(name, _NAMED)
    if kind is Kind.COUNT and not (isinstance(node, Scalar) and "{{" in node.text):
        return fields.whole(node, path, problems, least)
    text = fields.text(node, path, problems, kind.value)
    template = read_template(text, node.where, path, problems) if text is not None else None
    if text is None or template is None:
        return None
    if template.placeholders:
        return text
    try:
        return parse_amount(text, kind, least)
    except TemplateError as error:
        problems.add(node.where, path, error.message, error.hint or "")
        return None


def amounts(resources: Resources) -> Iterator[tuple[str, Amount]]:
    """Yield what is asked for, by name; what was not declared is left out, but for ``cpus``."""
    yield "cpus", resources.cpus
    for name in ("memory", "disk", "shm", "time"):
        if (amount := getattr(resources, name)) is not None:
            yield name, amount
    if resources.gpus != 0:
        yield "gpus", resources.gpus
    yield from resources.named.items()


class AmountError(TemplateError):
    """A template of ``resources.<name>`` that gives no such amount, for the attempt and the job that it names."""

    def __init__(self, name: str, job: Job, attempt: int, error: TemplateError) -> None:
        of = f"{job.id}, attempt {attempt}" if attempt > 1 else job.id
        super().__init__(f"{error.message} (resources.{name} of {of})", index=error.index, hint=error.hint)
        self.name = name


def granted(job: Job, attempt: int = 1) -> Granted:
    """Return what attempt number ``attempt`` (from 1) at a job gets, as its step asks: no host's limits are in it.

    Templates see ``attempt``, the params and the foreach values.

    Raises:
        AmountError: a template fails, or gives no such amount.
    """
    asked = job.step.resources
    scope: Mapping[str, object] = {}
    if has_templates(asked):
        scope = {**job.values, "params": {**job.resource_params, **job.params}, "attempt": attempt}
    found: dict[str, int] = {}
    for name, amount in amounts(asked):
        try:
            found[name] = amount if isinstance(amount, int) else _rendered(name, amount, scope)
        except TemplateError as error:
            raise AmountError(name, job, attempt, error) from error
    return Granted(
        cpus=found["cpus"],
        memory=found.get("memory"),
        disk=found.get("disk"),
        shm=found.get("shm"),
        time=found.get("time"),
        gpus=found.get("gpus", 0),
        named={name: found[name] for name in asked.named},
    )


def _rendered(name: str, text: str, scope: Mapping[str, object]) -> int:
    return parse_amount(render_path(text, scope), *KINDS.get(name, _NAMED))


def has_templates(asked: Resources) -> bool:
    """Return whether any amount may differ between jobs, or between attempts at one."""
    return any(isinstance(amount, str) for _, amount in amounts(asked))


def told(job: Job, given: Granted) -> dict[str, str]:
    """Return what a job is told of its resources, in commands and in ``$REPRO_JOB``: all that its step asks for."""
    numbers: dict[str, int | None] = {**{name: getattr(given, name) for name in KINDS}, **given.named}
    return {name: str(numbers[name]) for name, _ in amounts(job.step.resources)}
