"""Values for a workflow's params from the command line, ``--set`` and ``--params``, read as YAML as in the workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.errors import UsageError, WorkflowError
from repro.workflow.fields import value
from repro.workflow.parser import parse
from repro.workflow.source import MapNode
from repro.workflow.values import core_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.workflow.model import Value
    from repro.workflow.source import Node


def read_overrides(host: Host, files: Sequence[str], given: Sequence[str]) -> dict[str, Value]:
    """Return the values by name: those of the files (YAML or JSON), and those ``given``, of which the last one counts.

    ``given`` are ``NAME=VALUE``; an entry of a mapping is ``NAME.ENTRY=VALUE``. Types are those of YAML 1.2's core
    schema, as in the workflow: ``0.05`` is a number, ``no`` text, ``[a, b]`` a list, ``"5"`` text.

    Raises:
        UsageError: a file is not there or holds no mapping; something given has no name, or no value that can be read.
        WorkflowError: a file is no YAML.
    """
    found: dict[str, Value] = {}
    for file in files:
        found |= _read_file(host, file)
    for one in given:
        name, sign, text = one.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--set {one}", why="a name and a value are wanted", hint="as in --set fdr=0.01")
        found[name.strip()] = _read_value(name.strip(), text.strip())
    return found


def _read_value(name: str, text: str) -> Value:
    """Return what a value means; blanks, colons and hashes mean nothing outside of brackets and quotes."""
    if not text.startswith(("[", "{", '"', "'")):
        return core_value(text)
    try:
        root = _root(text, f"--set {name}")
    except WorkflowError as error:
        first = error.problems[0]
        message = f"--set {name}={text} cannot be read"
        raise UsageError(message, why=first.message, hint=first.hint or None) from error
    return None if root is None else value(root)


def _root(text: str, name: str) -> Node | None:
    """Return the root of a YAML text; WorkflowError with its mistakes."""
    document = parse(text, name)
    if document.problems:
        raise WorkflowError(document.problems)
    return document.root


def _read_file(host: Host, file: str) -> dict[str, Value]:
    try:
        text = (host.cwd / file).read_bytes().decode()
    except OSError as error:
        raise UsageError(f"--params {file} cannot be read", why=error.strerror, hint="check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--params {file} is not UTF-8", why=str(error), hint="save it as UTF-8") from error
    root = _root(text, file)
    if not isinstance(root, MapNode):
        hint = "write NAME: VALUE lines, or a JSON object"
        raise UsageError(f"--params {file} holds no mapping of names to values", hint=hint)
    return {entry.key.text: value(entry.value) for entry in root}
