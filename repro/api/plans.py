"""The plan of a workflow, and how each of its jobs stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.environments import Environments
from repro.api.fetching import LockedFetches
from repro.api.inputs import Inputs
from repro.api.project import holding, open_plan
from repro.api.selection import ALL, Selection
from repro.dataclass import dataclass
from repro.events import ignore
from repro.execution.run import Executor
from repro.workflow.plan import plan as plan_jobs
from repro.workflow.project import FolderProject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.project import Project
    from repro.api.waiting import Turn
    from repro.digest import Digest
    from repro.events import Sink
    from repro.execution.key import Change
    from repro.execution.run import JobState
    from repro.workflow.model import Plan
    from repro.workflow.project import ProjectFiles


def validate(host: Host, named: str | None, selection: Selection = ALL) -> Plan:
    """Return the plan of the workflow (of what ``selection`` names in it); WorkflowError with every mistake in it."""
    with opened(host, ignore) as engine:
        return opened_plan(host, named, engine, selection=selection).plan


@dataclass(frozen=True, slots=True)
class OpenedPlan:
    """A project, the plan of the jobs that are wanted, its environments, and its inputs from elsewhere.

    ``files`` are the project's, with the inputs among them, as planning sees them.
    """

    project: Project
    plan: Plan
    environments: Environments
    inputs: Inputs
    files: ProjectFiles
    selection: Selection = ALL

    @property
    def fetched(self) -> LockedFetches:
        """What the lock says of the outputs of fetching steps."""
        return LockedFetches(self.environments.lock)

    def again(self, done: frozenset[str]) -> Plan:
        """Return the plan once the steps in ``done`` are: with the jobs of those that waited for them.

        A step of which only some jobs are wanted is never done for those that range over all of what it makes.
        """
        awaited = frozenset(step for one in self.plan.deferred for step in one.waits)
        whole = plan_jobs(self.project.workflow, self.files, done & awaited)
        return self.selection.of(whole, self.project.root)


def opened_plan(
    host: Host,
    named: str | None,
    engine: Engine,
    *,
    selection: Selection = ALL,
    may_add: bool = False,
    pin: str = "",
    online: bool = False,
    turn: Turn | None = None,
) -> OpenedPlan:
    """Return the plan of the workflow; WorkflowError with every mistake in it.

    Args:
        host: the machine and the caller.
        named: the workflow file.
        engine: where environments and inputs are to be had.
        selection: what of it is wanted.
        may_add: what the lock lacks is resolved when it is needed.
        pin: who holds the project while inputs are resolved (or refused) now, and what is planned from is fetched;
            empty: nothing is locked, and what is planned from must be here.
        online: inputs that are locked may be fetched without ``pin`` as well.
        turn: how the project is held then.
    """
    made: list[tuple[Environments, Inputs]] = []

    def parts(project: Project) -> tuple[Environments, Inputs]:
        environments = Environments(project, engine, may_add=may_add)
        return environments, Inputs(project, engine, environments.lock, offline=not (pin or online))

    def files(project: Project) -> ProjectFiles:
        made.append(parts(project))
        inputs = made[0][1]
        if pin:
            with holding(host, project, pin, turn):
                inputs.pin()
        return inputs.files()

    project, whole = open_plan(host, named, files, selection.params)
    environments, inputs = made[0] if made else parts(project)
    seen = inputs.files() if made else FolderProject(project.root)
    return OpenedPlan(project, selection.of(whole, project.root), environments, inputs, seen, selection)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """How a job stands: ``cached``, ``run``, or ``pending`` until its inputs are there.

    ``why`` says it in words, ``changes`` are the parts of its key that differ from its last record.
    """

    job: str
    step: str
    status: str
    why: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step whose jobs are planned once the steps in ``waits`` are done."""

    step: str
    waits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """What `repro run` would do now; the jobs in the order of the plan.

    ``hashed`` are the bytes of files that had to be read to say so: those that no plan or run has seen as they are now.
    """

    workflow: str
    jobs: tuple[PlannedJob, ...]
    deferred: tuple[PlannedStep, ...] = ()
    hashed: int = 0

    def count(self, status: str) -> int:
        """Return how many jobs have that status."""
        return sum(job.status == status for job in self.jobs)


def plan(host: Host, named: str | None, selection: Selection = ALL) -> Planned:
    """Return how each job stands. Nothing is locked, built or run: a job without an image yet is to run."""
    with opened(host, ignore) as engine:
        found = opened_plan(host, named, engine, selection=selection)
        executor = executor_of(host, found, found.environments.known_ids(), engine)
        states = executor.assess()
        selection.require_cached(executor.plan, states)
        deferred = executor.plan.deferred
    return Planned(
        found.project.shown,
        tuple(_planned(state) for state in states),
        tuple(PlannedStep(one.step, one.waits) for one in deferred),
        found.environments.lock.cache.hashed,
    )


def assessed(host: Host, found: OpenedPlan, engine: Engine) -> tuple[JobState, ...]:
    """Return how each job stands; nothing is locked, built or run."""
    return executor_of(host, found, found.environments.known_ids(), engine).assess()


def executor_of(
    host: Host,
    found: OpenedPlan,
    ids: Mapping[str, Digest],
    engine: Engine,
    *,
    sink: Sink = ignore,
    secrets: Mapping[str, bytes] | None = None,
) -> Executor:
    """Return an executor that can say how the jobs stand, with all of the host for them."""
    return Executor(
        found.project.root,
        found.plan,
        image_ids=ids,
        images=found.environments.image,
        launcher=engine.launcher,
        sink=sink,
        now=host.now,
        host=host.name,
        cpus=host.cpus,
        memory=host.memory,
        pinned=found.inputs,
        secrets=secrets,
        cache=found.environments.lock.cache,
        fetched=found.fetched,
        forced=frozenset(found.selection.force),
        replan=found.again,
    )


def _planned(state: JobState) -> PlannedJob:
    return PlannedJob(state.job.id, state.job.step.name, state.status, state.why, state.changes)
