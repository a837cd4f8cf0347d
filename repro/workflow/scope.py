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
from repro.workflow.shell import command_template
from repro.workflow.template import Placeholder, Template, TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.workflow.model import Step, Value

RESOURCES = ("cpus", "memory")
_COMMAND = frozenset(("inputs", "outputs", "params", "resources"))
_PATHS = frozenset(("params",))


@dataclass(slots=True)
class Uses:
    """What a step's templates mention: foreach values (all, and those in outputs alone) and params."""

    values: set[str] = field(default_factory=set)
    in_outputs: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)


def templates(step: Step) -> Iterator[tuple[str, Template]]:
    """Yield the templates of a step with the key under which ``step.marks`` says where they stand."""
    for name, declared in step.inputs.items():
        if isinstance(declared, PathInput):
            for number, path in enumerate(declared.paths):
                listed = f"inputs.{name}.{number}"
                yield listed if listed in step.marks else f"inputs.{name}", parse_template(path)
    for name, output in step.outputs.items():
        yield f"outputs.{name}", parse_template(output.path)
    for name, value in step.params.items():
        for text in value_texts(value):
            yield f"params.{name}", parse_template(text)
    if isinstance(step.run, str):
        yield "run", command_template(step.run)
    else:
        yield from ((f"run.{number}", template) for number, template in enumerate(command_templates(step.run)))


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
    if name[0] == "params" and len(name) > 1:
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
    allowed = _COMMAND if key == "run" or key.startswith("run.") else _PATHS
    head = name[0]
    own = params if key.startswith("params.") else {**params, **step.params}
    groups: dict[str, tuple[str, ...]] = {
        "inputs": tuple(step.inputs),
        "outputs": tuple(step.outputs),
        "params": tuple(own),
        "resources": RESOURCES,
    }
    if head not in groups:
        if columns is None or head in columns:
            return None
        return f"{head!r} is undefined", _suggestion(name, columns, {group: groups[group] for group in sorted(allowed)})
    if head not in allowed:
        return f"{'.'.join(name)!r} cannot be used here", "paths and params are made of foreach values and params alone"
    if len(name) == 1:
        return f"{head!r} is a group of values", f"name one: {head}.{(groups[head] or ('name',))[0]}"
    if name[1] not in groups[head]:
        return f"{'.'.join(name)!r} is undefined", near(name[1], groups[head]) or f"the step has no {head}"
    if name == ("resources", "memory") and step.resources.memory is None:
        return "the step declares no memory", "add `resources: {memory: 2GB}`, with as much as it needs"
    return None


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
