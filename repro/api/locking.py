"""`repro lock`: resolve, show what would change, keep all the bytes, say what can still be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.inputs import Inputs
from repro.api.lockfile import LockFile, Upgrade, differences
from repro.api.project import holding, open_plan
from repro.environment.lock import read_lock
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.api.host import Host
    from repro.api.project import Project
    from repro.environment.model import Lock
    from repro.events import Sink
    from repro.workflow.project import ProjectFiles


def lock(
    host: Host,
    named: str | None,
    *,
    upgrade: Iterable[str] | None = None,
    dry: bool = False,
    sink: Sink,
) -> tuple[str, ...]:
    """Resolve what workflow.lock lacks, and what has changed; return what changed in it, a line each.

    Args:
        host: the machine and the caller.
        named: the workflow file.
        upgrade: environments, bases and inputs to resolve anew, to what there is today, and outputs of fetching steps
            of which the next run may bring others; none of them: all but those outputs. None: nothing is, and every
            version stays that still fits.
        dry: write nothing.
        sink: hears progress.

    Raises:
        UsageError: ``upgrade`` names what is not declared.
        LockError, FetchError, UsageError: something cannot be resolved.
    """
    with opened(host, sink) as engine:
        made: list[LockFile] = []

        def lock_file(project: Project) -> LockFile:
            if not made:
                wanted = Upgrade() if upgrade is None else _upgrade(project, tuple(upgrade))
                made.append(LockFile(project, engine, relock=True, upgrade=wanted, dry=dry))
                before.append(made[0].content)
            return made[0]

        def files(project: Project) -> ProjectFiles:
            inputs = Inputs(project, engine, lock_file(project))
            with holding(host, project, "repro lock"):
                inputs.pin()
            return inputs.files()

        before: list[Lock] = []
        project, plan = open_plan(host, named, files)  # all mistakes, before anything large is resolved
        with holding(host, project, "repro lock"):
            lock = lock_file(project)
            if lock.stale():
                engine.enter()  # before anything is fetched: that takes threads
            for name in project.workflow.environments:
                lock.entry(name)
            lock.prune(plan)
            return differences(before[0], lock.content)


def _upgrade(project: Project, names: tuple[str, ...]) -> Upgrade:
    """Return what is to be resolved anew; UsageError for a name of nothing that is locked."""
    workflow, fetched = project.workflow, read_lock(project.lock_file).fetched if names else ()
    known = [*workflow.environments, *(base.name for base in workflow.archive_bases()), *workflow.inputs, *fetched]
    for name in names:
        if name not in known:
            hint = f"what can be upgraded: {', '.join(known)}; the workflow file comes first"
            raise UsageError(f"there is no environment, base, input or fetched output {name!r}", hint=hint)
    return Upgrade(frozenset(names), everything=not names)
