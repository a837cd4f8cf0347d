"""Commands as they stand in the file: a shell text, or a list of words; and the templates in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.repair import uncommented_line
from repro.workflow.shell import misplaced
from repro.workflow.source import ListNode, Node, Scalar, Style
from repro.workflow.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.errors import Location
    from repro.workflow.fields import Problems
    from repro.workflow.template import Template


def read_command(node: Node, path: str, problems: Problems) -> str | tuple[str, ...] | None:
    """Return a step's ``run``: shell text, or the words of the exec form."""
    if not isinstance(node, ListNode):
        command = read_line(node, path, problems, templated=True)
        template = read_template(command, node.where, path, problems) if command is not None else None
        if template is None:
            return None
        report(misplaced(template), node.where, path, problems)
        return command
    if not node.items:
        problems.add(node.where, path, "the command has no words", "name a program first")
        return None
    words = []
    for number, item in enumerate(node.items):
        word = fields.text(item, f"{path}.{number}", problems, "a word of the command")
        if word is not None and read_template(word, item.where, f"{path}.{number}", problems) is not None:
            words.append(word)
    return tuple(words) if len(words) == len(node.items) else None


def read_line(node: Node, path: str, problems: Problems, *, templated: bool = False) -> str | None:
    """Return shell text; a plain scalar that a ``#`` cuts short is a mistake, for the shell never sees the rest."""
    command = fields.text(node, path, problems, "a command")
    if command is None or not isinstance(node, Scalar):
        return None
    if not command.strip():
        problems.add(node.where, path, "the command is empty", "write what is to be run")
        return None
    if node.style is Style.PLAIN:
        _refuse_cut(node, path, problems)
    if not templated and "{{" in command:
        message = "templates are not expanded in an environment's commands"
        problems.add(
            problems.source.placeholder(node.where, 0),
            path,
            message,
            "write the value out; for literal braces use a Dockerfile",
        )
    return command


def _refuse_cut(node: Scalar, path: str, problems: Problems) -> None:
    source = problems.source
    last = source.location(node.end)
    start = node.where.column - 1 if node.where.line == last.line else 0
    mended = uncommented_line(source.line(last.line), start, last.column - 1)
    if mended is None:
        return
    if node.where.line == last.line:
        hint = f"quote the command: {mended.strip()}"
    else:
        hint = "put the command on lines of its own under `run: |`"
    problems.add(
        last,
        path,
        "YAML ends the command here and takes the rest for a comment",
        f"{hint}; or move the comment up, to its own line",
    )


def read_template(text: str, where: Location, path: str, problems: Problems) -> Template | None:
    """Return the template of ``text``; one that cannot be read is a problem at its ``{{``."""
    try:
        return parse_template(text)
    except TemplateError as error:
        report((error,), where, path, problems)
        return None


def report(errors: Iterable[TemplateError], where: Location, path: str, problems: Problems) -> None:
    """Note mistakes of a template whose scalar starts at ``where``."""
    for error in errors:
        problems.add(problems.source.placeholder(where, error.index), path, error.message, error.hint or "")
