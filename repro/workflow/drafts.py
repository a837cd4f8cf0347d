"""Steps to job drafts: foreach bound, params resolved, outputs named. Inputs come later, when all outputs are known."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import ReproError, WorkflowError
from repro.workflow.bindings import groups, job_id
from repro.workflow.checks import missing_problem
from repro.workflow.expand import render_path, render_value
from repro.workflow.fields import near
from repro.workflow.model import ForeachTable
from repro.workflow.paths import mistake, normal, output_mistake
from repro.workflow.scope import Uses, has_placeholder, uses
from repro.workflow.tables import read_table
from repro.workflow.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.workflow.model import Step, Value, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tables import Group, Table


@dataclass(slots=True)
class Draft:
    """A job whose inputs are still open; ``number`` counts the step's jobs in foreach order."""

    step: Step
    number: int
    bindings: Mapping[str, str]
    values: Mapping[str, str | tuple[str, ...]]
    scope: Mapping[str, object]
    params: Mapping[str, Value]
    used: tuple[str, ...]
    outputs: dict[str, str] = field(default_factory=dict)
    id: str = ""


def draft_jobs(workflow: Workflow, project: ProjectFiles, report: Report) -> list[Draft]:
    """Return the drafts of all steps, in the file's order; steps with mistakes that leave jobs unknown have none."""
    tables: dict[str, Table | None] = {}
    drafts: list[Draft] = []
    for step in workflow.steps.values():
        bound = _groups(workflow, step, project, tables, report)
        columns = frozenset(bound[0].values) if bound else None
        if step.foreach is None and report.broken(f"steps.{step.name}.foreach"):
            bound, columns = None, None
        used, errors = uses(step, columns, workflow.params)
        sound = _report_names(step, errors, report)
        if not bound or not sound:
            report.leave_open(step)
            continue
        drafts.extend(_drafts(workflow, step, bound, used, report))
    return drafts


def _report_names(step: Step, errors: Iterable[tuple[str, str, TemplateError]], report: Report) -> bool:
    """Report undefined names; False where one stands in what decides the step's jobs and outputs."""
    sound = True
    for key, name, error in errors:
        group = name.split(".")[0]
        if group in ("inputs", "outputs", "params") and report.broken(f"steps.{step.name}.{name}"):
            continue
        report.template(step, key, error)
        sound = sound and key.split(".")[0] == "run"
    return sound


def _groups(
    workflow: Workflow, step: Step, project: ProjectFiles, tables: dict[str, Table | None], report: Report
) -> tuple[Group, ...] | None:
    """Return the step's groups of values; None where its table cannot be had."""
    if not isinstance(step.foreach, ForeachTable):
        return groups(step.foreach, None)
    path = step.foreach.table
    if path not in tables:
        tables[path] = _table(workflow, step, path, project, report)
    table = tables[path]
    if table is None:
        return None
    unknown = [name for name in step.foreach.by if name not in table.columns]
    for name in dict.fromkeys(unknown):
        report.add(step.marks.get("foreach", step.where), f"steps.{step.name}.foreach.by",
                   f"{path} has no column {name!r}", near(name, table.columns))  # fmt: skip
    if unknown:
        return None
    if not table.rows:
        report.once(step, "foreach", f"{path} has no rows, so there would be no job", "add a row, or remove the step")
        return None
    return groups(step.foreach, table)


def _table(workflow: Workflow, step: Step, path: str, project: ProjectFiles, report: Report) -> Table | None:
    try:
        data = project.read(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            report.once(step, "foreach.table", *missing_problem(project, (path,), from_steps=False))
        else:
            report.once(step, "foreach.table", f"{path} cannot be read: {error.strerror}")
        return None
    except ReproError as error:
        if not report.follows:
            hint = error.hint or f"fetch it with `repro data get {path}`"
            message = f"{path} must be here before anything runs: {error.message}"
            report.once(step, "foreach.table", message, hint)
        return None
    file = os.path.join(os.path.dirname(workflow.file), path)
    try:
        return read_table(data, file)
    except WorkflowError as error:
        report.found.extend(error.problems)
        return None


def _drafts(workflow: Workflow, step: Step, bound: Sequence[Group], used: Uses, report: Report) -> list[Draft]:
    names = tuple(name for name in bound[0].values if name in used.values)
    mentioned = tuple(name for name in workflow.params if name in used.params and name not in step.params)
    fixed = not any(has_placeholder(value) for value in step.params.values())
    templated = {name for name, output in step.outputs.items() if parse_template(output.path).placeholders}
    drafts: list[Draft] = []
    params: dict[str, Value] = {}
    for number, group in enumerate(bound):
        try:
            if not drafts or not fixed:
                params = _params(workflow, step, group, mentioned)
        except TemplateError as error:
            report.once(step, "params", error.message, error.hint or "")
            report.leave_open(step)
            return []
        scope: dict[str, object] = {**group.values, "params": {**workflow.params, **params}}
        draft = Draft(step, number, group.bindings, group.values, scope, params, names)
        for name, output in step.outputs.items():
            path = output.path if name not in templated else _output(workflow, draft, name, output.path, report)
            if path is None:
                report.leave_open(step)
                return []
            draft.outputs[name] = path
        drafts.append(draft)
    _name(step, drafts, used)
    return drafts


def _params(workflow: Workflow, step: Step, group: Group, mentioned: Iterable[str]) -> dict[str, Value]:
    scope: dict[str, object] = {**group.values, "params": workflow.params}
    declared = {name: render_value(value, scope) for name, value in step.params.items()}
    return {**declared, **{name: workflow.params[name] for name in mentioned}}


def _output(workflow: Workflow, draft: Draft, name: str, template: str, report: Report) -> str | None:
    key = f"outputs.{name}"
    try:
        path = normal(render_path(template, draft.scope))
    except TemplateError as error:
        report.template(draft.step, key, error)
        return None
    wrong = mistake(path) or output_mistake(path, os.path.basename(workflow.file))
    if wrong is not None:
        report.once(draft.step, key, f"{path!r}: {wrong[0]}", wrong[1])
        return None
    return path


def _name(step: Step, drafts: Sequence[Draft], used: Uses) -> None:
    """Give every draft its id: the bindings that the outputs name, if these tell the jobs apart, else all of them."""
    bindings = tuple(drafts[0].bindings)
    for names in (tuple(name for name in bindings if name in used.in_outputs), bindings):
        ids = [job_id(step.name, draft.bindings, names) for draft in drafts]
        if len(set(ids)) == len(ids):
            for draft, name in zip(drafts, ids, strict=True):
                draft.id = name
            return
