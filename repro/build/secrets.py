"""Secrets of a build: given from outside, shown to one RUN, and kept out of everything that stays."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORTEST = 4  # characters; masking "a" would hide more of the output than of the secret
_MASK = "***"


@dataclass(frozen=True, slots=True)
class Secret:
    """``data`` under the name ``id``. Its text form never shows the bytes, so that no message can."""

    id: str
    data: bytes = field(repr=False)


class Mask:
    """Puts ``***`` in place of secrets in lines of output.

    A secret is found as it is, and line by line when it has several; what a command makes of it (base64, quoted,
    cut in two by a write) is not. Values of fewer than four characters are left alone: they are in every line.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values: set[str] = set()
        for secret in secrets:
            text = secret.data.decode(errors="replace")
            values.update(line.strip() for line in text.splitlines())
        # Longest first: one value may hold another.
        self._values = sorted((value for value in values if len(value) >= _SHORTEST), key=lambda v: (-len(v), v))

    def __call__(self, line: str) -> str:
        """Return ``line`` without the secrets."""
        for value in self._values:
            line = line.replace(value, _MASK)
        return line
