"""What a path in a workflow may be: relative to the workflow's folder, inside it, and printable."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from repro.workflow import fields
from repro.workflow.template import Placeholder, Template

if TYPE_CHECKING:
    from repro.workflow.fields import Problems
    from repro.workflow.source import Node

STATE = ".repro"  # the project's own records and logs
LOCK = "workflow.lock"  # beside workflow.yaml; a workflow of another name has a lock of that name

_SLASHES = re.compile(r"/{2,}|(?:(?<=/)|^)\./+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # surrogates: not UTF-8 on disk
_GLOB = re.compile(r"[*?[]")
# a path with nothing in it to normalise or to refuse: the common case, told by one match
_CLEAN = re.compile(r"(?!/)(?:(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f\ud800-\udfff]+(?:/|$))+")


def normal(path: str) -> str:
    """Return the one spelling of ``path``: no ``./``, no ``//``; a folder keeps its slash at the end."""
    if _CLEAN.fullmatch(path):
        return path
    while (shorter := _SLASHES.sub(lambda found: "/" if found[0].startswith("//") else "", path)) != path:
        path = shorter
    return path.removesuffix(".") if path.endswith("/.") else path


def mistake(path: str) -> tuple[str, str] | None:
    """Return what is wrong with ``path`` and the fix, or None."""
    if path.startswith("~/"):
        return "'~' is not expanded here", "write it relative to the workflow's folder"
    if _CLEAN.fullmatch(path):
        return None
    if not path:
        return "the path is empty", "write a path relative to the workflow's folder"
    if path.startswith("/"):
        return "absolute paths are not allowed", "write it relative to the workflow's folder, so that it works anywhere"
    if ".." in path.split("/"):
        return "'..' leads out of the workflow's folder", "move the file below the folder, or link it there"
    if _UNPRINTABLE.search(path):
        return "the path has a control character in it, or bytes that are not UTF-8", "rename the file"
    return None


def read_path(node: Node, path: str, problems: Problems) -> str | None:
    """Return a literal path, normalised; templates are not for it."""
    given = fields.text(node, path, problems, "a path")
    return None if given is None else literal_path(given, node, path, problems)


def literal_path(given: str, node: Node, path: str, problems: Problems) -> str | None:
    """Return the path ``given``, which stands at ``node``, normalised; None after a reported mistake."""
    if "{{" in given:
        problems.add(node.where, path, "templates are not expanded in this path", "write the path out")
        return None
    clean = normal(given)
    if wrong := mistake(clean):
        problems.add(node.where, path, f"{given!r}: {wrong[0]}", wrong[1])
        return None
    return clean


def output_mistake(path: str, workflow_file: str) -> tuple[str, str] | None:
    """Return what is wrong with ``path`` (normal) as an output and the fix, or None."""
    bare = path.rstrip("/")
    if bare in ("", "."):
        return "the whole project cannot be an output", "name a file or folder in it"
    if bare == STATE or bare.startswith(f"{STATE}/"):
        return f"{STATE}/ belongs to repro", "choose another folder"
    if bare in (workflow_file, LOCK, lock_name(workflow_file)):
        return f"this would overwrite {bare}", "choose another name"
    return None


def lock_name(workflow_file: str) -> str:
    """Return the name of the lock beside a workflow file."""
    return f"{posixpath.splitext(workflow_file)[0]}.lock"


def skeleton(template: Template) -> str:
    """Return the path with a plain letter in the place of each placeholder, to check its form before any values."""
    return "".join("x" if isinstance(part, Placeholder) else part for part in template.parts)


def has_glob(template: Template) -> bool:
    """Return whether the template's own text (not its values) holds ``*``, ``?`` or ``[``."""
    return any(_GLOB.search(part) for part in template.parts if isinstance(part, str))
