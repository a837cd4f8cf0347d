"""Typed getters over JSON from outside; what is missing or of a wrong type is a DataError naming its path.

A document must mean one thing to all who read it, and be such that it can be written again: it is UTF-8, no object has
a key twice, numbers are numbers (RFC 8259 has no NaN), text is text (no halves of surrogate pairs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.errors import DataError

if TYPE_CHECKING:
    from repro.digest import Json

_DEEPEST = 100  # values within values; a config has 5
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # may begin a surrogate pair, or be a half of one


def parse_object(data: bytes, what: str) -> Fields:
    """Return the JSON object in ``data``; DataError (naming ``what``) when it is none."""
    return Fields(parse_json(data, what), what)


def parse_json(data: bytes, what: str) -> Json:
    """Return the JSON value in ``data``; DataError (naming ``what``) when it is none, or could mean two things."""
    try:
        value: Json = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_number)
        if _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode()
        if data.count(b"[") + data.count(b"{") > _DEEPEST:
            _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not JSON", why=str(error)) from error
    return value


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _check_depth(value: Json) -> None:
    """Refuse what a recursive reader or writer of it might choke on."""
    level: list[Json] = [value]
    for _ in range(_DEEPEST):
        inner: list[Json] = []
        for one in level:
            if isinstance(one, Mapping):
                inner.extend(one.values())
            elif isinstance(one, Sequence) and not isinstance(one, str):
                inner.extend(one)
        if not inner:
            return
        level = inner
    raise ValueError(f"more than {_DEEPEST} values within each other")


class Fields:
    """A JSON object whose fields are asked for by type. ``null`` counts as absent: Go's encoder writes it."""

    __slots__ = ("_path", "_values")

    def __init__(self, value: Json, path: str) -> None:
        if not isinstance(value, Mapping):
            raise DataError(f"{path} must be an object, not {type(value).__name__}")
        self._values = value
        self._path = path

    def rest(self, known: Sequence[str]) -> dict[str, Json]:
        """Return the fields that are not in ``known``."""
        return {key: value for key, value in self._values.items() if key not in known}

    def text(self, name: str) -> str | None:
        """Return a string."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def required_text(self, name: str) -> str:
        """Return a string that must be there."""
        value = self.text(name)
        if value is None:
            raise DataError(f"{self._path} has no {name}")
        return value

    def number(self, name: str) -> int:
        """Return a whole number from 0 that must be there."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(name, "a whole number from 0")
        return value

    def flag(self, name: str) -> bool:
        """Return a truth value; absent is false."""
        value = self._values.get(name, False)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return a list of strings."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(name, "a list of strings")
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            raise self._wrong(name, "a list of strings")
        return texts

    def text_map(self, name: str) -> dict[str, str]:
        """Return an object of strings; absent is empty."""
        values = self.plain(name)
        texts = {key: value for key, value in values.items() if isinstance(value, str)}
        if len(texts) != len(values):
            raise self._wrong(name, "an object of strings")
        return texts

    def plain(self, name: str) -> dict[str, Json]:
        """Return an object as it is; absent is empty."""
        value = self._values.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object")
        return dict(value)

    def object(self, name: str) -> Fields:
        """Return an object's own fields; absent is empty."""
        return Fields(self.plain(name), f"{self._path}.{name}")

    def objects(self, name: str) -> list[Fields]:
        """Return a list of objects; absent is empty."""
        value = self._values.get(name)
        if value is None:
            return []
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(name, "a list of objects")
        return [Fields(item, f"{self._path}.{name}[{index}]") for index, item in enumerate(value)]

    def digest(self, name: str) -> Digest:
        """Return a digest that must be there."""
        return Digest.parse(self.required_text(name))

    def digests(self, name: str) -> tuple[Digest, ...]:
        """Return a list of digests; absent is empty."""
        return tuple(Digest.parse(text) for text in self.texts(name) or ())

    def _wrong(self, name: str, wanted: str) -> DataError:
        return DataError(f"{self._path}.{name} must be {wanted}")
