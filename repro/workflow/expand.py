"""Rendering: templates and a job's values to paths, command lines and the job's JSON document.

In a command every value comes out quoted for the shell; in paths and exec-form lists nothing is quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from repro.workflow.expressions import Raw, evaluate, mentions, raw
from repro.workflow.shell import command_template
from repro.workflow.template import Placeholder, Template, TemplateError, parse_template
from repro.workflow.values import is_list, plain, spell

if TYPE_CHECKING:
    from repro.digest import Json
    from repro.workflow.model import Job, JobInput, Value

LISTS = "/run/repro/lists"  # ``{{ inputs.x.list }}`` is LISTS/x: the input's paths, one a line


class InputPath(str):
    """One input path, with the ``list`` attribute that templates see."""

    __slots__ = ("list",)
    list: str

    @classmethod
    def of(cls, path: str, name: str) -> InputPath:
        """Return ``path`` as the input ``name``."""
        made = cls(path)
        made.list = f"{LISTS}/{name}"
        return made


class InputPaths(tuple[str, ...]):  # noqa: SLOT001 - a tuple cannot have slots
    """The paths of an input that is a list, with the ``list`` attribute that templates see."""

    list: str

    @classmethod
    def of(cls, paths: tuple[str, ...], name: str) -> InputPaths:
        """Return ``paths`` as the input ``name``."""
        made = cls(paths)
        made.list = f"{LISTS}/{name}"
        return made


def look_up(placeholder: Placeholder, scope: Mapping[str, object]) -> object:
    """Return the value that a placeholder names; TemplateError where there is none."""
    if placeholder.name is None:
        return evaluate(placeholder, scope)
    value: object = scope
    for part in placeholder.name:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif part == "list" and isinstance(value, InputPath | InputPaths):
            value = value.list
        else:
            raise TemplateError(f"{placeholder}: {part!r} is undefined", index=placeholder.index)
    return raw(value) if placeholder.raw else value


def render_path(text: str, scope: Mapping[str, object]) -> str:
    """Return a path template with its values in place, unquoted; TemplateError for a list or nothing in it."""
    return "".join([part if isinstance(part, str) else _text_of(part, scope) for part in parse_template(text).parts])


def _text_of(placeholder: Placeholder, scope: Mapping[str, object]) -> str:
    name = placeholder.name
    if name is not None and len(name) == 1 and type(value := scope.get(name[0])) is str:
        return value  # a foreach value by its name: what most paths of ten thousand jobs are made of
    return _scalar(placeholder, look_up(placeholder, scope))


def render_value(value: Value, scope: Mapping[str, object]) -> Value:
    """Return a param's value with its templates rendered; text that is one placeholder takes the value's own type."""
    if isinstance(value, str):
        template = parse_template(value)
        if len(template.parts) == 1 and isinstance(template.parts[0], Placeholder):
            found = look_up(template.parts[0], scope)
            if isinstance(found, bool | int | float | str | Mapping | tuple | list | None):
                return found
            raise TemplateError(f"{template.parts[0]} is not a value that JSON can hold", index=template.parts[0].index)
        return render_path(value, scope)
    if isinstance(value, Mapping):
        return {name: render_value(item, scope) for name, item in value.items()}
    if is_list(value):
        return tuple(render_value(item, scope) for item in value)
    return value


def render_shell(text: str, scope: Mapping[str, object], *, symbolic: bool = False) -> str:
    r"""Return a command with every value quoted for the shell; lists are separated by blanks.

    ``symbolic`` leaves expressions that use resources as they are (and ``\{{`` escaped, so that no two differing
    commands read the same).
    """
    out: list[str] = []
    for part in command_template(text).parts:
        if isinstance(part, str):
            out.append(part.replace("{{", "\\{{") if symbolic else part)
        elif symbolic and _uses_resources(part):
            out.append(str(part))
        else:
            out.append(_quoted(part, look_up(part, scope)))
    return "".join(out)


def render_element(text: str, scope: Mapping[str, object], *, symbolic: bool = False) -> tuple[str, ...]:
    """Return what one element of an exec-form list becomes: one word, or a list's items where it is one placeholder."""
    template = parse_template(text)
    alone = template.parts[0] if len(template.parts) == 1 else None
    if isinstance(alone, Placeholder) and not (symbolic and _uses_resources(alone)):
        value = look_up(alone, scope)
        return tuple(_spelled(alone, item) for item in value) if is_list(value) else (_scalar(alone, value),)
    out: list[str] = []
    for part in template.parts:
        if isinstance(part, str):
            out.append(part.replace("{{", "\\{{") if symbolic else part)
        else:
            out.append(str(part) if symbolic and _uses_resources(part) else _scalar(part, look_up(part, scope)))
    return ("".join(out),)


def _uses_resources(placeholder: Placeholder) -> bool:
    return any(name[0] == "resources" for name in mentions(placeholder))


def _scalar(placeholder: Placeholder, value: object) -> str:
    if is_list(value):
        raise TemplateError(
            f"{placeholder} is a list; here one value is needed",
            index=placeholder.index,
            hint="as an element of its own in a list command it spreads; in a path it cannot stand",
        )
    return _spelled(placeholder, value)


def _spelled(placeholder: Placeholder, value: object) -> str:
    try:
        return spell(value, str(placeholder))
    except TemplateError as error:
        error.index = placeholder.index
        raise


def _quoted(placeholder: Placeholder, value: object) -> str:
    if isinstance(value, Raw):
        return str(value)
    if is_list(value):
        return " ".join(shlex.quote(_spelled(placeholder, item)) for item in value)
    return shlex.quote(_spelled(placeholder, value))


def input_value(name: str, bound: JobInput) -> InputPath | InputPaths:
    """Return what ``{{ inputs.<name> }}`` is: a path, or a list; an absent optional input is an empty list."""
    if bound.many or not bound.paths:
        return InputPaths.of(bound.paths, name)
    return InputPath.of(bound.paths[0], name)


def job_scope(job: Job, resources: Mapping[str, str] | None) -> dict[str, object]:
    """Return the names that the job's command may use, with their values; None leaves resources out."""
    scope: dict[str, object] = dict(job.values)
    scope["inputs"] = {name: input_value(name, bound) for name, bound in job.inputs.items()}
    scope["outputs"] = {name: output.path for name, output in job.outputs.items()}
    scope["logs"] = job.logs
    if job.checkpoint is not None:
        scope["checkpoint"] = job.checkpoint
    scope["params"] = job.params
    if resources is not None:
        scope["resources"] = _resources(resources)
    return scope


def _resources(resources: Mapping[str, str]) -> dict[str, int | str]:
    return {name: int(value) if value.isdecimal() else value for name, value in sorted(resources.items())}


def render_command(job: Job, *, resources: Mapping[str, str] | None) -> str:
    """Return the job's command: the shell text, an exec-form list joined for reading, or the script's path.

    With None, resources stay symbolic: the text for the job key, equal however many cpus a host gives.
    """
    step = job.step
    if isinstance(step.run, str):
        return render_shell(step.run, job_scope(job, resources), symbolic=resources is None)
    if step.run is not None:
        return shlex.join(render_argv(job, resources=resources))
    return step.script or ""


def render_argv(job: Job, *, resources: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the argv of an exec-form ``run``; empty for the other forms."""
    if job.step.run is None or isinstance(job.step.run, str):
        return ()
    scope = job_scope(job, resources)
    symbolic = resources is None
    return tuple(word for element in job.step.run for word in render_element(element, scope, symbolic=symbolic))


def command_templates(run: str | tuple[str, ...] | None) -> tuple[Template, ...]:
    """Return the templates of a ``run`` in either form, placeholders in shell comments left out."""
    if run is None:
        return ()
    return (command_template(run),) if isinstance(run, str) else tuple(parse_template(item) for item in run)


def input_lists(job: Job) -> dict[str, bytes]:
    """Return the list files that the command uses: container path (`LISTS`/input) to content, one path a line."""
    lists: dict[str, bytes] = {}
    for template in command_templates(job.step.run):
        for placeholder in template.placeholders:
            if "list" not in placeholder.expression:
                continue
            for name in mentions(placeholder):
                if name[0] == "inputs" and len(name) > 1 and name[1] in job.inputs:
                    paths = job.inputs[name[1]].paths
                    lists[f"{LISTS}/{name[1]}"] = "".join(f"{path}\n" for path in paths).encode()
    return lists


def job_document(job: Job, resources: Mapping[str, str]) -> dict[str, Json]:
    """Return what ``$REPRO_JOB`` holds: the job's inputs, outputs, params, foreach values and resources.

    An input is a path, a list of paths where it may be several, or null where an optional one is absent. ``logs`` and
    ``checkpoint`` are there where the step declares them.
    """
    inputs: dict[str, Json] = {}
    for name, bound in job.inputs.items():
        inputs[name] = list(bound.paths) if bound.many else bound.paths[0] if bound.paths else None
    values = {name: job.values[name] for name in job.used}
    written: dict[str, Json] = {"outputs": {name: output.path for name, output in job.outputs.items()}}
    if job.logs:
        written["logs"] = dict(job.logs)
    if job.checkpoint is not None:
        written["checkpoint"] = job.checkpoint
    return {
        "inputs": inputs,
        **written,
        "params": {name: plain(value) for name, value in job.params.items()},
        "foreach": {name: value if isinstance(value, str) else list(value) for name, value in values.items()},
        "resources": dict(_resources(resources)),
    }
