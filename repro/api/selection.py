"""What of a workflow is wanted: targets, where to begin and to end, what runs although it is cached, and params."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING, Any

from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.workflow.select import following, require_step, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from repro.execution.assess import JobState
    from repro.workflow.model import Plan


@dataclass(frozen=True, slots=True)
class Selection:
    """Part of a workflow, and values for its params; the default is all of it, as it is written.

    Attributes:
        targets: outputs (project paths, or absolute ones in the project), folders of outputs, ``step:NAME``, job ids;
            what they need comes along. Without any: everything.
        from_steps: only these steps and what follows them; what they need must be cached.
        until: only these steps and what they need.
        force: steps whose jobs run although they are cached; what reads their outputs runs where these differ.
        params: values in place of those in the workflow, by name; entries of a mapping as ``name.entry``.
    """

    targets: tuple[str, ...] = ()
    from_steps: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)  # Any: as JSON or YAML hold them; the loader checks

    def of(self, plan: Plan, root: Path) -> Plan:
        """Return the part of ``plan``, of the project in ``root``, that is wanted; UsageError as `select`."""
        targets = [project_path(target, root) for target in self.targets]
        chosen = select(plan, targets, from_steps=self.from_steps, until=self.until)
        there = {job.step.name for job in chosen.jobs} | {one.step for one in chosen.deferred}
        for name in self.force:
            require_step(plan, name)
            if name not in there:
                raise UsageError(f"--force {name}: the step has no job in what is asked for")
        return chosen

    def require_cached(self, plan: Plan, states: Iterable[JobState]) -> None:
        """Raise UsageError where a job before ``from_steps`` is not cached; it names the first."""
        if not self.from_steps:
            return
        wanted = following(plan, self.from_steps)
        stale = [state for state in states if state.status != "cached" and state.job.id not in wanted]
        if stale:
            more = f", as would {len(stale) - 1} more" if len(stale) > 1 else ""
            raise UsageError(
                f"--from {' '.join(self.from_steps)} leaves out {stale[0].job.id}, which would run{more}",
                why=stale[0].why,
                hint="run without --from, or from an earlier step",
            )


ALL = Selection()


def project_path(target: str, root: Path) -> str:
    """Return a target as the plan has it: an absolute path in the project, and ``./x``, as a project path."""
    if target.startswith("/"):
        real = os.path.realpath(target)
        if real == os.fspath(root) or real.startswith(f"{root}/"):
            return os.path.relpath(real, root)
        raise UsageError(f"{target} is not in the project {root}")
    return os.path.normpath(target) if target.startswith("./") or "/./" in target else target


def named_amounts(given: Sequence[str]) -> dict[str, int]:
    """Return what ``--resource NAME=N`` gives, by name; UsageError for anything else."""
    amounts: dict[str, int] = {}
    for one in given:
        name, _, number = one.partition("=")
        if not name or not number.isascii() or not number.isdigit():
            raise UsageError(f"--resource {one}", why="a name and a whole number are wanted", hint="as in licences=2")
        if name in _OWN:
            raise UsageError(f"--resource {one}", why=f"{name} has an option of its own", hint=f"use {_OWN[name]}")
        amounts[name] = int(number)
    return amounts


_OWN: Mapping[str, str] = {"cpus": "--cpus N", "memory": "--memory SIZE"}
