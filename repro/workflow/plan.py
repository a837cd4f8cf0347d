"""A workflow and the project's files to a plan: every job, what it reads, makes and needs, in order."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import WorkflowError
from repro.workflow.checks import environment_problems, missing_problem
from repro.workflow.drafts import draft_jobs
from repro.workflow.expand import declared_resources, job_scope, render_element, render_shell
from repro.workflow.graph import cycles, depths
from repro.workflow.inputs import InputResolver
from repro.workflow.loader import load_all
from repro.workflow.model import ForeachTable, FromInput, Job, JobOutput, Plan
from repro.workflow.pinned import report_clashes, report_sent, report_unpublished, with_inputs
from repro.workflow.project import PinnedProject
from repro.workflow.report import Report
from repro.workflow.template import TemplateError
from repro.workflow.tree import OutputTree, Owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.errors import Problem
    from repro.workflow.drafts import Draft
    from repro.workflow.model import JobInput, Step, Workflow
    from repro.workflow.project import ProjectFiles


def read(text: str, file: str, project: ProjectFiles) -> Plan:
    """Return the plan of a workflow's text.

    Raises:
        WorkflowError: with the mistakes of the text and those of the plan together.
    """
    workflow, found = load_all(text, file)
    return checked(workflow, found, project)


def checked(workflow: Workflow, found: Sequence[Problem], project: ProjectFiles) -> Plan:
    """Return the plan of what `repro.workflow.loader.load_all` gave; WorkflowError as `read` raises it."""
    made, problems = _plan(workflow, project, found)
    if problems or found:
        raise WorkflowError([*found, *problems])
    return made


def plan(workflow: Workflow, project: ProjectFiles) -> Plan:
    """Return all jobs, each after those it needs; the order does not depend on the order of the file's steps.

    Jobs of the same depth are sorted by step name, then in their ``foreach`` order.

    Raises:
        WorkflowError: with every undefined name, missing input, clash of outputs, cycle and broken table.
    """
    made, problems = _plan(workflow, project, ())
    if problems:
        raise WorkflowError(problems)
    return made


def _plan(workflow: Workflow, project: ProjectFiles, known: Sequence[Problem]) -> tuple[Plan, Sequence[Problem]]:
    report = Report(workflow.source, workflow.steps, known)
    project = with_inputs(project, workflow.inputs)
    own = project.own if isinstance(project, PinnedProject) else project
    for problem_path, where, message, hint in environment_problems(workflow, own):
        report.add(where, problem_path, message, hint)
    drafts = draft_jobs(workflow, project, report)
    tree = _tree(drafts, report)
    _refuse_made_tables(workflow, drafts, tree, report)
    report_clashes(workflow.inputs, tree, lambda owner: _maker(drafts, owner), report)
    report_unpublished(workflow, tree, report)
    bound = _bind(_Binder(workflow, project, drafts, tree, report))
    needs = [tuple(one.needs) for one in bound]
    _report_sent(workflow, drafts, bound, report)
    depth = depths(needs)
    _report_cycles(drafts, bound, depth, report)
    _try_commands(drafts, bound, report)
    if report.found:
        return Plan(workflow, ()), report.found
    order = sorted(range(len(drafts)), key=lambda job: (depth[job] or 0, drafts[job].step.name, drafts[job].number))
    place = {job: number for number, job in enumerate(order)}
    jobs = tuple(
        _job(drafts[job], bound[job], tuple(drafts[need].id for need in sorted(needs[job], key=place.__getitem__)))
        for job in order
    )
    return Plan(workflow, jobs), ()


def _job(draft: Draft, bound: _Bound, needs: tuple[str, ...]) -> Job:
    return Job(
        id=draft.id,
        step=draft.step,
        bindings=draft.bindings,
        values=draft.values,
        used=draft.used,
        params=draft.params,
        inputs=bound.inputs,
        outputs={name: JobOutput(path, path.endswith("/")) for name, path in draft.outputs.items()},
        needs=needs,
        code=bound.code,
    )


def _try_commands(drafts: Sequence[Draft], bound: Sequence[_Bound], report: Report) -> None:
    """Report commands that cannot be rendered (an entry that a param has not, say), seen on each step's first job."""
    for draft, one in zip(drafts, bound, strict=True):
        step = draft.step
        if draft.number or len(one.inputs) < len(step.inputs) or not report.clean(step, "run"):
            continue
        scope = job_scope(_job(draft, one, ()), declared_resources(step))
        commands = (step.run,) if isinstance(step.run, str) else step.run or ()
        for number, command in enumerate(commands):
            try:
                if isinstance(step.run, str):
                    render_shell(command, scope)
                else:
                    render_element(command, scope)
            except TemplateError as error:
                report.template(step, "run" if isinstance(step.run, str) else f"run.{number}", error)


def _tree(drafts: Sequence[Draft], report: Report) -> OutputTree:
    """Return the tree of all outputs; two that claim the same place are a mistake of the later one."""
    tree = OutputTree()
    owners = [Owner(job, name, path) for job, draft in enumerate(drafts) for name, path in draft.outputs.items()]
    kept = []
    for owner in owners:
        other = tree.add(owner)
        if other is None:
            kept.append(owner)
        else:
            message = f"{owner.path} is made by {_maker(drafts, other)} as well as by {drafts[owner.job].id}"
            step = drafts[owner.job].step
            same = step is drafts[other.job].step
            hint = (
                "name every foreach variable in the path"
                if same and step.foreach
                else "give each output a path of its own"
            )
            report.once(step, f"outputs.{owner.output}", message, hint)
    for owner in kept:
        other = tree.around(owner.path)
        if other is not None:
            inside = (
                f"inside {other.path}, the folder of {_maker(drafts, other)}"
                if other.folder
                else (f"below {other.path}, which is a file of {_maker(drafts, other)}")
            )
            message = f"{owner.path} would lie {inside}"
            hint = "choose a path outside; a step that makes a folder owns all of it"
            report.once(drafts[owner.job].step, f"outputs.{owner.output}", message, hint)
    return tree


def _refuse_made_tables(workflow: Workflow, drafts: Sequence[Draft], tree: OutputTree, report: Report) -> None:
    """Report tables that a step makes: jobs are planned from them before any step has run."""
    for step in workflow.steps.values():
        table = step.foreach.table if isinstance(step.foreach, ForeachTable) else ""
        owner = tree.owners.get(table) or tree.around(table)
        if owner is not None:
            message = f"{table} is made by {_maker(drafts, owner)}, and a table must be there before anything runs"
            report.once(step, "foreach", message, "make the table beforehand, and keep it in the project")


def _maker(drafts: Sequence[Draft], owner: Owner) -> str:
    return f"{drafts[owner.job].id} ({owner.output})"


@dataclass(slots=True)
class _Bound:
    """A job's inputs, and the jobs (indices) that it needs with the field that says so."""

    inputs: dict[str, JobInput] = field(default_factory=dict)
    needs: dict[int, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()


@dataclass(slots=True)
class _Binder:
    workflow: Workflow
    project: ProjectFiles
    drafts: Sequence[Draft]
    tree: OutputTree
    report: Report


def _bind(binder: _Binder) -> list[_Bound]:
    """Return every job's inputs; what is missing is reported once for each declared input."""
    sources = binder.workflow.inputs
    resolver = InputResolver(binder.project, binder.tree, binder.drafts, binder.report, sources)
    code = [(path, resolver.resolve(path)) for path in binder.workflow.code]
    for number, (path, found) in enumerate(code):
        if found is None and number < len(binder.workflow.code_where):
            where = binder.workflow.code_where[number]
            binder.report.add(where, f"defaults.code.{number}", *missing_problem(binder.project, (path,)))
    result = []
    missing: dict[tuple[str, str], list[str]] = {}
    for job, draft in enumerate(binder.drafts):
        bound = _Bound()
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
        result.append(bound)
    _report_missing(binder, missing)
    return result


def _bind_code(
    step: Step,
    resolver: InputResolver,
    code: Sequence[tuple[str, tuple[str, tuple[int, ...]] | None]],
    bound: _Bound,
    missing: dict[tuple[str, str], list[str]],
) -> None:
    if step.script is None:
        return
    script = resolver.resolve(step.script)
    if script is None:
        missing.setdefault((step.name, "script"), []).append(step.script)
    paths: dict[str, None] = {}
    for found in (script, *(resolved for _, resolved in code)):
        if found is not None:
            paths[found[0]] = None
            for need in found[1]:
                bound.needs.setdefault(need, "script")
    bound.code = tuple(paths)


def _report_missing(binder: _Binder, missing: dict[tuple[str, str], list[str]]) -> None:
    for (step, key), paths in missing.items():
        absent = tuple(path for path in dict.fromkeys(paths) if not binder.report.may_be_made(path))
        if not absent:
            continue
        owner = binder.tree.owners.get(absent[0].rstrip("/")) or binder.tree.around(absent[0])
        if owner is not None:
            message = f"{absent[0]} cannot be: {owner.path} is a file, made by {_maker(binder.drafts, owner)}"
            hint = "end that output in '/' to make it a folder, or take the file itself"
        else:
            message, hint = missing_problem(binder.project, absent)
        binder.report.once(binder.workflow.steps[step], key, message, hint)


def _report_sent(workflow: Workflow, drafts: Sequence[Draft], bound: Sequence[_Bound], report: Report) -> None:
    private = {path for path, source in workflow.inputs.items() if source.private}
    if not private:
        return
    for draft, one in zip(drafts, bound, strict=True):
        if draft.step.network:
            inputs = {f"inputs.{name}": taken.paths for name, taken in one.inputs.items()}
            report_sent(draft.step, {**inputs, "script": one.code}, private, report)


def _report_cycles(
    drafts: Sequence[Draft], bound: Sequence[_Bound], depth: Sequence[int | None], report: Report
) -> None:
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
