"""Which names a step's templates may use, and which they do: checked once a step, before any job is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.expand import command_templates
from repro.workflow.expressions import mentions
from repro.workflow.fields import near, nearest
from repro.workflow.model import PathInput
from repro.workflow.resources import EXAMPLES, KINDS, amounts
from repro.workflow.shell import command_template
from repro.workflow.template import Placeholder, Template, TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from repro.workflow.model import Step, Value

CHECKPOINT = "checkpoint"  # in commands, the folder that the step declares
_COMMAND = frozenset(("inputs", "outputs", "logs", "params", "resources"))
_PATHS = frozenset(("params",))


@dataclass(slots=True)
class Uses:
    """What a step's templates mention: foreach values (all, and those in outputs alone) and params.

    Those of ``resources`` count apart: what decides no result is not in the key.
    """

    values: set[str] = field(default_factory=set)
    in_outputs: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)
    resource_params: set[str] = field(default_factory=set)
    resource_values: set[str] = field(default_factory=set)


def templates(step: Step) -> Iterator[tuple[str, Template]]:
    """Yield the templates of a step with the key under which ``step.marks`` says where they stand."""
    for name, declared in step.inputs.items():
        if isinstance(declared, PathInput):
            for number, path in enumerate(declared.paths):
                listed = f"inputs.{name}.{number}"
                yield listed if listed in step.marks else f"inputs.{name}", parse_template(path)
    for name, output in step.outputs.items():
        yield f"outputs.{name}", parse_template(output.path)
    for name, path in step.logs.items():
        yield f"logs.{name}", parse_template(path)
    if step.checkpoint is not None:
        yield "checkpoint", parse_template(step.checkpoint)
    for name, value in step.params.items():
        for text in value_texts(value):
            yield f"params.{name}", parse_template(text)
    for name, amount in amounts(step.resources):
        if isinstance(amount, str):
            yield f"resources.{name}", parse_template(amount)
    if isinstance(step.run, str):
        yield "run", command_template(step.run)
    else:
        yield from ((f"run.{number}", template) for number, template in enumerate(command_templates(step.run)))


def list_mistakes(step: Step, lists: Collection[str]) -> Iterator[tuple[str, TemplateError]]:
    """Yield (key, mistake) for each path that a job writes and that names one of ``lists``, which hold many values."""
    for key, template in templates(step):
        if key.split(".")[0] not in ("outputs", "logs", "checkpoint"):
            continue
        for placeholder in template.placeholders:
            if any(name[0] in lists for name in mentions(placeholder)):
                message = f"{placeholder} is a list where a job takes a chunk of files"
                yield key, TemplateError(message, index=placeholder.index, hint="tell jobs apart by {{ chunk }}")


def value_texts(value: Value) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool | int | float):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from value_texts(item)


def uses(
    step: Step, columns: frozenset[str] | None, params: Mapping[str, Value]
) -> tuple[Uses, tuple[tuple[str, str, TemplateError], ...]]:
    """Return what the step's templates mention, and (key, name, mistake) for each name that is not there.

    ``columns`` are the foreach values' names, None where they are not known; ``params`` the workflow's.
    """
    found = Uses()
    errors: list[tuple[str, str, TemplateError]] = []
    for key, template in templates(step):
        for placeholder in template.placeholders:
            try:
                names = sorted(mentions(placeholder))
            except TemplateError as error:
                error.index = placeholder.index
                errors.append((key, "", error))
                continue
            for name in names:
                wrong = _mistake(step, key, name, columns, params)
                if wrong is not None:
                    message = f"{placeholder}: {wrong[0]}" if placeholder.name is None else wrong[0]
                    mistake = TemplateError(message, index=placeholder.index, hint=wrong[1] or None)
                    errors.append((key, ".".join(name), mistake))
                _note(found, key, name)
    return found, tuple(errors)


def _note(found: Uses, key: str, name: tuple[str, ...]) -> None:
    if key.startswith("resources."):
        kind = found.resource_params if name[0] == "params" else found.resource_values
        kind.add(name[-1] if name[0] == "params" else name[0])
    elif name[0] == "params" and len(name) > 1:
        if not key.startswith("params."):
            found.params.add(name[1])
    elif name[0] not in _COMMAND:
        found.values.add(name[0])
        if key.startswith("outputs."):
            found.in_outputs.add(name[0])


def _mistake(
    step: Step, key: str, name: tuple[str, ...], columns: frozenset[str] | None, params: Mapping[str, Value]
) -> tuple[str, str] | None:
    """Return why a name cannot stand here, and the fix; None where it can."""
    allowed = _COMMAND if _is_command(key) else _PATHS
    head = name[0]
    if name == (CHECKPOINT,) and step.checkpoint is not None and _is_command(key):
        return None
    if name == ("attempt",) and key.startswith("resources."):
        return None
    own = params if key.startswith("params.") else {**params, **step.params}
    asked = dict(amounts(step.resources))
    groups: dict[str, tuple[str, ...]] = {
        "inputs": tuple(step.inputs),
        "outputs": tuple(step.outputs),
        "logs": tuple(step.logs),
        "params": tuple(own),
        "resources": tuple(dict.fromkeys((*KINDS, *step.resources.named))),
    }
    if head not in groups:
        offered = {group: groups[group] for group in sorted(allowed)}
        if "resources" in offered:
            offered["resources"] = tuple(asked)
        if key.startswith("resources."):
            columns = columns | {"attempt"} if columns is not None else None
        if columns is None or head in columns:
            return None
        return f"{head!r} is undefined", _suggestion(name, columns, offered)
    if head not in allowed:
        where = "resources are made of `attempt`," if key.startswith("resources.") else "paths and params are made of"
        return f"{'.'.join(name)!r} cannot be used here", f"{where} foreach values and params alone"
    if len(name) == 1:
        return f"{head!r} is a group of values", f"name one: {head}.{(groups[head] or ('name',))[0]}"
    if name[1] not in groups[head]:
        return f"{'.'.join(name)!r} is undefined", near(name[1], groups[head]) or f"the step has no {head}"
    if head == "resources" and name[1] not in asked:
        hint = f"add `resources: {{{name[1]}: {EXAMPLES.get(name[1], '1')}}}`, with as much as it needs"
        return f"the step declares no {name[1]}", hint
    return None


def _is_command(key: str) -> bool:
    return key == "run" or key.startswith("run.")


def _suggestion(path: tuple[str, ...], columns: frozenset[str], groups: Mapping[str, tuple[str, ...]]) -> str:
    name = path[0]
    if len(path) > 1 and (meant := nearest(name, groups)) is not None:
        return f"did you mean '{meant}.{path[1]}'?"
    for group, members in groups.items():
        if name in members:
            return f"did you mean '{group}.{name}'?"
    everything = [*sorted(columns), *(f"{group}.{member}" for group, members in groups.items() for member in members)]
    return near(name, everything)


def has_placeholder(value: Value) -> bool:
    """Return whether a param's value is made from others."""
    return any(isinstance(part, Placeholder) for text in value_texts(value) for part in parse_template(text).parts)
