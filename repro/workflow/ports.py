"""What a step reads and writes, ``inputs:``, ``outputs:``, ``logs:`` and ``checkpoint:``: nodes to declarations."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow import fields
from repro.workflow.commands import read_template
from repro.workflow.foreach import read_output_name
from repro.workflow.model import FromInput, OutputSpec, PathInput
from repro.workflow.paths import STATE, has_glob, mistake, normal, output_mistake, skeleton
from repro.workflow.source import ListNode, MapNode, Node
from repro.workflow.template import Template, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.defaults import Defaults
    from repro.workflow.fields import Problems
    from repro.workflow.model import Input
    from repro.workflow.source import Entry

INPUT_KEYS = ("path", "from", "optional", "with")
OUTPUT_KEYS = ("path", "temporary")
_OF_THE_DATA = ("mount", "private")  # said once of what comes from elsewhere, whoever reads it
_OUTPUT_LATER = {"compare": "remove it", "retain": "remove it"}


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
    companions: tuple[str, ...] = ()
    given = node
    if isinstance(node, MapNode):
        entries = [entry for entry in node.entries if not _of_the_data(reader, path, entry)]
        found = fields.keys(entries, path, reader.problems, INPUT_KEYS)
        optional = "optional" in found and bool(fields.truth(found["optional"], f"{path}.optional", reader.problems))
        companions = _companions(reader, path, found["with"]) if "with" in found else ()
        if "from" in found:
            return _from(reader, key, found, companions, optional=optional)
        if "path" not in found:
            reader.problems.add(node.where, path, "an input needs `path` or `from`", "as in {from: step.output}")
            return None
        given = found["path"]
        reader.marks[key] = given.where
    if not isinstance(given, ListNode):
        template = _path_template(reader, key, given)
        if template is None:
            return None
        return PathInput((template.text,), has_glob(template), given.where, optional, companions)
    if not given.items:
        reader.problems.add(given.where, path, "the list of paths is empty", "name at least one file")
    templates = [_path_template(reader, f"{key}.{number}", item) for number, item in enumerate(given.items)]
    paths = tuple(template.text for template in templates if template)
    return PathInput(paths, many=True, where=given.where, optional=optional, companions=companions) if paths else None


def _companions(reader: StepReader, path: str, node: Node) -> tuple[str, ...]:
    """Return endings of files that come along with each path of an input; one alone need not be a list."""
    given = fields.items(node, f"{path}.with", reader.problems, "endings") if isinstance(node, ListNode) else (node,)
    endings: dict[str, None] = {}
    for item in given or ():
        ending = fields.text(item, f"{path}.with", reader.problems, "the ending of a file's name, as .bai")
        if ending is None:
            continue
        if not ending or "/" in ending or "{{" in ending or has_glob(parse_template(ending)) or mistake(f"x{ending}"):
            hint = "write what is added to the path, as in with: [.bai]"
            reader.problems.add(item.where, f"{path}.with", f"{ending!r} is not the ending of a file's name", hint)
        else:
            endings[ending] = None
    return tuple(endings)


def _of_the_data(reader: StepReader, path: str, entry: Entry) -> bool:
    """Return whether a key is one of the workflow's own ``inputs:``, which is a mistake here."""
    key = entry.key.text
    if key in _OF_THE_DATA:
        hint = f"write `PATH: {{uri: ..., {key}: true}}` under the `inputs:` at the top of the file"
        reader.problems.add(
            entry.key.where, f"{path}.{key}", f"{key!r} is said of the data, not of a step's input", hint
        )
    return key in _OF_THE_DATA


def _from(
    reader: StepReader, key: str, found: Mapping[str, Node], companions: tuple[str, ...], *, optional: bool
) -> FromInput | None:
    path = reader.path(key)
    if "path" in found:
        message, hint = "'path' cannot stand beside `from`", "remove one of the two"
        reader.problems.add(found["path"].where, f"{path}.path", message, hint)
    named = read_output_name(found["from"], f"{path}.from", reader.problems)
    if named is None:
        return None
    reader.marks[key] = found["from"].where
    return FromInput(*named, found["from"].where, companions, optional)


def read_outputs(reader: StepReader, node: Node) -> dict[str, OutputSpec]:
    """Return the outputs that are right; mistakes go to the reader's problems."""
    path = reader.mark("outputs", node)
    entries = fields.entries(node, path, reader.problems, "a mapping of names to paths") or ()
    result: dict[str, OutputSpec] = {}
    for name, value in fields.named(entries, path, reader.problems, "an output").items():
        given: Node | None = value
        temporary = False
        if isinstance(value, MapNode):
            found = fields.keys(value.entries, f"{path}.{name}", reader.problems, OUTPUT_KEYS, _OUTPUT_LATER)
            given = found.get("path")
            if given is None:
                reader.problems.add(value.where, f"{path}.{name}", "an output needs a `path`")
            if "temporary" in found:
                temporary = bool(fields.truth(found["temporary"], f"{path}.{name}.temporary", reader.problems))
        made = _written(reader, f"outputs.{name}", given, "an output") if given is not None else None
        if given is not None and made is not None:
            result[name] = OutputSpec(made, given.where, temporary)
    return result


def read_logs(reader: StepReader, node: Node) -> dict[str, str]:
    """Return the path templates of log files by name."""
    path = reader.mark("logs", node)
    entries = fields.entries(node, path, reader.problems, "a mapping of names to paths") or ()
    result: dict[str, str] = {}
    for name, value in fields.named(entries, path, reader.problems, "a log").items():
        made = _written(reader, f"logs.{name}", value, "a log")
        if made is not None and made.endswith("/"):
            reader.problems.add(value.where, f"{path}.{name}", f"{made!r} is a folder", "name each file that is a log")
        elif made is not None:
            result[name] = made
    return result


def read_checkpoint(reader: StepReader, node: Node) -> str | None:
    """Return the path template of the folder that a job goes on from."""
    made = _written(reader, "checkpoint", node, "a checkpoint")
    if made is not None and not made.endswith("/"):
        reader.problems.add(node.where, reader.path("checkpoint"), "a checkpoint is a folder", f"write it as {made}/")
        return None
    return made


def _written(reader: StepReader, key: str, node: Node, what: str) -> str | None:
    """Return the path template of something that a job writes."""
    template = _path_template(reader, key, node)
    if template is None:
        return None
    wrong = output_mistake(skeleton(template), reader.defaults.file)
    if has_glob(template):
        wrong = f"'*', '?' and '[' cannot stand in {what}", "name the file, or a folder with '/' at its end"
    if wrong:
        reader.problems.add(node.where, reader.path(key), f"{template.text!r}: {wrong[0]}", wrong[1])
        return None
    return template.text


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
