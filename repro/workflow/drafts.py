"""Steps to job drafts: foreach bound, params resolved, outputs named. Inputs come later, when all outputs are known."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.bindings import columns as static_columns
from repro.workflow.bindings import job_id
from repro.workflow.deferral import Deferral
from repro.workflow.expand import render_path, render_value
from repro.workflow.fields import near
from repro.workflow.model import ForeachItems
from repro.workflow.paths import mistake, normal, output_mistake
from repro.workflow.patterns import CHUNK
from repro.workflow.policies import applies
from repro.workflow.ranges import Ranges
from repro.workflow.scope import Uses, has_placeholder, list_mistakes, uses
from repro.workflow.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.workflow.model import Step, Value, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tables import Group


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
    resource_params: Mapping[str, Value]
    in_resources: tuple[str, ...]  # the foreach values that amounts are made of
    outputs: dict[str, str] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    id: str = ""

    def enter(self, key: str, path: str) -> None:
        """Set the path of what the field ``key`` declares: ``outputs.bam``, ``logs.main``, ``checkpoint``."""
        group, _, name = key.partition(".")
        if group == "outputs":
            self.outputs[name] = path
        elif group == "logs":
            self.logs[name] = path
        else:
            self.checkpoint = path


def draft_jobs(
    workflow: Workflow, project: ProjectFiles, report: Report, done: frozenset[str] = frozenset()
) -> tuple[list[Draft], Deferral]:
    """Return the drafts of all steps, in the file's order, and the steps whose jobs cannot be known yet.

    Steps with mistakes that leave jobs unknown have no drafts; nor have those that ``when`` switches off. ``done``
    names the steps whose outputs are in the project.
    """
    drafter = _Drafter(workflow, report, Ranges(workflow, project, report, {}), done)
    for step in workflow.steps.values():
        if step.when is not None and not _applies(step, workflow, report):
            report.switch_off(step)
    for step in workflow.steps.values():
        drafter.draft(step)
    by_step = drafter.by_step
    return [draft for name in workflow.steps for draft in by_step[name] or ()], drafter.deferral


def _applies(step: Step, workflow: Workflow, report: Report) -> bool:
    try:
        return step.when is None or applies(step.when, workflow.params)
    except TemplateError as error:
        report.once(step, "when", error.message, error.hint or "")
        return False


@dataclass(slots=True)
class _Drafter:
    """Drafts steps, each after the one whose items it ranges over. None stands for a step whose jobs are unknown."""

    workflow: Workflow
    report: Report
    ranges: Ranges
    done: frozenset[str]
    by_step: dict[str, Sequence[Draft] | None] = field(default_factory=dict)
    deferral: Deferral = field(default_factory=Deferral)
    entered: set[str] = field(default_factory=set)  # steps that are about to be drafted

    def draft(self, step: Step) -> None:
        """Draft a step and those that it ranges over, each once."""
        waiting: list[Step] = []  # no recursion: there may be a thousand in a row
        following: Step | None = step
        while following is not None and following.name not in self.by_step:
            self.by_step[following.name] = None
            waiting.append(following)
            foreach = following.foreach
            following = self.workflow.steps.get(foreach.step) if isinstance(foreach, ForeachItems) else None
        self.entered = {one.name for one in waiting}
        for one in reversed(waiting):
            self.by_step[one.name] = self._drafts(one)
            self.entered.remove(one.name)

    def _drafts(self, step: Step) -> Sequence[Draft] | None:
        workflow, report = self.workflow, self.report
        columns = static_columns(step.foreach)
        if step.foreach is None and report.broken(f"steps.{step.name}.foreach"):
            columns = None
        if step.name in report.switched_off:
            _report_names(step, uses(step, columns, workflow.params)[1], report)
            return ()
        bound = self._groups(step)
        if bound and columns is None and step.foreach is not None:
            columns = frozenset(bound[0].values)
        used, errors = uses(step, columns, workflow.params)
        sound = _report_names(step, errors, report)
        if step.name in self.deferral.producers:
            return None
        if not bound or not sound or (step.foreach is None and columns is None):
            report.leave_open(step)
            return None
        return _drafts(workflow, step, bound, used, report)

    def _groups(self, step: Step) -> Sequence[Group] | None:
        """Return the step's groups of values; None after a reported mistake, and where they cannot be known yet."""
        if not isinstance(step.foreach, ForeachItems):
            return self.ranges.of(step)
        wrong = self._items_mistake(step, step.foreach)
        if wrong is not None:
            self.report.once(step, "foreach", *wrong)
        if wrong is not None or not self._tells_apart(step, step.foreach):
            return None
        producer = step.foreach.step
        drafts = self.by_step.get(producer)
        waits = producer in self.deferral.producers or producer in self.entered  # these wait for each other: see there
        if waits or (drafts and producer not in self.done):
            self.deferral.add(step, producer)
            return None
        made = [draft.outputs[step.foreach.output] for draft in drafts or () if step.foreach.output in draft.outputs]
        return self.ranges.of_items(step, step.foreach, made) if made else None

    def _tells_apart(self, step: Step, foreach: ForeachItems) -> bool:
        """Report paths that cannot differ from job to job; False where there are: better now than when items are here.

        Names that are not there are for `_report_names`.
        """
        columns = static_columns(foreach) or frozenset()
        used, errors = uses(step, columns, self.workflow.params)
        if errors:
            return True
        sound = True
        if foreach.chunk is not None:
            for key, error in list_mistakes(step, columns - {CHUNK}):
                self.report.template(step, key, error)
                sound = False
        if sound and step.outputs and not used.in_outputs:
            name = "{{ chunk }}" if foreach.chunk is not None else "{{ path }}, or a name of the pattern,"
            first = next(iter(step.outputs))
            message = "jobs of all items would write to the same place"
            self.report.once(step, f"outputs.{first}", message, f"put {name} into the path")
        return sound

    def _items_mistake(self, step: Step, foreach: ForeachItems) -> tuple[str, str] | None:
        """Return why a step cannot range over these items and the fix, or None; what is known already is no reason."""
        steps = self.workflow.steps
        producer = steps.get(foreach.step)
        named = f"{foreach.step}.{foreach.output}"
        if producer is None:
            known = self.report.broken(f"steps.{foreach.step}")
            return None if known else (f"there is no step {foreach.step!r}", near(foreach.step, steps))
        if producer is step:
            return f"the step ranges over its own output {foreach.output!r}", "range over what an earlier step makes"
        if foreach.output not in producer.outputs:
            if self.report.broken(f"steps.{foreach.step}.outputs.{foreach.output}"):
                return None
            return f"step {foreach.step!r} has no output {foreach.output!r}", near(foreach.output, producer.outputs)
        if producer.name in self.report.switched_off:
            return off_message(producer), f"give this step the same `when: {producer.when}`"
        if producer.outputs[foreach.output].temporary:
            hint = "keep it: remove `temporary: true` there"
            return f"{named} is temporary, and has to be there whenever jobs are planned", hint
        return None


def off_message(step: Step) -> str:
    """Return how a message says that a step has no jobs."""
    return f"step {step.name!r} is switched off: `when: {step.when}` is false"


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


def _drafts(workflow: Workflow, step: Step, bound: Sequence[Group], used: Uses, report: Report) -> list[Draft]:
    names = tuple(name for name in bound[0].values if name in used.values)
    mentioned = tuple(name for name in workflow.params if name in used.params and name not in step.params)
    asked = {name: workflow.params[name] for name in workflow.params if name in used.resource_params}
    varied = tuple(name for name in bound[0].values if name in used.resource_values)
    fixed = not any(has_placeholder(value) for value in step.params.values())
    written = [(f"outputs.{name}", output.path) for name, output in step.outputs.items()]
    written += [(f"logs.{name}", path) for name, path in step.logs.items()]
    written += [("checkpoint", step.checkpoint)] if step.checkpoint is not None else []
    templated = {key for key, path in written if parse_template(path).placeholders}
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
        draft = Draft(step, number, group.bindings, group.values, scope, params, names, asked, varied)
        for key, template in written:
            path = template if key not in templated else _written(workflow, draft, key, template, report)
            if path is None:
                report.leave_open(step)
                return []
            draft.enter(key, path)
        drafts.append(draft)
    _name(step, drafts, used)
    return drafts


def _params(workflow: Workflow, step: Step, group: Group, mentioned: Iterable[str]) -> dict[str, Value]:
    scope: dict[str, object] = {**group.values, "params": workflow.params}
    declared = {name: render_value(value, scope) for name, value in step.params.items()}
    return {**declared, **{name: workflow.params[name] for name in mentioned}}


def _written(workflow: Workflow, draft: Draft, key: str, template: str, report: Report) -> str | None:
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
