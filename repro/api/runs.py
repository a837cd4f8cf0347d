"""Plan, lock, build and run a workflow; ask how its runs went."""

from __future__ import annotations

import errno
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

from repro import __version__
from repro.api.data_limit import keep_within_limit, require_limit
from repro.api.engine import Engine, opened
from repro.api.environment_build import Manner
from repro.api.environments import Environments, used_environments
from repro.api.inputs import Inputs
from repro.api.project import holding, open_plan, open_project
from repro.api.sizes import parse_size
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import BusyError, UsageError
from repro.events import RunFinished, RunStarted, ignore
from repro.execution.run import Executor
from repro.execution.state import State
from repro.files import locked
from repro.provenance import journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.api.environments import BuiltImage
    from repro.api.host import Host
    from repro.api.project import Project
    from repro.events import Event, Sink
    from repro.execution.key import Change
    from repro.execution.run import JobState
    from repro.workflow.model import Plan
    from repro.workflow.project import ProjectFiles


def validate(host: Host, named: str | None) -> Plan:
    """Return the plan of the workflow; WorkflowError with every mistake in it."""
    with opened(host, ignore) as engine:
        return opened_plan(host, named, engine).plan


@dataclass(frozen=True, slots=True)
class OpenedPlan:
    """A project, the plan of its jobs, its environments, and its inputs from elsewhere."""

    project: Project
    plan: Plan
    environments: Environments
    inputs: Inputs


def opened_plan(host: Host, named: str | None, engine: Engine, *, may_add: bool = False, pin: str = "") -> OpenedPlan:
    """Return the plan of the workflow; WorkflowError with every mistake in it.

    Args:
        host: the machine and the caller.
        named: the workflow file.
        engine: where environments and inputs are to be had.
        may_add: what the lock lacks is resolved when it is needed.
        pin: who holds the project while inputs are resolved (or refused) now, and what is planned from is fetched;
            empty: nothing is locked or fetched, and what is planned from must be here.
    """
    made: list[tuple[Environments, Inputs]] = []

    def parts(project: Project) -> tuple[Environments, Inputs]:
        environments = Environments(project, engine, may_add=may_add)
        return environments, Inputs(project, engine, environments.lock, offline=not pin)

    def files(project: Project) -> ProjectFiles:
        made.append(parts(project))
        inputs = made[0][1]
        if pin:
            with holding(host, project, pin):
                inputs.pin()
        return inputs.files()

    project, workflow_plan = open_plan(host, named, files)
    environments, inputs = made[0] if made else parts(project)
    return OpenedPlan(project, workflow_plan, environments, inputs)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """How a job stands: ``cached``, ``run``, or ``pending`` until its inputs are there."""

    job: str
    step: str
    status: str
    why: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """What `repro run` would do now."""

    workflow: str
    jobs: tuple[PlannedJob, ...]


def plan(host: Host, named: str | None) -> Planned:
    """Return how each job stands. Nothing is locked, built or run: a job without an image yet is to run."""
    with opened(host, ignore) as engine:
        found = opened_plan(host, named, engine)
        states = assessed(host, found, engine)
    return Planned(found.project.shown, tuple(_planned(state) for state in states))


def assessed(host: Host, found: OpenedPlan, engine: Engine) -> tuple[JobState, ...]:
    """Return how each job stands; nothing is locked, built or run."""
    return _executor(host, found, found.environments.known_ids(), engine, ignore).assess()


def _planned(state: JobState) -> PlannedJob:
    return PlannedJob(state.job.id, state.job.step.name, state.status, state.why, state.changes)


def build(
    host: Host,
    named: str | None,
    *,
    environments: tuple[str, ...],
    sink: Sink,
    manner: Manner | None = None,
    verify: bool = False,
) -> tuple[BuiltImage, ...]:
    """Return the images of the environments (default: all that steps use), built where the store lacks them.

    ``verify`` builds each a second time, elsewhere, and says what differs.
    """
    project = open_project(host, named)
    names = used_environments(project, environments)
    with holding(host, project, "repro build"), opened(host, sink) as engine:
        engine.enter()
        made = Environments(project, engine)
        return tuple(made.build(name, manner or Manner(), verify=verify) for name in names)


class Run:
    """One `repro run`. ``stop`` may be called from a signal handler at any time."""

    def __init__(
        self,
        host: Host,
        named: str | None,
        *,
        cpus: int | None = None,
        memory: str | None = None,
        locked: bool = False,
        secrets: Sequence[str] = (),
        sink: Sink = ignore,
    ) -> None:
        if cpus is not None and cpus < 1:
            raise UsageError(f"--cpus {cpus}: at least 1 is needed")
        self._host = host
        self._cpus = min(cpus or host.cpus, host.cpus)
        self._memory = host.memory if memory is None else parse_size(memory)
        require_limit(host)
        self._may_add = not locked
        self._secrets = _read_secrets(secrets, host) if secrets else {}
        self._sink = sink
        self._named = named
        self._executor: Executor | None = None
        self._journal: Sink = ignore
        self._stopped = False

    def stop(self) -> None:
        """End the run soon; before the jobs, while images are made, by KeyboardInterrupt in the caller's thread."""
        self._stopped = True
        if self._executor is None:
            raise KeyboardInterrupt
        self._executor.stop()

    def execute(self) -> RunFinished:
        """Run what is not cached; return the counts. Errors of lock and build are raised, failed jobs are counted."""
        host = self._host
        run_id = f"{host.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        with ExitStack() as stack:
            stack.callback(keep_within_limit, host, self._sink)
            engine = stack.enter_context(opened(host, self._sink))
            found = opened_plan(host, self._named, engine, may_add=self._may_add, pin=f"run {run_id}")
            project, workflow_plan, state = found.project, found.plan, State(found.project.root)
            if project.workflow.inputs:
                stack.enter_context(found.inputs.in_use())
            with holding(host, project, f"run {run_id}"):
                executor = self._prepare(found, engine)
            written = stack.enter_context(journal.Journal(state.runs / run_id / journal.JOURNAL, host.now))
            self._journal = written
            self._emit(
                RunStarted(
                    run=run_id,
                    workflow=project.shown,
                    workflow_digest=project.digest,
                    lock_digest=Digest.of_file(project.lock_file) if project.lock_file.exists() else None,
                    jobs=len(workflow_plan.jobs),
                    host=host.name,
                    user=host.user,
                    version=__version__,
                )
            )
            self._executor = executor
            if self._stopped:
                executor.stop()
            return executor.run(run_id)

    def _prepare(self, found: OpenedPlan, engine: Engine) -> Executor:
        """Lock what is missing, and have the images of all jobs that are not cached; return the executor."""
        environments = found.environments
        ids: dict[str, Digest] = {}
        names = tuple(dict.fromkeys(job.step.environment for job in found.plan.jobs))
        for name in names:
            ids[name] = environments.image_id(name)
        while True:
            executor = _executor(
                self._host,
                found,
                ids,
                engine,
                self._emit,
                cpus=self._cpus,
                memory=self._memory,
                secrets=self._secrets,
            )
            todo = [state.job for state in executor.assess() if state.status != "cached"]
            if todo:
                engine.enter()  # before any thread: images are built, and the jobs' containers started, by many
            executor.require_memory(todo)  # before images are built and a run begins that could not end
            wanted = dict.fromkeys(job.step.environment for job in todo)
            made = {name: environments.image(name).image_id for name in wanted}
            if all(ids[name] == image_id for name, image_id in made.items()):
                return executor
            ids |= made  # a rebuilt image is another one than the lock said: the keys are, too

    def _emit(self, event: Event) -> None:
        self._journal(event)
        self._sink(event)


def _executor(
    host: Host,
    found: OpenedPlan,
    ids: Mapping[str, Digest],
    engine: Engine,
    sink: Sink,
    *,
    cpus: int | None = None,
    memory: int | None = None,
    secrets: Mapping[str, bytes] | None = None,
) -> Executor:
    return Executor(
        found.project.root,
        found.plan,
        image_ids=ids,
        images=found.environments.image,
        launcher=engine.launcher,
        sink=sink,
        now=host.now,
        host=host.name,
        cpus=cpus or host.cpus,
        memory=memory or host.memory,
        pinned=found.inputs,
        secrets=secrets,
        cache=found.environments.lock.cache,
    )


def _read_secrets(given: Sequence[str], host: Host) -> dict[str, bytes]:
    from repro.api.secrets import read_secrets  # noqa: PLC0415 - only where one is given

    return {name: secret.data for name, secret in read_secrets(given, host).items()}


# ---- questions about runs


@dataclass(frozen=True, slots=True)
class Status:
    """How the project stands: who is running it now (None: nobody), its last run, and that run's failed jobs."""

    running: str | None
    last: journal.RunSummary | None
    failures: tuple[journal.JobSummary, ...]


def status(host: Host, named: str | None) -> Status:
    """Return how the last run went, and whether one is going on."""
    state = State(open_project(host, named).root)
    running = None
    if state.lock.exists():
        try:
            with locked(state.lock, wait=False):
                pass
        except BusyError as error:
            running = (error.why or "").removeprefix("held by ")
        except OSError as error:  # a project that may only be read can be asked all the same
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    found = journal.runs(state.runs)
    if not found:
        return Status(running, None, ())
    last = found[-1]
    jobs = journal.jobs(journal.read(state.runs / last.run / journal.JOURNAL))
    return Status(running, last, tuple(job for job in jobs if job.state == "failed"))


def runs(host: Host, named: str | None) -> tuple[journal.RunSummary, ...]:
    """Return the project's runs, newest first."""
    return tuple(reversed(journal.runs(State(open_project(host, named).root).runs)))


def run_jobs(host: Host, named: str | None, run: str) -> tuple[journal.JobSummary, ...]:
    """Return the jobs of the run with that ID (or the start of one, or ``last``); UsageError when there is none."""
    folder = State(open_project(host, named).root).runs
    known = [summary.run for summary in journal.runs(folder)]
    found = known[-1:] if run == "last" else [name for name in known if name.startswith(run)]
    if len(found) != 1:
        what = "no run yet" if not known else f"no run {run!r}" if not found else f"{run!r} means {len(found)} runs"
        raise UsageError(what, hint="`repro log` lists them")
    return journal.jobs(journal.read(folder / found[0] / journal.JOURNAL))
