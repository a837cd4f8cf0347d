"""What a server asks for in WWW-Authenticate (RFC 9110, 11.6.1), as values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2  # noqa: S105 - a grammar, not a secret
_SCHEME = re.compile(_TOKEN)
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")', re.DOTALL)
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_BETWEEN = re.compile(r"[ \t,]*")
_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to prove who one is; ``scheme`` and the parameters' names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all WWW-Authenticate fields in order; what cannot be read ends its field."""
    return tuple(challenge for header in headers for challenge in _field(header))


def _field(text: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    place = 0
    while True:
        place = _matched(_BETWEEN, text, place)
        parameter = _PARAMETER.match(text, place)
        if parameter is not None and found:
            name, token, quoted = parameter.groups()
            value = token if token is not None else _PAIR.sub(r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
            place = parameter.end()
            continue
        scheme = _SCHEME.match(text, place)
        if scheme is None or parameter is not None:
            return [Challenge(name, parameters) for name, parameters in found]
        found.append((scheme[0].lower(), {}))
        place = scheme.end()
        credentials = _TOKEN68.match(text, place)  # Negotiate and the like: nothing that a registry would send
        if credentials is not None:
            place = credentials.end()


def _matched(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Return where a match that begins at ``place`` ends."""
    found = pattern.match(text, place)
    return place if found is None else found.end()
