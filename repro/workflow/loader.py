"""The whole file: text to a validated workflow, all its mistakes at once."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from repro.errors import Location, WorkflowError
from repro.workflow import fields
from repro.workflow.data import read_data_inputs
from repro.workflow.defaults import read_defaults
from repro.workflow.environments import read_environment
from repro.workflow.fields import Problems
from repro.workflow.model import Workflow
from repro.workflow.overrides import overridden
from repro.workflow.parser import parse
from repro.workflow.publish import read_publish
from repro.workflow.steps import check_value_templates, read_step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Problem
    from repro.workflow.defaults import Defaults
    from repro.workflow.model import Environment, Step, Value
    from repro.workflow.source import Node, Source

FORMAT = 1
WORKFLOW_KEYS = ("repro", "name", "params", "defaults", "environments", "inputs", "steps", "publish")
_WORKFLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load(text: str, file: str) -> Workflow:
    """Return the workflow that ``text`` declares; ``file`` is its name as the user gave it.

    Raises:
        WorkflowError: with every mistake in it that can be seen without the project's files; a YAML syntax error
            comes alone. `repro.workflow.plan.read` reports these and the plan's together.
    """
    workflow, problems = load_all(text, file)
    if problems:
        raise WorkflowError(problems)
    return workflow


def load_all(text: str, file: str, params: Mapping[str, Value] | None = None) -> tuple[Workflow, tuple[Problem, ...]]:
    """Return what is right in ``text`` as a workflow, and all the mistakes.

    ``params`` are values in the place of its own, by dotted names (`repro.workflow.overrides`).

    Raises:
        WorkflowError: a YAML syntax error, and no other mistake.
        UsageError: ``params`` names one that the workflow has not.
    """
    document = parse(text, file)
    problems = Problems(document.source)
    problems.found.extend(document.problems)
    if document.root is None:
        problems.add(Location(file, 1), "", "the file is empty", f"begin with `repro: {FORMAT}`")
        return _empty(file, document.source), tuple(problems.found)
    entries = fields.entries(document.root, "", problems, "a workflow as a mapping")
    if entries is None:
        return _empty(file, document.source), tuple(problems.found)
    found = fields.keys(entries, "", problems, WORKFLOW_KEYS)
    if not _check_format(found.get("repro"), document.root, problems):
        return _empty(file, document.source), tuple(problems.found[-1:])
    values = overridden(_params(found["params"], problems) if "params" in found else {}, params or {})
    environments, names = _environments(found.get("environments"), problems)
    own = os.path.basename(file)
    defaults = read_defaults(found.get("defaults"), own, names, values, problems)
    name = _name(found["name"], problems) if "name" in found else "workflow"
    inputs = read_data_inputs(found["inputs"], own, problems) if "inputs" in found else {}
    steps = _steps(found.get("steps"), document.root, defaults, problems)
    workflow = Workflow(
        file=file,
        name=name,
        params=values,
        environments=environments,
        steps=steps,
        code=tuple(path for path, _ in defaults.code),
        source=document.source,
        code_where=tuple(where for _, where in defaults.code),
        inputs=inputs,
        publish=read_publish(found["publish"], name, own, values, problems) if "publish" in found else {},
    )
    # what only follows from a broken node (an alias of nothing, say) is not said a second time at its place
    structural = {problem.where for problem in document.problems}
    later = [problem for problem in problems.found if problem.where not in structural]
    return workflow, tuple(sorted([*document.problems, *later]))


def _empty(file: str, source: Source) -> Workflow:
    return Workflow(file, "workflow", {}, {}, {}, source=source)


def _check_format(node: Node | None, root: Node, problems: Problems) -> bool:
    """Return whether the rest may be read: not that of another version, of which every message would be wrong."""
    if node is None:
        problems.add(root.where, "repro", "the format's version is missing", f"begin the file with `repro: {FORMAT}`")
        return True
    version = fields.whole(node, "repro", problems, 1)
    if version not in (None, FORMAT):
        hint = f"this version of repro reads `repro: {FORMAT}`"
        problems.add(node.where, "repro", f"format version {version} is not known", hint)
        return False
    return True


def _name(node: Node, problems: Problems) -> str:
    name = fields.text(node, "name", problems, "a name")
    if name is not None and _WORKFLOW_NAME.fullmatch(name) is None:
        problems.add(node.where, "name", f"{name!r} cannot name a workflow", "use letters, digits, '.', '_' and '-'")
    return name or "workflow"


def _params(node: Node, problems: Problems) -> dict[str, Value]:
    result: dict[str, Value] = {}
    entries = fields.entries(node, "params", problems, "a mapping of names to values") or ()
    for name, value in fields.named(entries, "params", problems, "a param").items():
        check_value_templates(value, f"params.{name}", problems, expanded=False)
        result[name] = fields.value(value)
    return result


def _environments(node: Node | None, problems: Problems) -> tuple[dict[str, Environment], tuple[str, ...]]:
    """Return the environments that are right, and the names of all."""
    if node is None:
        return {}, ()
    entries = fields.entries(node, "environments", problems, "a mapping of names to environments") or ()
    named = fields.named(entries, "environments", problems, "an environment", dashes=True)
    read = {name: read_environment(name, value, problems) for name, value in named.items()}
    return {name: made for name, made in read.items() if made is not None}, tuple(entry.key.text for entry in entries)


def _steps(node: Node | None, root: Node, defaults: Defaults, problems: Problems) -> dict[str, Step]:
    if node is None:
        problems.add(root.where, "steps", "the workflow has no steps", "declare one under `steps:`")
        return {}
    entries = fields.entries(node, "steps", problems, "a mapping of names to steps")
    if entries is not None and not entries:
        problems.add(node.where, "steps", "the workflow has no steps", "declare one")
    named = fields.named(entries or (), "steps", problems, "a step", dashes=True)
    read = {name: read_step(name, value, defaults, problems) for name, value in named.items()}
    return {name: step for name, step in read.items() if step is not None}
