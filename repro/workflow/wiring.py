"""Jobs to what they need: inputs bound, missing files and cycles reported."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.checks import missing_problem
from repro.workflow.claims import maker
from repro.workflow.drafts import off_message
from repro.workflow.graph import cycles
from repro.workflow.inputs import InputResolver
from repro.workflow.model import FromInput
from repro.workflow.pinned import report_sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.workflow.deferral import Deferral
    from repro.workflow.drafts import Draft
    from repro.workflow.model import JobInput, Step, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tree import OutputTree


@dataclass(slots=True)
class Bound:
    """A job's inputs, and the jobs (indices) that it needs with the field that says so."""

    inputs: dict[str, JobInput] = field(default_factory=dict)
    needs: dict[int, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()


@dataclass(slots=True)
class Binder:
    """What is known when inputs are bound: all drafts, and who makes which path."""

    workflow: Workflow
    project: ProjectFiles
    drafts: Sequence[Draft]
    tree: OutputTree
    deferral: Deferral
    report: Report


def bind(binder: Binder) -> list[Bound]:
    """Return every job's inputs; what is missing is reported once for each declared input."""
    sources = binder.workflow.inputs
    resolver = InputResolver(binder.project, binder.tree, binder.drafts, binder.report, binder.deferral, sources)
    code = [(path, resolver.resolve(path)) for path in binder.workflow.code]
    for number, (path, found) in enumerate(code):
        if found is None and not binder.deferral.makers(path, known=False) and number < len(binder.workflow.code_where):
            where = binder.workflow.code_where[number]
            binder.report.add(where, f"defaults.code.{number}", *missing_problem(binder.project, (path,)))
    result = []
    missing: dict[tuple[str, str], list[str]] = {}
    for job, draft in enumerate(binder.drafts):
        bound = Bound()
        for name, declared in draft.step.inputs.items():
            key = f"inputs.{name}"
            if isinstance(declared, FromInput):
                taken = resolver.gather(job, name, declared)
            else:
                taken, absent = resolver.paths(job, name, declared)
                if absent:
                    missing.setdefault((draft.step.name, key), []).extend(absent)
            if taken is not None:
                bound.inputs[name] = taken.input
                for need in taken.needs:
                    bound.needs.setdefault(need, key)
        _bind_code(draft.step, resolver, code, bound, missing)
        _refuse_inside_checkpoint(draft, bound, binder.report)
        result.append(bound)
    _report_missing(binder, missing)
    return result


def _bind_code(
    step: Step,
    resolver: InputResolver,
    code: Sequence[tuple[str, tuple[str, tuple[int, ...]] | None]],
    bound: Bound,
    missing: dict[tuple[str, str], list[str]],
) -> None:
    if step.script is None:
        return
    script = resolver.resolve(step.script)
    late = [resolver.is_late(step, path, known=found is not None) for path, found in ((step.script, script), *code)]
    if script is None and not late[0]:
        missing.setdefault((step.name, "script"), []).append(step.script)
    paths: dict[str, None] = {}
    for found in (script, *(resolved for _, resolved in code)):
        if found is not None:
            paths[found[0]] = None
            for need in found[1]:
                bound.needs.setdefault(need, "script")
    bound.code = tuple(paths)


def _refuse_inside_checkpoint(draft: Draft, bound: Bound, report: Report) -> None:
    """Report a checkpoint that lies in an input or an output, and what lies in it: each has a place of its own."""
    folder = draft.checkpoint
    if folder is None:
        return
    written = (*draft.outputs.values(), *draft.logs.values())
    read = (path for taken in bound.inputs.values() for path in (*taken.paths, *taken.companions))
    for path in (*written, *read, *bound.code):
        if f"{path.rstrip('/')}/".startswith(folder) or (path.endswith("/") and folder.startswith(path)):
            message = f"the checkpoint {folder} and {path} lie one in the other"
            report.once(draft.step, "checkpoint", message, "choose a folder of its own, as in checkpoint/")
            return


def _report_missing(binder: Binder, missing: dict[tuple[str, str], list[str]]) -> None:
    for (step, key), paths in missing.items():
        absent = tuple(path for path in dict.fromkeys(paths) if not binder.report.may_be_made(path))
        if not absent:
            continue
        owner = binder.tree.owners.get(absent[0].rstrip("/")) or binder.tree.around(absent[0])
        log = binder.tree.holds_log(absent[0])
        off = binder.report.maker_off(absent[0])
        if log is not None:
            message = f"{log.path} is a log, made by {maker(binder.drafts, log)}, and logs are no inputs"
            hint = "declare it under `outputs:`, or keep logs out of folders that are inputs"
        elif off is not None:
            message = f"{absent[0]} is not in the project, and {off_message(off)}"
            hint = "put it there, or take it with {from: step.output, optional: true}"
        elif owner is not None:
            message = f"{absent[0]} cannot be: {owner.path} is a file, made by {maker(binder.drafts, owner)}"
            hint = "end that output in '/' to make it a folder, or take the file itself"
        else:
            message, hint = missing_problem(binder.project, absent)
        binder.report.once(binder.workflow.steps[step], key, message, hint)


def report_private(workflow: Workflow, drafts: Sequence[Draft], bound: Sequence[Bound], report: Report) -> None:
    """Report inputs that must not leave this site, in steps that have the network."""
    private = {path for path, source in workflow.inputs.items() if source.private}
    if not private:
        return
    for draft, one in zip(drafts, bound, strict=True):
        if draft.step.network:
            inputs = {f"inputs.{name}": (*taken.paths, *taken.companions) for name, taken in one.inputs.items()}
            report_sent(draft.step, {**inputs, "script": one.code}, private, report)


def report_cycles(drafts: Sequence[Draft], bound: Sequence[Bound], depth: Sequence[int | None], report: Report) -> None:
    """Report one cycle for each set of steps that wait for each other."""
    seen: set[frozenset[str]] = set()
    for cycle in cycles([tuple(one.needs) for one in bound], depth):
        steps = frozenset(drafts[job].step.name for job in cycle)
        if steps in seen:
            continue
        seen.add(steps)
        chain = " -> ".join(drafts[job].id for job in (*cycle, cycle[0]))
        first, second = cycle[0], cycle[1 % len(cycle)]
        key = bound[first].needs[second]
        if len(cycle) == 1:
            message = f"the job needs its own output: {chain}"
            report.once(
                drafts[first].step, key, message, "take the input from elsewhere, or write the output elsewhere"
            )
        else:
            message = f"these jobs wait for each other: {chain} (each needs the next)"
            report.once(drafts[first].step, key, message, "take one of these inputs from elsewhere")
