"""The forms of paths that a step would make, where its jobs and so the paths themselves are not known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.workflow.model import Step


@dataclass(frozen=True, slots=True)
class Form:
    """What an output's template may become.

    ``prefix`` is the folder that its literal text begins with (``thumbs/``), empty where it begins with a value.
    """

    step: str
    prefix: str
    pattern: re.Pattern[str]

    def fits(self, path: str) -> bool:
        """Return whether ``path`` may be the output, or lie in it."""
        return self.pattern.fullmatch(path) is not None

    def lies_in(self, path: str) -> bool:
        """Return whether the output is surely inside the folder ``path``."""
        return self.prefix.startswith(f"{path.rstrip('/')}/")


def forms(step: Step) -> Iterator[Form]:
    """Yield the forms of a step's outputs."""
    for output in step.outputs.values():
        parts = parse_template(output.path).parts
        text = "".join(re.escape(part) if isinstance(part, str) else ".*" for part in parts)
        first = parts[0] if parts and isinstance(parts[0], str) else ""
        prefix = first[: first.rstrip("/").rfind("/") + 1] if len(parts) == 1 else first[: first.rfind("/") + 1]
        yield Form(step.name, prefix, re.compile(f"{text}.*" if output.folder else text, re.DOTALL))
