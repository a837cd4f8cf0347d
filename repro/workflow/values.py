"""Values as the workflow spells them: YAML 1.2 core types that remember how they were written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeGuard

from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from repro.workflow.model import Value

# YAML 1.2.2, section 10.3.2 "Tag Resolution", less integers with leading zeros: "01" is a name, not a number.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class SpelledInt(int):
    """An integer that comes out in a command as it was written (``0x10``, ``+5``)."""

    spelled: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the integer that ``text`` spells."""
        value = cls(int(text, 0))
        value.spelled = text
        return value


class SpelledFloat(float):
    """A number that comes out in a command as it was written (``1e-3``, ``0.50``)."""

    spelled: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the number that ``text`` spells."""
        value = cls(text)
        value.spelled = text
        return value


def core_value(text: str) -> bool | int | float | str | None:
    """Return what a plain scalar means under YAML 1.2's core schema; what JSON cannot hold stays text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text) or _BASED.fullmatch(text):
        return SpelledInt.read(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return SpelledFloat.read(text)
    return text


def is_null(text: str) -> bool:
    """Return whether a plain scalar means "nothing"."""
    return text in _CONSTANTS and _CONSTANTS[text] is None


def spell(value: object, what: str) -> str:
    """Return one value as text for a command or path; TemplateError, naming ``what``, where it has no spelling."""
    match value:
        case SpelledInt() | SpelledFloat():
            return value.spelled
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case None:
            raise TemplateError(f"{what} has no value (null)", hint="give it one, or leave the placeholder out")
        case Mapping():
            raise TemplateError(f"{what} is a mapping", hint="name one of its entries, as in {{ params.name.entry }}")
        case _:
            raise TemplateError(f"{what} is neither text nor a number", hint="name a value, not a function of it")


def is_list(value: object) -> TypeGuard[Sequence[Value]]:
    """Return whether ``value`` is a list in the workflow's sense."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def plain(value: Value) -> Value:
    """Return ``value`` with JSON's own types only, spellings forgotten."""
    match value:
        case str():
            return str(value)
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return {name: plain(item) for name, item in value.items()}
        case _:
            return [plain(item) for item in value]
