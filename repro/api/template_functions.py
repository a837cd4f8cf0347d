"""What templates of ``--format`` work on: values of JSON, as Go prints them, and Docker's functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.digest import Json


class Keyed(dict[str, "Json"]):
    """An object whose keys are data: asking for one that is not there is no mistake."""


def is_true(value: Json) -> bool:
    """Whether a condition holds: anything but false, 0, nothing, and what is empty."""
    return bool(value)


def go_text(value: Json) -> str:
    """Return ``value`` as Go's ``%v`` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float():
            return f"{value:g}"
        case Mapping():
            return f"map[{' '.join(f'{key}:{go_text(item)}' for key, item in sorted(value.items()))}]"
        case _:
            return f"[{' '.join(map(go_text, value))}]"


def is_list(value: Json) -> bool:
    """Whether a value is a list."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def kind_of(value: Json) -> str:
    """Return what a value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Mapping):
        return "an object"
    if is_list(value):
        return "a list"
    return {str: "a text", int: "a number", float: "a number"}.get(type(value), "nothing")


class WrongType(Exception):  # noqa: N818 - `repro.api.templates` makes a UsageError of it
    """An argument has a type that the function does not take."""

    def __init__(self, value: Json) -> None:
        super().__init__()
        self.value = value


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise WrongType(value)
    return value


def _whole(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongType(value)
    return value


def as_list(value: Json) -> Sequence[Json]:
    """Return a list, empty for none; WrongType for what is none."""
    if value is None:
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise WrongType(value)


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _join(items: Json, between: Json) -> str:
    return _text(between).join(map(go_text, as_list(items)))


def _split(text: Json, at: Json) -> list[Json]:
    whole, mark = _text(text), _text(at)
    return list(whole.split(mark)) if mark else list(whole)


def _len(value: Json) -> int:
    """Return how many; of a text the bytes, as Go counts them."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | Sequence):
        return len(value)
    raise WrongType(value)


def _index(value: Json, *keys: Json) -> Json:
    for key in keys:
        if value is None:
            return None
        if isinstance(value, Mapping):
            found = value.get(_text(key))
            value = "" if found is None and isinstance(value, Keyed) else found  # Go: the zero of its type
        elif is_list(value):
            items = as_list(value)
            if not 0 <= _whole(key) < len(items):
                raise UsageError(f"index {key} of a list of {len(items)}", hint="the first has the index 0")
            value = items[_whole(key)]
        else:
            raise WrongType(value)
    return value


def _slice(value: Json, *ends: Json) -> Json:
    start, end = ([_whole(one) for one in ends] + [None, None])[:2]
    if not isinstance(value, str):
        as_list(value)
    assert isinstance(value, Sequence)
    if not 0 <= (start or 0) <= (len(value) if end is None else end) <= len(value):
        raise UsageError(f"slice beyond the ends of {kind_of(value)} of {len(value)}")
    return value[start:end]


def _print(*values: Json) -> str:
    """Return the values in a row; Go puts blanks between two that are no texts."""
    out = ""
    for place, value in enumerate(values):
        between = place and not isinstance(value, str) and not isinstance(values[place - 1], str)
        out += f"{' ' if between else ''}{go_text(value)}"
    return out


def _println(*values: Json) -> str:
    return " ".join(map(go_text, values)) + "\n"


def _printf(form: Json, *values: Json) -> str:
    left = list(values)

    def put(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        if not left:
            raise UsageError(f"printf {form!r} has more places than values")
        value = left.pop(0)
        if match[2] == "d":
            return f"%{match[1]}d" % _whole(value)
        shown = _json(go_text(value)) if match[2] == "q" else go_text(value)
        return f"%{match[1]}s" % shown

    return re.sub(r"%(-?[0-9]{0,3}(?:\.[0-9]{1,3})?)([sdvq%])", put, _text(form))


def _truncate(text: Json, most: Json) -> str:
    return _text(text)[: max(0, _whole(most))]


def _pad(text: Json, before: Json, after: Json) -> str:
    return " " * min(_whole(before), 1000) + _text(text) + " " * min(_whole(after), 1000) if _text(text) else ""


def _compare(test: Callable[[int], bool]) -> Callable[[Json, Json], bool]:
    def compare(left: Json, right: Json) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return test((left > right) - (left < right))
        for value in (left, right):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise WrongType(value)
        assert isinstance(left, int | float)
        assert isinstance(right, int | float)
        return test((left > right) - (left < right))

    return compare


def _and(*values: Json) -> Json:
    return next((value for value in values if not is_true(value)), values[-1])


def _or(*values: Json) -> Json:
    return next((value for value in values if is_true(value)), values[-1])


USAGES: Final = {
    "json": "{{ json .Field }}",
    "join": '{{ join .List ", " }}',
    "split": '{{ split .Text "/" }}',
    "lower": "{{ lower .Text }}",
    "upper": "{{ upper .Text }}",
    "title": "{{ title .Text }}",
    "len": "{{ len .List }}",
    "index": "{{ index .List 0 }} or {{ index .Config.Labels `a.key` }}",
    "slice": "{{ slice .List 0 2 }}",
    "print": "{{ print .Field .Other }}",
    "println": "{{ println .Field }}",
    "printf": '{{ printf "%s is %d bytes" .Id .Size }}',
    "truncate": "{{ truncate .Text 20 }}",
    "pad": "{{ pad .Text 2 2 }}: blanks before and after",
    "not": "{{ if not .Field }}",
    "and": "{{ if and .Field .Other }}",
    "or": "{{ or .Field .Other }}",
    "eq": "{{ if eq .Field `text` }}",
    **{name: f"{{{{ if {name} .Size 1000 }}}}" for name in ("ne", "lt", "le", "gt", "ge")},
}
FUNCTIONS: Final[dict[str, tuple[Callable[..., Json], int, int | None]]] = {  # how many arguments each takes
    "json": (_json, 1, 1),
    "join": (_join, 2, 2),
    "split": (_split, 2, 2),
    "lower": (lambda text: _text(text).lower(), 1, 1),
    "upper": (lambda text: _text(text).upper(), 1, 1),
    "title": (lambda text: re.sub(r"\b[^\W\d_]", lambda match: match[0].upper(), _text(text)), 1, 1),
    "len": (_len, 1, 1),
    "index": (_index, 1, None),
    "slice": (_slice, 1, 3),
    "print": (_print, 0, None),
    "println": (_println, 0, None),
    "printf": (_printf, 1, None),
    "truncate": (_truncate, 2, 2),
    "pad": (_pad, 3, 3),
    "not": (lambda value: not is_true(value), 1, 1),
    "and": (_and, 1, None),
    "or": (_or, 1, None),
    "eq": (lambda first, *others: any(first == other for other in others), 2, None),
    "ne": (lambda left, right: left != right, 2, 2),
    "lt": (_compare(lambda sign: sign < 0), 2, 2),
    "le": (_compare(lambda sign: sign <= 0), 2, 2),
    "gt": (_compare(lambda sign: sign > 0), 2, 2),
    "ge": (_compare(lambda sign: sign >= 0), 2, 2),
}
