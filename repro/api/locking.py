"""`repro lock`: resolve, show what would change, keep all the bytes, say what can still be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.lockfile import LockFile, Upgrade, differences
from repro.api.project import holding, open_plan
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.api.host import Host
    from repro.events import Sink
    from repro.workflow.model import Workflow


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
        upgrade: environments and bases to resolve anew, to what there is today; none of them: all. None: nothing is,
            and every version stays that still fits.
        dry: write nothing.
        sink: hears progress.

    Raises:
        UsageError: ``upgrade`` names what is not declared.
        LockError, FetchError, UsageError: something cannot be resolved.
    """
    project, _ = open_plan(host, named)
    wanted = Upgrade() if upgrade is None else _upgrade(project.workflow, tuple(upgrade))
    with holding(host, project, "repro lock"), opened(host, sink) as engine:
        lock_file = LockFile(project, engine, relock=True, upgrade=wanted, dry=dry)
        before = lock_file.content
        if lock_file.stale():
            engine.enter()  # before anything is fetched: that takes threads
        for name in project.workflow.environments:
            lock_file.entry(name)
        lock_file.prune()
        return differences(before, lock_file.content)


def _upgrade(workflow: Workflow, names: tuple[str, ...]) -> Upgrade:
    """Return what is to be resolved anew; UsageError for a name of nothing that is locked."""
    known = [*workflow.environments, *(base.name for base in workflow.archive_bases())]
    for name in names:
        if name not in known:
            hint = f"what can be upgraded: {', '.join(known)}; the workflow file comes first"
            raise UsageError(f"there is no environment or base {name!r}", hint=hint)
    return Upgrade(frozenset(names), everything=not names)
