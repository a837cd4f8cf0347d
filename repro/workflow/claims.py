"""Who makes which path: the tree of all outputs and logs, and what claims a place that another one has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.workflow.model import ForeachGlob, ForeachTable
from repro.workflow.project import may_match
from repro.workflow.tree import OutputTree, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.workflow.drafts import Draft
    from repro.workflow.model import Workflow
    from repro.workflow.report import Report


def claim(drafts: Sequence[Draft], report: Report) -> OutputTree:
    """Return the tree of all outputs; two that claim the same place are a mistake of the later one."""
    tree = OutputTree()
    kept = []
    for owner in _owners(drafts):
        other = tree.add(owner)
        if other is None:
            kept.append(owner)
            continue
        message = f"{owner.path} is made by {maker(drafts, other)} as well as by {drafts[owner.job].id}"
        step = drafts[owner.job].step
        same = step is drafts[other.job].step and owner.job != other.job
        hint = "name every foreach variable in the path" if same and step.foreach else "give each a path of its own"
        report.once(step, owner.key, message, hint)
    for owner in kept:
        other = tree.around(owner.path)
        if other is not None:
            inside = (
                f"inside {other.path}, the folder of {maker(drafts, other)}"
                if other.folder
                else f"below {other.path}, which is a file of {maker(drafts, other)}"
            )
            hint = "choose a path outside; a step that makes a folder owns all of it"
            report.once(drafts[owner.job].step, owner.key, f"{owner.path} would lie {inside}", hint)
    return tree


def _owners(drafts: Sequence[Draft]) -> Iterator[Owner]:
    for job, draft in enumerate(drafts):
        declared = draft.step.outputs
        for name, path in draft.outputs.items():
            yield Owner(job, f"outputs.{name}", path, declared[name].temporary)
        for name, path in draft.logs.items():
            yield Owner(job, f"logs.{name}", path)


def refuse_made_ranges(workflow: Workflow, drafts: Sequence[Draft], tree: OutputTree, report: Report) -> None:
    """Report tables that a step makes, and globs that match what one makes: jobs are planned before any has run."""
    for step in workflow.steps.values():
        if isinstance(step.foreach, ForeachTable):
            table = step.foreach.table
            owner = tree.owners.get(table) or tree.around(table)
            if owner is not None:
                made = f"{table} is made by {maker(drafts, owner)}, and a table must be there before anything runs"
                report.once(step, "foreach", made, "make the table beforehand, and keep it in the project")
        elif isinstance(step.foreach, ForeachGlob):
            glob = step.foreach.glob
            owner = next((one for one in tree.owners.values() if may_match(glob, one.path)), None)
            if owner is not None:
                made = f"{glob} ranges over {owner.path} too, which is made by {maker(drafts, owner)}"
                hint = "write that output to a folder outside, or range over it with {items: step.output}"
                report.once(step, "foreach", made, hint)


def maker(drafts: Sequence[Draft], owner: Owner) -> str:
    """Return how a message calls the job and the output that make a path."""
    return f"{drafts[owner.job].id} ({owner.key if owner.log else owner.output})"
