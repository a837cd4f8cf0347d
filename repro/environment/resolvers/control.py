"""Debian control data: stanzas and the relations between packages (deb-control(5), deb822(5))."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.environment.resolvers.version import satisfies
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELATION = re.compile(
    r"\s*(?P<name>[a-zA-Z0-9][a-zA-Z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"\s*(?:\(\s*(?P<relation><<|<=|=|>=|>>|<|>)\s*(?P<version>[A-Za-z0-9.+~:-]+)\s*\))?\s*"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One alternative of a dependency, or one provided name: ``name (relation version)``."""

    name: str
    relation: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name

    def holds_for(self, version: str) -> bool:
        """Return whether a package of this name and ``version`` satisfies it."""
        return not self.relation or satisfies(version, self.relation, self.version)


def parse_stanza(text: str) -> dict[str, str]:
    """Return a stanza's fields; a continued value keeps its line breaks, the leading blank of each line cut.

    DataError on a line that is neither a field nor a continuation.
    """
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] in " \t":
            if not name:
                raise DataError(f"control data begins with a continuation line: {line!r}")
            fields[name].append(line[1:])
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name in fields:
            raise DataError(f"not a field of control data, or a field twice: {line!r}")
        fields[name] = [value.strip()]
    return {name: "\n".join(lines) for name, lines in fields.items()}


def parse_stanzas(text: str) -> list[dict[str, str]]:
    """Return the stanzas of a file in which blank lines separate them."""
    blocks = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))
    return [fields for fields in map(parse_stanza, blocks) if fields]


def parse_relations(field: str) -> tuple[tuple[Relation, ...], ...]:
    """Return a dependency field as groups, all of which must hold, of alternatives, one of which must."""
    groups = (group for group in field.split(",") if group.strip())
    return tuple(tuple(_relation(alternative) for alternative in group.split("|")) for group in groups)


def _relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text)
    if match is None:
        raise DataError(f"not a relation between packages: {text.strip()!r}")
    return Relation(match["name"], match["relation"] or "", match["version"] or "")


def required(fields: Mapping[str, str], name: str, what: str) -> str:
    """Return the field ``name``; DataError naming ``what`` lacks it."""
    try:
        return fields[name]
    except KeyError:
        raise DataError(f"{what} has no field {name}") from None
