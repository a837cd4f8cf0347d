"""The ``steps:`` section: nodes to steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.commands import read_command, read_template
from repro.workflow.environments import variable_mistake
from repro.workflow.foreach import read_foreach
from repro.workflow.model import Step
from repro.workflow.paths import read_path
from repro.workflow.policies import read_entrypoint, read_network, read_retries, read_user, read_when
from repro.workflow.ports import StepReader, read_checkpoint, read_inputs, read_logs, read_outputs
from repro.workflow.resources import read_resources
from repro.workflow.source import ListNode, Node, Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.workflow.defaults import Defaults
    from repro.workflow.fields import Problems
    from repro.workflow.model import Foreach, Resources, Retries, Value

STEP_KEYS = (
    "environment",
    "inputs",
    "outputs",
    "run",
    "script",
    "foreach",
    "params",
    "env",
    "resources",
    "network",
    "secrets",
    "retries",
    "when",
    "logs",
    "checkpoint",
    "fetch",
    "entrypoint",
    "user",
)
_LATER = {"compare": "remove it"}
_ELSEWHERE = {
    "with": "say it of an input: {path: a.bam, with: [.bai]}",
    "temporary": "say it of an output: {path: a.bam, temporary: true}",
    "publish": "name the output under the workflow's `publish:`",
}
_SCRIPTS = (".py", ".R", ".sh")
_SECRET = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]+")


def read_step(name: str, node: Node, defaults: Defaults, problems: Problems) -> Step | None:
    """Return the step with all that is right in it; None where it is no mapping. Mistakes go to ``problems``."""
    reader = StepReader(name, defaults, problems)
    entries = fields.entries(node, f"steps.{name}", problems, "a step as a mapping")
    if entries is None:
        return None
    found = fields.keys(entries, f"steps.{name}", problems, STEP_KEYS, _LATER, _ELSEWHERE)
    environment = _environment(reader, node, found.get("environment"))
    foreach = _foreach(reader, found["foreach"]) if "foreach" in found else None
    inputs = read_inputs(reader, found["inputs"]) if "inputs" in found else {}
    outputs = read_outputs(reader, found["outputs"]) if "outputs" in found else {}
    params = _params(reader, found["params"]) if "params" in found else {}
    run, script = _command(reader, node, found)
    network, fetch = read_network(found, f"steps.{name}", problems, usual=defaults.network)
    return Step(
        name=name,
        where=node.where,
        environment=environment,
        inputs=inputs,
        outputs=outputs,
        run=run,
        run_where=reader.marks.get("run"),
        script=script,
        foreach=foreach,
        params=params,
        env=_env(reader, found.get("env")),
        resources=_resources(reader, found.get("resources")),
        network=network,
        fetch=fetch,
        secrets=_secrets(reader, found["secrets"]) if "secrets" in found else (),
        retries=_retries(reader, found.get("retries")),
        when=_when(reader, found["when"], params) if "when" in found else None,
        logs=read_logs(reader, found["logs"]) if "logs" in found else {},
        checkpoint=read_checkpoint(reader, found["checkpoint"]) if "checkpoint" in found else None,
        entrypoint="entrypoint" in found and read_entrypoint(found["entrypoint"], reader.path("entrypoint"), problems),
        user=read_user(found["user"], reader.path("user"), problems) if "user" in found else None,
        marks=reader.marks,
    )


def _environment(reader: StepReader, step: Node, node: Node | None) -> str:
    known = reader.defaults.environments
    if node is None:
        if reader.defaults.environment is None:
            hint = f"add `environment: {known[0] if known else '<name>'}`, or one for all steps under `defaults:`"
            reader.problems.add(step.where, reader.path("environment"), "the step has no environment", hint)
        return reader.defaults.environment or ""
    path = reader.mark("environment", node)
    name = fields.text(node, path, reader.problems, "an environment's name")
    if name is not None and name not in known:
        hint = fields.near(name, known) or "declare it under `environments:`"
        reader.problems.add(node.where, path, f"no environment {name!r} is declared", hint)
    return name or ""


def _env(reader: StepReader, node: Node | None) -> Mapping[str, str]:
    usual = reader.defaults.env
    if node is None:
        return usual
    return {**usual, **fields.text_map(node, reader.path("env"), reader.problems, variable_mistake)}


def _retries(reader: StepReader, node: Node | None) -> Retries:
    return reader.defaults.retries if node is None else read_retries(node, reader.path("retries"), reader.problems)


def _when(reader: StepReader, node: Node, own: Mapping[str, Value]) -> str | None:
    return read_when(node, reader.mark("when", node), reader.defaults.params, own, reader.problems)


def _foreach(reader: StepReader, node: Node) -> Foreach | None:
    return read_foreach(node, reader.mark("foreach", node), reader.problems)


def _command(
    reader: StepReader, step: Node, found: Mapping[str, Node]
) -> tuple[str | tuple[str, ...] | None, str | None]:
    problems = reader.problems
    if "run" in found and "script" in found:
        problems.add(
            found["script"].where, reader.path("script"), "a step has `run` or `script`, not both", "remove one of them"
        )
    elif "run" not in found and "script" not in found:
        hint = "add `run: <command>` or `script: <path>`"
        problems.add(step.where, reader.path("run"), "the step has nothing to run", hint)
    run = script = None
    if "run" in found:
        run = read_command(found["run"], reader.mark("run", found["run"]), problems)
        if isinstance(found["run"], ListNode):
            for number, item in enumerate(found["run"].items):
                reader.mark(f"run.{number}", item)
    if "script" in found:
        path = reader.mark("script", found["script"])
        script = read_path(found["script"], path, problems)
        if script is not None and not script.endswith(_SCRIPTS):
            hint = "write `run: <program> <script>`, and list the script as an input"
            problems.add(found["script"].where, path, f"{script!r}: scripts end in {', '.join(_SCRIPTS)}", hint)
            script = None
    return run, script


def _params(reader: StepReader, node: Node) -> dict[str, Value]:
    """Return the step's params; a list of names takes those of the workflow."""
    path = reader.mark("params", node)
    if isinstance(node, ListNode):
        return _chosen_params(reader, path, node.items)
    entries = fields.entries(node, path, reader.problems, "a mapping of names to values") or ()
    result: dict[str, Value] = {}
    for name, value in fields.named(entries, path, reader.problems, "a param").items():
        reader.mark(f"params.{name}", value)
        before = len(reader.problems.found)
        check_value_templates(value, f"{path}.{name}", reader.problems)
        if len(reader.problems.found) == before:
            result[name] = fields.value(value)
    return result


def _chosen_params(reader: StepReader, path: str, items: Sequence[Node]) -> dict[str, Value]:
    result: dict[str, Value] = {}
    known = reader.defaults.params
    for number, item in enumerate(items):
        name = fields.text(item, f"{path}.{number}", reader.problems, "a param's name")
        if name is None:
            continue
        if name in known:
            result[name] = known[name]
        else:
            hint = fields.near(name, known) or "declare it under `params:`"
            reader.problems.add(item.where, f"{path}.{number}", f"the workflow has no param {name!r}", hint)
    return result


def check_value_templates(node: Node, path: str, problems: Problems, *, expanded: bool = True) -> None:
    """Note the templates in a value that cannot be read; any template where values are not ``expanded``."""
    if isinstance(node, Scalar):
        template = read_template(node.text, node.where, path, problems)
        if template is not None and template.placeholders and not expanded:
            message = "templates are not expanded in the workflow's own params"
            problems.add(node.where, path, message, "put it into the `params:` of the step that uses it")
    elif isinstance(node, ListNode):
        for number, item in enumerate(node.items):
            check_value_templates(item, f"{path}.{number}", problems, expanded=expanded)
    else:
        for entry in node:
            check_value_templates(entry.value, f"{path}.{entry.key.text}", problems, expanded=expanded)


def _resources(reader: StepReader, node: Node | None) -> Resources:
    """Return what the step asks for, and of the rest what ``defaults:`` say."""
    asked = reader.defaults.resources
    if node is not None:
        asked = read_resources(node, reader.mark("resources", node), reader.problems).over(asked)
    reader.marks.update({f"resources.{name}": where for name, where in asked.marks.items()})
    return asked.resources()


def _secrets(reader: StepReader, node: Node) -> tuple[str, ...]:
    """Return the names of the secrets that the step is given as files, in their order."""
    path = reader.mark("secrets", node)
    names: dict[str, None] = {}
    for number, item in enumerate(fields.items(node, path, reader.problems, "names") or ()):
        name = fields.text(item, f"{path}.{number}", reader.problems, "a secret's name")
        if name is None:
            continue
        if _SECRET.fullmatch(name) is None:
            hint = "use letters, digits, '_', '.' and '-'; its value is given with `repro run --secret`"
            reader.problems.add(item.where, f"{path}.{number}", f"{name!r} cannot name a secret", hint)
        elif name in names:
            reader.problems.add(item.where, f"{path}.{number}", f"{name!r} is there twice", "remove one of the two")
        else:
            names[name] = None
    return tuple(names)
