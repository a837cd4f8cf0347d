"""Parser directives: the ``# name=value`` lines at the very top (Dockerfile reference, "Parser directives")."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import DockerfileError, Location

if TYPE_CHECKING:
    from collections.abc import Sequence

KNOWN = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Directive:
    """``# name=value``, the name in lower case."""

    name: str
    value: str
    where: Location


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of a file in order.

    ``doubtful`` is the comment that ended them, where its name is nearly that of a directive: Docker takes such a
    line for a comment, and so do we, but a linter may ask.
    """

    found: tuple[Directive, ...] = ()
    doubtful: Directive | None = None

    def get(self, name: str) -> Directive | None:
        """Return the directive ``name``, or None."""
        return next((one for one in self.found if one.name == name), None)

    @property
    def escape(self) -> str:
        """The escape character: a backslash unless the directive says a backtick."""
        directive = self.get("escape")
        return "\\" if directive is None else directive.value


def read_directives(lines: Sequence[str], file: str) -> Directives:
    r"""Return what the first lines of a file direct; the first line that is no directive ends them.

    Raises:
        DockerfileError: a directive is given twice, or the escape character is another than ``\`` or a backtick.
    """
    found: dict[str, Directive] = {}
    for number, line in enumerate(lines, start=1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        one = Directive(match[1].lower(), match[2], Location(file, number, line.index("#") + 1))
        if one.name not in KNOWN:
            near = difflib.get_close_matches(one.name, KNOWN, n=1, cutoff=0.75)
            return Directives(tuple(found.values()), one if near else None)
        if one.name in found:
            raise DockerfileError(
                f"the directive {one.name!r} is given twice",
                where=one.where,
                hint=f"keep that of line {found[one.name].where.line}, or this one",
            )
        if one.name == "escape" and one.value not in ("\\", "`"):
            message = f"escape={one.value!r} is neither \\ nor `"
            raise DockerfileError(message, where=one.where, hint="write # escape=` or leave the line out")
        found[one.name] = one
    return Directives(tuple(found.values()))
