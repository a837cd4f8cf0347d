"""Typed getters over nodes: each returns a value or None, and leaves a located problem when it returns None."""

from __future__ import annotations

import difflib
import posixpath
import re
from typing import TYPE_CHECKING

from repro.workflow.source import Entry, ListNode, MapNode, Node, Scalar, Source, Style
from repro.workflow.values import core_value, is_null

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from repro.errors import Location, Problem
    from repro.workflow.model import Value

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Problems:
    """Collects the mistakes of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Problem] = []

    def add(self, where: Location, path: str, message: str, hint: str = "") -> None:
        """Note a mistake at ``where``, in the field ``path``."""
        self.found.append(self.source.problem(where, path, message, hint))


def nearest(name: str, right: Iterable[str]) -> str | None:
    """Return the right name that ``name`` is most likely a slip of, if any is near enough."""
    lower = {candidate.lower(): candidate for candidate in reversed(list(right))}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    if not close:
        return None
    equally = [other for other in close if _likeness(name, other) == _likeness(name, close[0])]
    return lower[max(equally, key=lambda other: len(posixpath.commonprefix([name.lower(), other])))]


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, name.lower()).ratio()


def near(name: str, right: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest of the right names, else the list of them; empty without any."""
    names = list(right)
    if (close := nearest(name, names)) is not None:
        return f"did you mean {close!r}?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known here: {shown}"


def described(node: Node) -> str:
    """Return what was found, for a message: ``the list [..]``, ``the number 3``, ``nothing``."""
    if isinstance(node, ListNode):
        return f"a list of {len(node.items)}" if node.items else "an empty list"
    if isinstance(node, MapNode):
        return "a mapping" if node.entries else "an empty mapping"
    if node.style is Style.PLAIN:
        value = core_value(node.text)
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return f"the truth value {node.text}"
        if not isinstance(value, str):
            return f"the number {node.text}"
    shown = node.text if len(node.text) <= 40 else node.text[:37] + "..."
    return f"the text {shown!r}"


def _child(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def entries(node: Node, path: str, problems: Problems, what: str = "a mapping") -> tuple[Entry, ...] | None:
    """Return the entries of a mapping."""
    if isinstance(node, MapNode):
        return node.entries
    problems.add(
        node.where, path, f"{what} is needed here, found {described(node)}", "write it as `key: value`, one a line"
    )
    return None


def keys(
    found: Sequence[Entry],
    path: str,
    problems: Problems,
    known: Collection[str],
    later: Mapping[str, str] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> dict[str, Node]:
    """Return the values by key; unknown keys get the nearest right spelling, those of ``later`` versions their name.

    Keys that belong ``elsewhere`` are there with where that is.
    """
    result: dict[str, Node] = {}
    guesses: list[tuple[str | None, Node]] = []
    for entry in found:
        key = entry.key.text
        if key in known:
            result[key] = entry.value
        elif later and key in later:
            message = f"{key!r} is not supported by this version of repro"
            problems.add(entry.key.where, _child(path, key), message, later[key])
        elif elsewhere and key in elsewhere:
            problems.add(entry.key.where, _child(path, key), f"{key!r} cannot stand here", elsewhere[key])
        else:
            problems.add(entry.key.where, _child(path, key), f"unknown key {key!r}", near(key, known))
            guesses.append((nearest(key, known), entry.value))
    for guess, value_node in guesses:  # go on with what was meant, so that one slip is reported once
        if guess is not None:
            result.setdefault(guess, value_node)
    return result


def named(
    found: Sequence[Entry],
    path: str,
    problems: Problems,
    what: str,
    *,
    dashes: bool = False,
    taken: Collection[str] = (),
) -> dict[str, Node]:
    """Return the values by user-chosen name; names that templates could not say are problems."""
    result: dict[str, Node] = {}
    for entry in found:
        name = entry.key.text
        if (LABEL if dashes else NAME).fullmatch(name) is None:
            allowed = "letters, digits, '_' and '-'" if dashes else "letters, digits and '_'"
            problems.add(
                entry.key.where,
                _child(path, name),
                f"{name!r} cannot name {what}",
                f"use {allowed}, not starting with a digit",
            )
        elif name in taken:
            problems.add(
                entry.key.where, _child(path, name), f"{name!r} has a meaning of its own", "choose another name"
            )
        else:
            result[name] = entry.value
    return result


def text(node: Node, path: str, problems: Problems, what: str = "text") -> str | None:
    """Return a scalar as it was spelled; nothing at all is a problem, an explicit ``""`` is not."""
    if not isinstance(node, Scalar):
        problems.add(node.where, path, f"{what} is needed here, found {described(node)}")
        return None
    if node.style is Style.PLAIN and is_null(node.text):
        hint = 'write "" where an empty text is meant' if what in ("text", "a value") else ""
        problems.add(node.where, path, f"{what} is needed here, found nothing", hint)
        return None
    if "\0" in node.text:
        problems.add(node.where, path, "the text has a NUL character in it", "remove it")
        return None
    return node.text


def whole(node: Node, path: str, problems: Problems, least: int) -> int | None:
    """Return an integer that is at least ``least``."""
    value = core_value(node.text) if isinstance(node, Scalar) and node.style is Style.PLAIN else None
    if isinstance(value, bool) or not isinstance(value, int):
        problems.add(node.where, path, f"a whole number is needed here, found {described(node)}")
        return None
    if value < least:
        problems.add(node.where, path, f"a number of at least {least} is needed here, found {value}")
        return None
    return int(value)


def truth(node: Node, path: str, problems: Problems) -> bool | None:
    """Return true or false; YAML 1.1's ``yes`` and ``no`` are text and so refused."""
    value = core_value(node.text) if isinstance(node, Scalar) and node.style is Style.PLAIN else None
    if not isinstance(value, bool):
        problems.add(node.where, path, f"true or false is needed here, found {described(node)}")
        return None
    return value


def items(node: Node, path: str, problems: Problems, what: str) -> tuple[Node, ...] | None:
    """Return the items of a list of ``what``."""
    if isinstance(node, ListNode):
        return node.items
    hint = ""
    if isinstance(node, Scalar) and node.text and "\n" not in node.text:
        hint = f"write it as a list: [{node.text}]"
    problems.add(node.where, path, f"a list of {what} is needed here, found {described(node)}", hint)
    return None


def texts(node: Node, path: str, problems: Problems, what: str) -> tuple[str, ...] | None:
    """Return a list of texts as they were spelled; items that are none are problems and left out."""
    found = items(node, path, problems, what)
    if found is None:
        return None
    read = [text(item, _child(path, number), problems) for number, item in enumerate(found)]
    return tuple(item for item in read if item is not None)


def value(node: Node) -> Value:
    """Return any value, plain scalars typed by YAML 1.2's core schema."""
    if isinstance(node, Scalar):
        return core_value(node.text) if node.style is Style.PLAIN else node.text
    if isinstance(node, ListNode):
        return tuple(value(item) for item in node.items)
    return {entry.key.text: value(entry.value) for entry in node}


def text_map(
    node: Node, path: str, problems: Problems, check: Callable[[Entry, str], str | None] | None = None
) -> dict[str, str]:
    """Return a mapping of texts; ``check`` may refuse an entry by returning why."""
    result: dict[str, str] = {}
    for entry in entries(node, path, problems) or ():
        name = entry.key.text
        read = text(entry.value, _child(path, name), problems)
        if read is None:
            continue
        if check and (why := check(entry, read)):
            problems.add(entry.key.where, _child(path, name), why)
        else:
            result[name] = read
    return result
