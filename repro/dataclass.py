"""`dataclasses.dataclass` for slotted classes, made in a tenth of the time: a command starts as fast as its imports.

The standard decorator compiles up to ten methods per class at import, most of which no run ever calls. Here a method
is compiled when it is first called. What is made are dataclasses all the same: `dataclasses.fields`, `replace`,
`asdict` and ``match`` take them as ever.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, FrozenInstanceError
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field

    Write = Callable[[list[Field[Any]], dict[str, Any]], str]  # what fields and names -> the text of a method

_Class = TypeVar("_Class", bound=type)


def _dataclass(
    *, slots: bool, frozen: bool = False, order: bool = False, kw_only: bool = False
) -> Callable[[_Class], _Class]:
    """Return a class decorator; each argument means what it means to `dataclasses.dataclass`."""
    assert slots  # attributes are quick, and a misspelt one is an error
    writers = _WRITERS | {"__init__": _write_frozen_init if frozen else _write_init}
    if frozen:
        writers["__hash__"] = _write_hash
    if order:
        writers |= _ORDER
    made_by = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)

    def decorate(cls: _Class) -> _Class:
        own = cls.__dict__
        made: Any = made_by(cls)
        for name, write in writers.items():
            if name not in own:
                setattr(made, name, _late(made, name, write))
        if frozen:
            made.__setattr__, made.__delattr__ = _refuse_set, _refuse_delete
            made.__getstate__, made.__setstate__ = _state, _restore  # for pickle and copy, which would set attributes
        elif "__hash__" not in own:
            made.__hash__ = None
        return cast("_Class", made)

    return decorate


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - type checkers know it under its own name only
else:
    dataclass = _dataclass


def _late(cls: type, name: str, write: Write) -> Callable[..., Any]:
    """Return a method that, when first called, compiles the real one and puts that in its place."""

    def first(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = {"_set": object.__setattr__, "_missing": MISSING}
        text = write(list(dataclasses.fields(cls)), known)
        if hasattr(cls, "__post_init__") and name == "__init__":
            text += "\n self.__post_init__()"
        exec(text, known)  # noqa: S102 - made of the names of a class's own fields, as the standard module does
        method: Any = known[name]
        method.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, method)
        return method(self, *args, **kwargs)

    return first


def _write_init(fields: list[Field[Any]], known: dict[str, Any], assign: str = "self.{} = {}") -> str:
    positional, body = ["self"], [" pass"]
    named: list[str] = []
    for one in fields:
        name = one.name
        parameter, value = name, name
        if one.default is not MISSING:
            known[f"_default_{name}"] = one.default
            parameter, value = f"{name}=_default_{name}", name if one.init else f"_default_{name}"
        elif one.default_factory is not MISSING:
            known[f"_default_{name}"] = one.default_factory
            parameter = f"{name}=_missing"
            value = f"_default_{name}() if {name} is _missing else {name}" if one.init else f"_default_{name}()"
        elif not one.init:
            continue  # __post_init__ sets it
        if one.init:
            (named if one.kw_only else positional).append(parameter)
        body.append(" " + assign.format(name, value))
    parameters = ", ".join([*positional, *(["*", *named] if named else [])])
    return f"def __init__({parameters}):\n" + "\n".join(body)


def _write_frozen_init(fields: list[Field[Any]], known: dict[str, Any]) -> str:
    return _write_init(fields, known, "_set(self, '{}', {})")


def _compared(fields: list[Field[Any]], of: str) -> str:
    return "(" + "".join(f"{of}.{one.name}, " for one in fields if one.compare) + ")"


def _write_hash(fields: list[Field[Any]], _: dict[str, Any]) -> str:
    return f"def __hash__(self): return hash({_compared(fields, 'self')})"


def _comparison(name: str, operator: str) -> Write:
    def write(fields: list[Field[Any]], _: dict[str, Any]) -> str:
        ours, theirs = _compared(fields, "self"), _compared(fields, "other")
        return (
            f"def {name}(self, other):\n"
            f" return {ours} {operator} {theirs} if other.__class__ is self.__class__ else NotImplemented"
        )

    return write


def _write_repr(fields: list[Field[Any]], _: dict[str, Any]) -> str:
    shown = ", ".join(f"{one.name}={{self.{one.name}!r}}" for one in fields if one.repr)
    return f"def __repr__(self): return f'{{self.__class__.__qualname__}}({shown})'"


def _refuse_set(_: object, name: str, __: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


_WRITERS: dict[str, Write] = {"__eq__": _comparison("__eq__", "=="), "__repr__": _write_repr}
_ORDER = {
    name: _comparison(name, sign)
    for name, sign in (("__lt__", "<"), ("__le__", "<="), ("__gt__", ">"), ("__ge__", ">="))
}
