"""The ``inputs:`` and ``outputs:`` of a step: nodes to declarations."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow import fields
from repro.workflow.commands import read_template
from repro.workflow.model import FromInput, OutputSpec, PathInput
from repro.workflow.paths import STATE, has_glob, mistake, normal, output_mistake, skeleton
from repro.workflow.source import ListNode, MapNode, Node
from repro.workflow.template import Template, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.fields import Problems
    from repro.workflow.model import Input, Value
    from repro.workflow.source import Entry

_INPUT_LATER = {"with": "list the companion files as inputs of their own"}
_OF_THE_DATA = ("mount", "private")  # said once of what comes from elsewhere, whoever reads it
_OUTPUT_LATER = {"temporary": "remove it: outputs are kept", "compare": "remove it", "retain": "remove it"}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for steps that do not say otherwise; ``file`` is the workflow's own name in the project."""

    file: str
    environment: str | None
    environments: tuple[str, ...]
    params: Mapping[str, Value]


@dataclass(slots=True)
class StepReader:
    """Reads one step; ``marks`` say where its values stand."""

    name: str
    defaults: Defaults
    problems: Problems
    marks: dict[str, Location] = field(default_factory=dict)

    def path(self, key: str) -> str:
        """Return a field's path in the file."""
        return f"steps.{self.name}.{key}"

    def mark(self, key: str, node: Node) -> str:
        """Remember where ``key`` stands and return its path."""
        self.marks[key] = node.where
        return self.path(key)


def read_inputs(reader: StepReader, node: Node) -> dict[str, Input]:
    """Return the inputs that are right; mistakes go to the reader's problems."""
    path = reader.mark("inputs", node)
    entries = fields.entries(node, path, reader.problems, "a mapping of names to paths") or ()
    result: dict[str, Input] = {}
    for name, value in fields.named(entries, path, reader.problems, "an input").items():
        made = _input(reader, f"inputs.{name}", value)
        if made is not None:
            result[name] = made
    return result


def _input(reader: StepReader, key: str, node: Node) -> Input | None:
    path = reader.mark(key, node)
    optional = False
    given = node
    if isinstance(node, MapNode):
        entries = [entry for entry in node.entries if not _of_the_data(reader, path, entry)]
        found = fields.keys(entries, path, reader.problems, ("path", "from", "optional"), _INPUT_LATER)
        if "from" in found:
            return _from(reader, key, found)
        if "path" not in found:
            reader.problems.add(node.where, path, "an input needs `path` or `from`", "as in {from: step.output}")
            return None
        optional = (
            bool(fields.truth(found["optional"], f"{path}.optional", reader.problems)) if "optional" in found else False
        )
        given = found["path"]
        reader.marks[key] = given.where
    if not isinstance(given, ListNode):
        template = _path_template(reader, key, given)
        return PathInput((template.text,), has_glob(template), given.where, optional) if template else None
    if not given.items:
        reader.problems.add(given.where, path, "the list of paths is empty", "name at least one file")
    templates = [_path_template(reader, f"{key}.{number}", item) for number, item in enumerate(given.items)]
    paths = tuple(template.text for template in templates if template)
    return PathInput(paths, True, given.where, optional) if paths else None  # noqa: FBT003 - the field is named many


def _of_the_data(reader: StepReader, path: str, entry: Entry) -> bool:
    """Return whether a key is one of the workflow's own ``inputs:``, which is a mistake here."""
    key = entry.key.text
    if key in _OF_THE_DATA:
        hint = f"write `PATH: {{uri: ..., {key}: true}}` under the `inputs:` at the top of the file"
        reader.problems.add(
            entry.key.where, f"{path}.{key}", f"{key!r} is said of the data, not of a step's input", hint
        )
    return key in _OF_THE_DATA


def _from(reader: StepReader, key: str, found: Mapping[str, Node]) -> FromInput | None:
    path = reader.path(key)
    for other in ("path", "optional"):
        if other in found:
            reader.problems.add(
                found[other].where, f"{path}.{other}", f"{other!r} cannot stand beside `from`", "remove it"
            )
    text = fields.text(found["from"], f"{path}.from", reader.problems, "step.output")
    if text is None:
        return None
    step, dot, output = text.partition(".")
    if not (step and dot and output):
        reader.problems.add(
            found["from"].where, f"{path}.from", f"{text!r} does not name an output", "write it as step.output"
        )
        return None
    reader.marks[key] = found["from"].where
    return FromInput(step, output, found["from"].where)


def read_outputs(reader: StepReader, node: Node) -> dict[str, OutputSpec]:
    """Return the outputs that are right; mistakes go to the reader's problems."""
    path = reader.mark("outputs", node)
    entries = fields.entries(node, path, reader.problems, "a mapping of names to paths") or ()
    result: dict[str, OutputSpec] = {}
    for name, value in fields.named(entries, path, reader.problems, "an output").items():
        given: Node | None = value
        if isinstance(value, MapNode):
            found = fields.keys(value.entries, f"{path}.{name}", reader.problems, ("path",), _OUTPUT_LATER)
            given = found.get("path")
            if given is None:
                reader.problems.add(value.where, f"{path}.{name}", "an output needs a `path`")
        if given is None:
            continue
        key = f"outputs.{name}"
        template = _path_template(reader, key, given)
        if template is None:
            continue
        wrong = output_mistake(skeleton(template), reader.defaults.file)
        if has_glob(template):
            wrong = "'*', '?' and '[' cannot stand in an output", "name the file, or a folder with '/' at its end"
        if wrong:
            reader.problems.add(given.where, reader.path(key), f"{template.text!r}: {wrong[0]}", wrong[1])
        else:
            result[name] = OutputSpec(template.text, given.where)
    return result


def _path_template(reader: StepReader, key: str, node: Node) -> Template | None:
    """Return a path template, normalised; its form is checked with letters in the place of its values."""
    path = reader.mark(key, node)
    text = fields.text(node, path, reader.problems, "a path")
    template = read_template(text, node.where, path, reader.problems) if text is not None else None
    if text is None or template is None:
        return None
    if not template.placeholders:
        template = parse_template(normal(text))
    outline = skeleton(template)
    wrong = mistake(normal(outline))
    if outline == STATE or outline.startswith(f"{STATE}/"):
        wrong = f"{STATE}/ belongs to repro", "choose another folder"
    if wrong:
        reader.problems.add(node.where, path, f"{text!r}: {wrong[0]}", wrong[1])
        return None
    return template
