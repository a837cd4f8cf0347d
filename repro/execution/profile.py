"""A project's profile of a cluster, ``profiles/slurm.yaml``: partition, account, batches, where things lie on nodes."""

from __future__ import annotations

from dataclasses import field
from string import Template
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import UsageError, WorkflowError
from repro.workflow import fields
from repro.workflow.amounts import Kind, parse_amount
from repro.workflow.fields import Problems
from repro.workflow.parser import parse
from repro.workflow.source import Scalar
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from repro.workflow.source import Node

_MODES = ("real", "sub", "one")
_BATCH_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Batching:
    """Which jobs share a Slurm job: ``jobs`` of them, or as many as take ``time`` seconds as far as that is known."""

    jobs: int | None = None
    time: int = _BATCH_SECONDS


@dataclass(frozen=True, slots=True)
class Placement:
    """What Slurm is asked for; None: what another level says, or Slurm itself.

    Attributes:
        partition: name of the partition; so are ``account``, ``qos`` and ``constraint`` as sbatch knows them.
        account: see ``partition``.
        qos: see ``partition``.
        constraint: see ``partition``.
        time: seconds for a job whose step declares no time.
        memory: bytes for a job whose step declares none.
        gpus: what a graphics processor is called in ``--gres``, such as ``gpu:a100``.
        extra: more options of sbatch, as they are.
        batch: which jobs share a Slurm job.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int | None = None
    memory: int | None = None
    gpus: str | None = None
    extra: tuple[str, ...] | None = None
    batch: Batching | None = None

    def over(self, other: Placement) -> Placement:
        """Return what this level says, and what ``other`` says where it says nothing."""
        names = ("partition", "account", "qos", "constraint", "time", "memory", "gpus", "extra", "batch")
        chosen = {name: getattr(other, name) if getattr(self, name) is None else getattr(self, name) for name in names}
        return Placement(**chosen)


@dataclass(frozen=True, slots=True)
class Profile:
    """How the jobs of a project go to a cluster.

    Attributes:
        placement: for all steps; ``steps`` has what some want otherwise, by name.
        steps: see ``placement``.
        jobs: Slurm jobs at once, waiting or running.
        lost: how often a job is given to Slurm again after it was lost with its node, or cancelled.
        executor: ``slurm``, or another executor plugin of Snakemake.
        store: the store (``$REPRO_STORE``) of driver and nodes, ``cache`` that of downloads (``$REPRO_CACHE``).
        cache: see ``store``.
        scratch: folder on nodes for the jobs' worlds; ``$NAME`` in it is a variable of the node.
        mode: how driver and nodes are root in containers (``$REPRO_MODE``).
        driver: what the driver's own Slurm job asks for with ``--detach``.
    """

    placement: Placement = field(default_factory=Placement)
    steps: Mapping[str, Placement] = field(default_factory=dict)
    jobs: int = 100
    lost: int = 2
    executor: str = "slurm"
    store: str | None = None
    cache: str | None = None
    scratch: str | None = None
    mode: str | None = None
    driver: Placement = field(default_factory=Placement)

    def of(self, step: str) -> Placement:
        """Return what is asked for the jobs of a step."""
        own = self.steps.get(step)
        return self.placement if own is None else own.over(self.placement)


_PLACEMENT = ("partition", "account", "qos", "constraint", "time", "memory", "gpus", "extra", "batch")
_TEXTS = ("partition", "account", "qos", "constraint", "gpus")
_PLACES = ("store", "cache", "scratch")
_KEYS = ("executor", *_PLACEMENT, "steps", "jobs", "lost", *_PLACES, "mode", "driver")


def read_profile(text: str, file: str, steps: Collection[str]) -> Profile:
    """Return the profile that ``text`` is; ``file`` is its name as the user gave it, ``steps`` those there are.

    Raises:
        WorkflowError: with every mistake in it.
    """
    document = parse(text, file)
    problems = Problems(document.source)
    problems.found.extend(document.problems)
    profile = Profile()
    if document.root is not None:
        entries = fields.entries(document.root, "", problems, "a profile as a mapping")
        if entries is not None:
            profile = _profile(fields.keys(entries, "", problems, _KEYS), steps, problems)
    if problems.found:
        raise WorkflowError(problems.found)
    return profile


def _profile(found: Mapping[str, Node], steps: Collection[str], problems: Problems) -> Profile:
    own: dict[str, Placement] = {}
    if "steps" in found:
        for entry in fields.entries(found["steps"], "steps", problems, "a mapping of steps") or ():
            name, path = entry.key.text, f"steps.{entry.key.text}"
            if name not in steps:
                problems.add(entry.key.where, path, f"the workflow has no step {name!r}", fields.near(name, steps))
                continue
            own[name] = _placement(entry.value, path, problems)
    places = {name: fields.text(found[name], name, problems, "a path") for name in _PLACES if name in found}
    driver = _placement(found["driver"], "driver", problems) if "driver" in found else Placement()
    return Profile(
        placement=_read_placement({name: found[name] for name in _PLACEMENT if name in found}, "", problems),
        steps=own,
        jobs=_whole(found, "jobs", 1, problems) or 100,
        lost=2 if (lost := _whole(found, "lost", 0, problems)) is None else lost,
        executor=(_word(found["executor"], "executor", problems) if "executor" in found else None) or "slurm",
        store=places.get("store"),
        cache=places.get("cache"),
        scratch=places.get("scratch"),
        mode=_mode(found["mode"], problems) if "mode" in found else None,
        driver=driver,
    )


def _placement(node: Node, path: str, problems: Problems) -> Placement:
    entries = fields.entries(node, path, problems) or ()
    return _read_placement(fields.keys(entries, path, problems, _PLACEMENT), f"{path}.", problems)


def _read_placement(found: Mapping[str, Node], path: str, problems: Problems) -> Placement:
    texts = {name: _word(found[name], f"{path}{name}", problems) for name in _TEXTS if name in found}
    amounts = {
        name: _amount(found[name], f"{path}{name}", kind, problems)
        for name, kind in (("time", Kind.TIME), ("memory", Kind.SIZE))
        if name in found
    }
    extra = fields.texts(found["extra"], f"{path}extra", problems, "options of sbatch") if "extra" in found else None
    return Placement(
        partition=texts.get("partition"),
        account=texts.get("account"),
        qos=texts.get("qos"),
        constraint=texts.get("constraint"),
        gpus=texts.get("gpus"),
        time=amounts.get("time"),
        memory=amounts.get("memory"),
        extra=extra,
        batch=_batching(found["batch"], f"{path}batch", problems) if "batch" in found else None,
    )


def _batching(node: Node, path: str, problems: Problems) -> Batching | None:
    """Return what ``batch: 25``, ``batch: 10m`` or ``batch: {jobs: 25, time: 10m}`` says."""
    if isinstance(node, Scalar):
        if node.text.isdecimal():
            return Batching(jobs=fields.whole(node, path, problems, 1))
        time = _amount(node, path, Kind.TIME, problems)
        return None if time is None else Batching(time=time)
    found = fields.keys(fields.entries(node, path, problems) or (), path, problems, ("jobs", "time"))
    jobs = fields.whole(found["jobs"], f"{path}.jobs", problems, 1) if "jobs" in found else None
    time = _amount(found["time"], f"{path}.time", Kind.TIME, problems) if "time" in found else None
    return Batching(jobs, _BATCH_SECONDS if time is None else time)


def _word(node: Node, path: str, problems: Problems) -> str | None:
    text = fields.text(node, path, problems, "a name")
    if text is not None and (not text or text.startswith("-") or any(one.isspace() for one in text)):
        problems.add(node.where, path, f"{text!r} is no name that Slurm could have")
        return None
    return text


def _amount(node: Node, path: str, kind: Kind, problems: Problems) -> int | None:
    text = fields.text(node, path, problems, kind.value)
    try:
        return None if text is None else parse_amount(text, kind, 1)
    except TemplateError as error:
        problems.add(node.where, path, error.message, error.hint or "")
        return None


def _whole(found: Mapping[str, Node], name: str, least: int, problems: Problems) -> int | None:
    return fields.whole(found[name], name, problems, least) if name in found else None


def _mode(node: Node, problems: Problems) -> str | None:
    text = fields.text(node, "mode", problems, "a mode")
    if text is not None and text not in _MODES:
        problems.add(node.where, "mode", f"{text!r} is no mode", f"it is one of {', '.join(_MODES)}")
        return None
    return text


def told(path: str, environ: Mapping[str, str]) -> str:
    """Return a path of a profile with its variables; UsageError for one that is not set."""
    try:
        return Template(path).substitute(environ)
    except (KeyError, ValueError) as error:
        hint = "name a variable that is set there, or write the path out"
        raise UsageError(f"the profile's path {path} says nothing here", why=f"variable {error}", hint=hint) from error
