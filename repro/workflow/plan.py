"""A workflow and the project's files to a plan: every job, what it reads, makes and needs, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.errors import WorkflowError
from repro.workflow.checks import environment_problems
from repro.workflow.claims import claim, maker, refuse_made_ranges
from repro.workflow.drafts import draft_jobs
from repro.workflow.expand import job_scope, render_element, render_shell
from repro.workflow.graph import depths
from repro.workflow.loader import load_all
from repro.workflow.model import Job, JobOutput, Plan
from repro.workflow.pinned import report_clashes, report_unpublished, with_inputs
from repro.workflow.project import PinnedProject
from repro.workflow.report import Report
from repro.workflow.resources import AmountError, granted, has_templates, told
from repro.workflow.template import TemplateError
from repro.workflow.wiring import Binder, bind, report_cycles, report_private

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from repro.errors import Problem
    from repro.workflow.deferral import Deferral
    from repro.workflow.drafts import Draft
    from repro.workflow.model import Deferred, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.wiring import Bound


def read(text: str, file: str, project: ProjectFiles) -> Plan:
    """Return the plan of a workflow's text.

    Raises:
        WorkflowError: with the mistakes of the text and those of the plan together.
    """
    workflow, found = load_all(text, file)
    return checked(workflow, found, project)


def checked(
    workflow: Workflow, found: Sequence[Problem], project: ProjectFiles, done: frozenset[str] = frozenset()
) -> Plan:
    """Return the plan of what `repro.workflow.loader.load_all` gave; WorkflowError as `read` raises it."""
    made, problems = _plan(workflow, project, found, done)
    if problems or found:
        raise WorkflowError([*found, *problems])
    return made


def plan(workflow: Workflow, project: ProjectFiles, done: frozenset[str] = frozenset()) -> Plan:
    """Return all jobs, each after those it needs; the order does not depend on the order of the file's steps.

    Jobs of the same depth are sorted by step name, then in their ``foreach`` order. ``done`` names the steps whose
    jobs are done, so that what they made can be ranged over; other steps that do so are ``deferred``, and so are
    those that read one that is.

    Raises:
        WorkflowError: with every undefined name, missing input, clash of outputs, cycle and broken table.
    """
    made, problems = _plan(workflow, project, (), done)
    if problems:
        raise WorkflowError(problems)
    return made


def _plan(
    workflow: Workflow, project: ProjectFiles, known: Sequence[Problem], done: frozenset[str]
) -> tuple[Plan, Sequence[Problem]]:
    report = Report(workflow.source, workflow.steps, known)
    project = with_inputs(project, workflow.inputs)
    own = project.own if isinstance(project, PinnedProject) else project
    for problem_path, where, message, hint in environment_problems(workflow, own):
        report.add(where, problem_path, message, hint)
    drafts, deferral = draft_jobs(workflow, project, report, done)
    tree = claim(drafts, report)
    refuse_made_ranges(workflow, drafts, tree, report)
    report_clashes(workflow.inputs, tree, lambda owner: maker(drafts, owner), report)
    report_unpublished(workflow, tree, deferral, report)
    bound = bind(Binder(workflow, project, drafts, tree, deferral, report))
    needs = [tuple(one.needs) for one in bound]
    report_private(workflow, drafts, bound, report)
    depth = depths(needs)
    report_cycles(drafts, bound, depth, report)
    deferred = _deferred(workflow, drafts, needs, deferral, report)
    late = {one.step for one in deferred}
    _try_templates(drafts, bound, late, report)
    if report.found:
        return Plan(workflow, ()), report.found
    known_jobs = (job for job in range(len(drafts)) if drafts[job].step.name not in late)
    order = sorted(known_jobs, key=lambda job: (depth[job] or 0, drafts[job].step.name, drafts[job].number))
    place = {job: number for number, job in enumerate(order)}
    jobs = tuple(
        _job(drafts[job], bound[job], tuple(drafts[need].id for need in sorted(needs[job], key=place.__getitem__)))
        for job in order
    )
    return Plan(workflow, jobs, deferred), ()


def _deferred(
    workflow: Workflow, drafts: Sequence[Draft], needs: Sequence[Sequence[int]], deferral: Deferral, report: Report
) -> tuple[Deferred, ...]:
    """Return the steps without jobs: those that wait for what they range over, and all that read one of these."""
    if not deferral.producers:
        return ()
    for draft, of in zip(drafts, needs, strict=True):
        deferral.note(draft.step.name, {drafts[need].step.name for need in of})
    return deferral.settled(workflow.steps, report)


def _job(draft: Draft, bound: Bound, needs: tuple[str, ...]) -> Job:
    return Job(
        id=draft.id,
        step=draft.step,
        bindings=draft.bindings,
        values=draft.values,
        used=draft.used,
        params=draft.params,
        inputs=bound.inputs,
        outputs={
            name: JobOutput(path, path.endswith("/"), draft.step.outputs[name].temporary)
            for name, path in draft.outputs.items()
        },
        needs=needs,
        code=bound.code,
        logs=draft.logs,
        checkpoint=draft.checkpoint,
        resource_params=draft.resource_params,
    )


def _try_templates(drafts: Sequence[Draft], bound: Sequence[Bound], late: Collection[str], report: Report) -> None:
    """Report amounts and commands that cannot be rendered (an entry that a param has not, say).

    Commands are tried with each step's first job, amounts with all jobs that differ in what they are made of.
    """
    tried: set[tuple[str, tuple[object, ...]]] = set()
    for draft, one in zip(drafts, bound, strict=True):
        step = draft.step
        if step.name in late:
            continue
        told_by = (step.name, _amounts_made_of(draft)) if has_templates(step.resources) else (step.name, ())
        if told_by not in tried and _try_amounts(draft, one, report) and not draft.number:
            _try_command(draft, one, report)
        tried.add(told_by)


def _amounts_made_of(draft: Draft) -> tuple[object, ...]:
    """Return what the templates of a job's ``resources`` see of its own."""
    params = repr(draft.params) if draft.step.params else ""
    return (params, *(draft.values[name] for name in draft.in_resources))


def _try_amounts(draft: Draft, one: Bound, report: Report) -> bool:
    """Report amounts that cannot be had at the first attempt, or at the last; False where there are."""
    job = _job(draft, one, ())
    try:
        for attempt in {1, 1 + draft.step.retries.count}:
            granted(job, attempt)
    except AmountError as error:
        if report.clean(draft.step, f"resources.{error.name}"):
            report.template(draft.step, f"resources.{error.name}", error)
        return False
    return True


def _try_command(draft: Draft, one: Bound, report: Report) -> None:
    step = draft.step
    if len(one.inputs) < len(step.inputs) or not report.clean(step, "run"):
        return
    job = _job(draft, one, ())
    scope = job_scope(job, told(job, granted(job)))
    commands = (step.run,) if isinstance(step.run, str) else step.run or ()
    for number, command in enumerate(commands):
        try:
            if isinstance(step.run, str):
                render_shell(command, scope)
            else:
                render_element(command, scope)
        except TemplateError as error:
            report.template(step, "run" if isinstance(step.run, str) else f"run.{number}", error)
