"""The ``steps:`` section: nodes to steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.commands import read_command, read_template
from repro.workflow.environments import variable_mistake
from repro.workflow.foreach import read_foreach
from repro.workflow.model import Resources, Step
from repro.workflow.paths import read_path
from repro.workflow.ports import StepReader, read_inputs, read_outputs
from repro.workflow.source import ListNode, Node, Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.workflow.fields import Problems
    from repro.workflow.model import Foreach, Value
    from repro.workflow.ports import Defaults
    from repro.workflow.source import Entry

_KEYS = (
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
)
_LATER = {
    "when": "remove the step, or foreach over the cases that apply",
    "retries": "remove it: run again, and only what failed is tried",
    "fetch": "say under the workflow's `inputs:` where the file is, and list it as an input",
    "with": "list the companion files as inputs",
    "checkpoint": "remove it",
    "logs": "remove it: what a job prints is kept, as is its log",
    "compare": "remove it",
    "user": "remove it: a step runs as root of its container, which is you",
    "entrypoint": "remove it, and write the whole command in `run`",
    "publish": "name the output under the workflow's `publish:`",
    "temporary": "remove it: outputs are kept",
}
_RESOURCES_LATER = dict.fromkeys(("time", "disk", "shm", "gpus"), "remove it: jobs are not limited in this")
_SCRIPTS = (".py", ".R", ".sh")
_SECRET = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]+")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B|B)")
_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def read_step(name: str, node: Node, defaults: Defaults, problems: Problems) -> Step | None:
    """Return the step with all that is right in it; None where it is no mapping. Mistakes go to ``problems``."""
    reader = StepReader(name, defaults, problems)
    entries = fields.entries(node, f"steps.{name}", problems, "a step as a mapping")
    if entries is None:
        return None
    found = fields.keys(entries, f"steps.{name}", problems, _KEYS, _LATER)
    environment = _environment(reader, node, found.get("environment"))
    foreach = _foreach(reader, found["foreach"]) if "foreach" in found else None
    inputs = read_inputs(reader, found["inputs"]) if "inputs" in found else {}
    outputs = read_outputs(reader, found["outputs"]) if "outputs" in found else {}
    params = _params(reader, found["params"]) if "params" in found else {}
    run, script = _command(reader, node, found)
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
        env=fields.text_map(found["env"], reader.path("env"), problems, variable_mistake) if "env" in found else {},
        resources=_resources(reader, found["resources"]) if "resources" in found else Resources(),
        network=bool(fields.truth(found["network"], reader.path("network"), problems)) if "network" in found else False,
        secrets=_secrets(reader, found["secrets"]) if "secrets" in found else (),
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


def _resources(reader: StepReader, node: Node) -> Resources:
    path = reader.mark("resources", node)
    entries: tuple[Entry, ...] = fields.entries(node, path, reader.problems) or ()
    found = fields.keys(entries, path, reader.problems, ("cpus", "memory"), _RESOURCES_LATER)
    cpus = fields.whole(found["cpus"], f"{path}.cpus", reader.problems, 1) if "cpus" in found else 1
    memory = _memory(found["memory"], f"{path}.memory", reader.problems) if "memory" in found else None
    return Resources(cpus or 1, memory)


def _memory(node: Node, path: str, problems: Problems) -> int | None:
    text = fields.text(node, path, problems, "an amount of memory")
    if text is None:
        return None
    match = _MEMORY.fullmatch(text)
    size = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size > 0:
        return size
    message = f"{text!r} is not an amount of memory"
    hint = "write a number and a unit: 512MiB, 2GB"
    if "{{" in text:
        message, hint = (
            "templates are not expanded in resources by this version of repro",
            "write the amount out, as in 2GB",
        )
    problems.add(node.where, path, message, hint)
    return None
