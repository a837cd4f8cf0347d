"""The ``publish:`` of a workflow: outputs, and the addresses they are published at."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from repro.names import hidden
from repro.workflow import fields
from repro.workflow.addresses import read_access, read_address
from repro.workflow.commands import read_template
from repro.workflow.data import read_place
from repro.workflow.expand import render_path
from repro.workflow.expressions import mentions
from repro.workflow.fields import near
from repro.workflow.model import PublishTarget
from repro.workflow.source import MapNode
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import Location
    from repro.workflow.addresses import Address
    from repro.workflow.fields import Problems
    from repro.workflow.model import Value
    from repro.workflow.source import Node
    from repro.workflow.template import Placeholder, Template

PUBLISH_KEYS = ("to", "endpoint", "profile")

# what a run would give; ``date`` is the day on which it ended
_SAMPLE = {"run": {"id": "20260131T120000Z-0a1b"}, "date": "2026-01-31"}


def read_publish(
    node: Node, workflow: str, workflow_file: str, params: Mapping[str, Value], problems: Problems
) -> dict[str, PublishTarget]:
    """Return what is published where, by project path; mistakes go to ``problems``.

    ``workflow`` is the workflow's name. A target is tried with its params and a made-up run.
    """
    scope: dict[str, object] = {**_SAMPLE, "workflow": workflow, "params": params}
    result: dict[str, PublishTarget] = {}
    for entry in fields.entries(node, "publish", problems, "a mapping of outputs to addresses") or ():
        place = read_place(entry.key, "publish", workflow_file, problems)
        target = _read_target(place or entry.key.text, entry.key.where, entry.value, scope, problems)
        if place in result:
            problems.add(entry.key.where, f"publish.{place}", f"{place} is there twice", "remove one of the two")
        if place is not None and target is not None:
            result.setdefault(place, target)
    return result


def _read_target(
    place: str, where: Location, node: Node, scope: Mapping[str, object], problems: Problems
) -> PublishTarget | None:
    at = f"publish.{place}"
    if not isinstance(node, MapNode):
        found: Mapping[str, Node] = {"to": node}
        text, address = _target(place, node, at, scope, problems)
        return PublishTarget(place, text, where) if text is not None and address is not None else None
    found = fields.keys(node.entries, at, problems, PUBLISH_KEYS)
    if "to" not in found:
        problems.add(node.where, at, "it is not said where to publish", "as in {to: s3://bucket/results/}")
        return None
    text, address = _target(place, found["to"], f"{at}.to", scope, problems)
    access = read_access(found, address.scheme if address else None, at, problems)
    return PublishTarget(place, text, where, access) if text is not None and address is not None else None


def _target(
    place: str, node: Node, at: str, scope: Mapping[str, object], problems: Problems
) -> tuple[str | None, Address | None]:
    """Return the template of an address, and the address that it gives for a made-up run."""
    text = fields.text(node, at, problems, "an address")
    template = read_template(text, node.where, at, problems) if text is not None else None
    if text is None or template is None:
        return None, None
    sample = _rendered(template, node, at, scope, problems)
    address = read_address(sample, node.where, at, problems, globs=False) if sample is not None else None
    if address is None:
        return None, None
    folder = place.endswith("/")
    if address.scheme in ("http", "https"):
        message, hint = f"nothing can be written to {hidden(text)!r}", "publish to s3, nfs, smb, sftp or a path"
    elif folder and not address.folder:
        message, hint = f"{place!r} is a folder, and {text!r} a file", f"end the address in '/': {text}/"
    elif address.folder and not folder:
        message = f"{place!r} is a file, and {text!r} a folder"
        hint = f"name the file in the address: {text}{posixpath.basename(place)}"
    else:
        return text, address
    problems.add(node.where, at, message, hint)
    return None, None


def _rendered(template: Template, node: Node, at: str, scope: Mapping[str, object], problems: Problems) -> str | None:
    """Return the text of a template in ``scope``; None after a reported mistake."""
    try:
        for placeholder in template.placeholders:
            _check_names(placeholder, scope)
        return render_path(template.text, scope)
    except TemplateError as error:
        problems.add(problems.source.placeholder(node.where, error.index), at, error.message, error.hint or "")
        return None


def _check_names(placeholder: Placeholder, scope: Mapping[str, object]) -> None:
    """Raise TemplateError for a name that is not there, with those that are."""
    groups = {name: members for name, members in scope.items() if isinstance(members, dict)}
    plain = [name for name in scope if name not in groups]
    known = [*plain, *(f"{group}.{member}" for group, members in groups.items() for member in members)]
    try:
        named = sorted(mentions(placeholder))
    except TemplateError as error:
        error.index = placeholder.index
        raise
    for name in named:
        if ".".join(name) not in known:
            message = f"{'.'.join(name)!r} is undefined"
            raise TemplateError(message, index=placeholder.index, hint=near(".".join(name), known))
