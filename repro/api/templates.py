"""Templates of ``--format``, filled in: what Go's text/template and Docker's functions print.

Values are those of JSON. A list prints as ``[a b]``, an object as ``map[k:v]``, as Go has it; ``json`` prints JSON.
Unlike there, a field that is nowhere is an error in any case, with the names that are near: only of an object whose
keys are data (`Keyed`: labels) is a missing one no value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from repro.api.template_functions import (
    FUNCTIONS,
    USAGES,
    Keyed,
    WrongType,
    as_list,
    go_text,
    is_list,
    is_true,
    kind_of,
)
from repro.api.template_syntax import Assign, Call, Choice, Expression, Field, Literal, Node, Output, Range, Variable
from repro.api.template_syntax import parse_template as parse
from repro.errors import UsageError

if TYPE_CHECKING:
    from repro.digest import Json
    from repro.errors import Location

_NOTHING: Final = "<no value>"


class Template:
    """A template, checked; ``fill`` may be called for many values.

    With ``escapes``, as in Docker's listings, a backslash and a ``t`` outside of braces are a tab, with an ``n`` a new
    line.
    """

    def __init__(self, text: str, *, escapes: bool = False) -> None:
        """Read the template; UsageError, located, for what is not understood."""
        self._nodes = parse(text, frozenset(FUNCTIONS), escapes=escapes)

    def fill(self, value: Json) -> str:
        """Return the text for ``value``. UsageError, located, for a field or a type that is not there."""
        out: list[str] = []
        _run(self._nodes, value, {"$": value}, out)
        return "".join(out)


# ---- statements


def _run(nodes: Sequence[Node], dot: Json, variables: dict[str, Json], out: list[str]) -> None:
    for node in nodes:
        match node:
            case str():
                out.append(node)
            case Output(expression):
                value = _value(expression, dot, variables)
                out.append(_NOTHING if value is None else go_text(value))
            case Assign(name, expression):
                variables[name] = _value(expression, dot, variables)
            case Choice(expression, body, otherwise, sets_dot):
                value = _value(expression, dot, variables)
                if is_true(value):
                    _run(body, value if sets_dot else dot, variables, out)
                else:
                    _run(otherwise, dot, variables, out)
            case Range(expression, names, body, otherwise, at):
                items = _items(_value(expression, dot, variables), at)
                for key, item in items:
                    variables |= zip(names, (key, item) if len(names) == 2 else (item,), strict=bool(names))
                    _run(body, item, variables, out)
                if not items:
                    _run(otherwise, dot, variables, out)


def _items(value: Json, at: Location) -> list[tuple[Json, Json]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return sorted(value.items())
    if is_list(value):
        return list(enumerate(as_list(value)))
    raise UsageError(f"range needs a list or an object, not {kind_of(value)}", where=at)


# ---- expressions


def _value(expression: Expression, dot: Json, variables: Mapping[str, Json]) -> Json:
    match expression:
        case Literal(value):
            return value
        case Variable(name):
            return variables[name] if name else dot
        case Field(base, name, at):
            return _field(_value(base, dot, variables), name, at)
        case Call(name, arguments, at):
            function, least, most = FUNCTIONS[name]
            if len(arguments) < least or (most is not None and len(arguments) > most):
                raise UsageError(f"{name} with {len(arguments)} arguments", where=at, hint=f"write {USAGES[name]}")
            values = [_value(argument, dot, variables) for argument in arguments]
            try:
                return function(*values)
            except WrongType as error:
                hint = f"write {USAGES[name]}"
                raise UsageError(f"{name} cannot take {kind_of(error.value)}", where=at, hint=hint) from error
            except UsageError as error:
                error.where = at
                raise


def _field(value: Json, name: str, at: Location) -> Json:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        hint = "write {{ index .List 0 }}, or {{ range .List }}...{{ end }}" if is_list(value) else None
        raise UsageError(f"there is no field {name!r} in {kind_of(value)}", where=at, hint=hint)
    if name in value:
        return value[name]
    if isinstance(value, Keyed):
        return None
    import difflib  # noqa: PLC0415 - only on the way to an error

    lower = {known.lower(): known for known in value}
    near = difflib.get_close_matches(name.lower(), lower, 3)
    hint = f"did you mean {' or '.join(lower[one] for one in near)}?" if near else f"there are: {', '.join(value)}"
    raise UsageError(f"there is no field {name!r}", where=at, hint=hint)
