"""Values in place of a workflow's own params, by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from repro.errors import UsageError
from repro.workflow.fields import near
from repro.workflow.scope import has_placeholder
from repro.workflow.template import TemplateError

if TYPE_CHECKING:
    from repro.workflow.model import Value


def overridden(params: Mapping[str, Value], given: Mapping[str, Value]) -> dict[str, Value]:
    """Return ``params`` with the values of ``given``, in its order, in the place of their own.

    A name may be dotted: ``trim.quality`` is the entry ``quality`` of the param ``trim``. A mapping is laid over a
    mapping, entry by entry; whatever else is given takes the place of the whole value.

    Raises:
        UsageError: there is no param, or no entry, of that name; the hint says which may have been meant. Or a value
            has a template in it.
    """
    result = dict(params)
    for name, value in given.items():
        _refuse_template(name, value)
        if name in result:  # also a param whose own name has a dot in it
            result[name] = _laid_over(name, result[name], value)
        else:
            head, *rest = name.split(".")
            if head not in result:
                hint = near(head, result) or "declare it under the workflow's `params:`"
                raise UsageError(f"the workflow has no param {head!r}", hint=hint)
            result[head] = _replaced(head, result[head], rest, value)
    return result


def _refuse_template(name: str, value: Value) -> None:
    """Raise UsageError for a value with a template in it: as in the workflow's own params, none is expanded."""
    try:
        wrong = has_placeholder(value)
    except TemplateError:
        wrong = True
    if wrong:
        hint = "write the value out; \\{{ is two literal braces"
        raise UsageError(f"templates are not expanded in the value of {name!r}", hint=hint)


def _replaced(name: str, old: Value, rest: list[str], value: Value) -> Value:
    """Return ``old`` with the entry that ``rest`` leads to replaced."""
    if not rest:
        return _laid_over(name, old, value)
    if not isinstance(old, Mapping):
        raise UsageError(f"the param {name!r} is no mapping, so it has no {rest[0]!r}", hint=f"set {name} itself")
    inner = f"{name}.{rest[0]}"
    _check_entry(name, inner, old)
    return {**old, rest[0]: _replaced(inner, old[rest[0]], rest[1:], value)}


def _check_entry(owner: str, name: str, known: Mapping[str, Value]) -> None:
    entry = name.rpartition(".")[2]
    if entry not in known:
        raise UsageError(f"the param {owner!r} has no entry {entry!r}", hint=near(entry, known))


def _laid_over(name: str, old: Value, value: Value) -> Value:
    if not (isinstance(old, Mapping) and isinstance(value, Mapping)):
        return value
    result = dict(old)
    for entry, item in value.items():
        inner = f"{name}.{entry}"
        _check_entry(name, inner, result)
        result[entry] = _laid_over(inner, result[entry], item)
    return result
