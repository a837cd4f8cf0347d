"""Run a workflow, and build the images of its environments."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

from repro import __version__
from repro.api.data_limit import keep_within_limit, require_limit
from repro.api.engine import Engine, opened
from repro.api.environment_build import Manner
from repro.api.environments import Environments, used_environments
from repro.api.following import JobOutputs
from repro.api.plans import opened_plan
from repro.api.project import holding, open_project
from repro.api.selection import ALL, Selection
from repro.api.sizes import parse_size
from repro.api.waiting import Turn
from repro.digest import Digest
from repro.errors import UsageError
from repro.events import RunFinished, RunStarted, ignore
from repro.execution.run import Executor
from repro.execution.state import State
from repro.provenance import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repro.api.cluster import Destination
    from repro.api.environments import BuiltImage
    from repro.api.host import Host
    from repro.api.plans import OpenedPlan
    from repro.events import Event, Sink


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
    """One `repro run`; `execute` is called once, from any thread. It sets no signal handler.

    Args:
        host: the machine and the caller.
        named: the workflow file, or its folder; None: ``workflow.yaml`` here.
        selection: what of it is wanted.
        cpus: what all running jobs may use together, as are the next two; None: what the host has.
        memory: such as ``8GB``.
        named_resources: how many there are of what steps ask for by names of their own.
        keep_going: after a failed job start all that does not need it; otherwise nothing more.
        wait: wait for another run in the project to end.
        locked: add nothing to workflow.lock.
        secrets: ``id=NAME,src=FILE`` or ``id=NAME,env=VAR``.
        sink: hears what happens, from any thread.
        output: hears each line that a job prints, with the job's id, as it is printed.
        cluster: where the jobs go; None: to this host.
    """

    def __init__(
        self,
        host: Host,
        named: str | None,
        *,
        selection: Selection = ALL,
        cpus: int | None = None,
        memory: str | None = None,
        named_resources: Mapping[str, int] | None = None,
        keep_going: bool = False,
        wait: bool = False,
        locked: bool = False,
        secrets: Sequence[str] = (),
        sink: Sink = ignore,
        output: Callable[[str, str], None] | None = None,
        cluster: Destination | None = None,
    ) -> None:
        if cpus is not None and cpus < 1:
            raise UsageError(f"--cpus {cpus}: at least 1 is needed")
        self._destination = cluster
        self._host = host if cluster is None else cluster.host
        self._secrets_given = tuple(secrets)
        self._selection = selection
        self._cpus = min(cpus or host.cpus, host.cpus)
        self._memory = host.memory if memory is None else parse_size(memory)
        self._resources = named_resources or {}
        self._keep_going = keep_going
        self._wait = wait
        require_limit(host)
        self._may_add = not locked
        self._secrets = _read_secrets(secrets, host) if secrets else {}
        self._sink = sink
        self._named = named
        self._executor: Executor | None = None
        self._journal: Sink = ignore
        self._output = output
        self._outputs: Sink = ignore
        self._stopped = False

    def stop(self) -> bool:
        """Have the run end soon; for signal handlers and other threads, at any time.

        Returns:
            Whether it will end by itself: jobs under way are killed. False before the first job, while images are made
            and data is fetched: the caller may interrupt that, else the run ends when it is done.
        """
        self._stopped = True
        if self._executor is None:
            return False
        self._executor.stop()
        return True

    def execute(self) -> RunFinished:
        """Run what is not cached; return the counts. Errors of lock and build are raised, failed jobs are counted."""
        host = self._host
        run_id = f"{host.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        with ExitStack() as stack:
            stack.callback(keep_within_limit, host, self._sink)
            engine = stack.enter_context(opened(host, self._sink))
            if self._destination is not None:
                from repro.api.cluster import prepare  # noqa: PLC0415 - only for runs on a cluster

                prepare(self._destination, engine, self._named, may_lock=self._may_add)
            turn = Turn(wait=self._wait, sink=self._sink, stopped=lambda: self._stopped)
            what = f"run {run_id}"
            found = opened_plan(
                host, self._named, engine, selection=self._selection, may_add=self._may_add, pin=what, turn=turn
            )
            project, state = found.project, State(found.project.root)
            if project.workflow.inputs:
                stack.enter_context(found.inputs.in_use())
            with holding(host, project, what, turn):
                executor = self._prepare(found, engine)
            self._journal = stack.enter_context(journal.Journal(state.runs / run_id / journal.JOURNAL, host.now))
            if self._output is not None:
                outputs = JobOutputs(lambda job: state.log(run_id, job), self._output)
                stack.callback(outputs.close)
                self._outputs = outputs
            self._emit(
                RunStarted(
                    run=run_id,
                    workflow=project.shown,
                    workflow_digest=project.digest,
                    lock_digest=Digest.of_file(project.lock_file) if project.lock_file.exists() else None,
                    jobs=len(executor.plan.jobs),
                    host=host.name,
                    user=host.user,
                    version=__version__,
                )
            )
            self._executor = executor
            if self._stopped:
                executor.stop()
            return turn.take(state.lock, lambda: executor.run(run_id))

    def _prepare(self, found: OpenedPlan, engine: Engine) -> Executor:
        """Lock what is missing, and have the images of all jobs that are not cached; return the executor."""
        environments = found.environments
        steps = found.project.workflow.steps
        names = [job.step.environment for job in found.plan.jobs]
        names += [steps[one.step].environment for one in found.plan.deferred]
        ids = {name: environments.image_id(name) for name in dict.fromkeys(names)}
        while True:
            executor = self._executor_for(found, ids, engine)
            states = executor.assess()
            self._selection.require_cached(executor.plan, states)
            todo = [state.job for state in states if state.status != "cached"]
            if todo:
                engine.enter()  # before any thread: images are built, and the jobs' containers started, by many
            if self._destination is None:
                executor.require_room(todo)  # before images are built and a run begins that could not end
            wanted = dict.fromkeys(job.step.environment for job in todo)
            made = {name: environments.image(name).image_id for name in wanted}
            if all(ids[name] == image_id for name, image_id in made.items()):
                return executor
            ids |= made  # a rebuilt image is another one than the lock said: the keys are, too

    def _executor_for(self, found: OpenedPlan, ids: Mapping[str, Digest], engine: Engine) -> Executor:
        host = self._host
        cluster = None
        if self._destination is not None:
            from repro.api.cluster import open_cluster  # noqa: PLC0415 - only for runs on a cluster

            cluster = open_cluster(
                self._destination,
                found,
                engine,
                named=self._resources,
                secrets=self._secrets_given,
                keep_going=self._keep_going,
                may_lock=self._may_add,
            )
        return Executor(
            found.project.root,
            found.plan,
            image_ids=ids,
            images=found.environments.image,
            launcher=engine.launcher,
            sink=self._emit,
            now=host.now,
            host=host.name,
            cpus=self._cpus,
            memory=self._memory,
            named=self._resources,
            keep_going=self._keep_going,
            forced=frozenset(self._selection.force),
            replan=found.again,
            pinned=found.inputs,
            secrets=self._secrets,
            cache=found.environments.lock.cache,
            cluster=cluster,
            fetched=found.fetched,
        )

    def _emit(self, event: Event) -> None:
        self._journal(event)
        self._outputs(event)  # the last lines of a job come before it ends
        self._sink(event)


def _read_secrets(given: Sequence[str], host: Host) -> dict[str, bytes]:
    from repro.api.secrets import read_secrets  # noqa: PLC0415 - only where one is given

    return {name: secret.data for name, secret in read_secrets(given, host).items()}
