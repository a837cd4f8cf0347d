"""The plan's mistakes, located; what only follows from mistakes already known is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.errors import Problem
from repro.workflow.forms import Form, forms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.errors import Location
    from repro.workflow.model import Step
    from repro.workflow.source import Source
    from repro.workflow.template import TemplateError


class Report:
    """Collects the plan's mistakes; what only follows from mistakes already known is left out."""

    def __init__(self, source: Source | None, steps: Mapping[str, Step], known: Sequence[Problem]) -> None:
        self.found: list[Problem] = []
        self.steps = steps
        self.switched_off: set[str] = set()
        self._possible: list[Form] = []
        self._off: list[Form] = []
        self._source = source
        self._known = tuple(problem.path for problem in known)
        self._places = frozenset(problem.where for problem in known)
        self._said: set[tuple[str, str]] = set()

    def add(self, where: Location, path: str, message: str, hint: str = "") -> None:
        """Note a mistake."""
        made = (
            self._source.problem(where, path, message, hint)
            if self._source
            else Problem(where, path, message, "", hint)
        )
        self.found.append(made)

    def once(self, step: Step, key: str, message: str, hint: str = "") -> None:
        """Note a mistake of a step's field, unless one was noted for it: ten thousand jobs make one message."""
        if (step.name, key) in self._said or self.broken(f"steps.{step.name}.{key}"):
            return
        self._said.add((step.name, key))
        place = step.marks.get(key) or step.marks.get(key.split(".", maxsplit=1)[0]) or step.where
        self.add(place, f"steps.{step.name}.{key}", message, hint)

    def clean(self, step: Step, key: str) -> bool:
        """Return whether no mistake of this field of a step is known."""
        path = f"steps.{step.name}.{key}"
        return not self.broken(path) and not any(
            problem.path == path or problem.path.startswith(f"{path}.") for problem in self.found
        )

    def template(self, step: Step, key: str, error: TemplateError) -> None:
        """Note a template's mistake at its ``{{``."""
        where = step.marks.get(key, step.where)
        if self._source is not None and key in step.marks:
            where = self._source.placeholder(where, error.index)
        if where in self._places:
            return  # the loader has said what is wrong with this one
        self.add(where, f"steps.{step.name}.{key}", error.message, error.hint or "")

    def leave_open(self, step: Step) -> None:
        """Note that the step's outputs could not be worked out: anything its templates fit may be one."""
        self._possible.extend(forms(step))

    def switch_off(self, step: Step) -> None:
        """Note that the step has no jobs, because its ``when`` is false."""
        self.switched_off.add(step.name)
        self._off.extend(forms(step))

    def maker_off(self, path: str) -> Step | None:
        """Return a step that would make ``path``, or something in it, if it were not switched off."""
        found = (form.step for form in self._off if form.fits(path) or form.lies_in(path))
        name = next(found, None)
        return self.steps[name] if name is not None else None

    def may_be_made(self, path: str) -> bool:
        """Return whether a step whose outputs are not known could make ``path``."""
        return any(form.fits(path) for form in self._possible)

    @property
    def incomplete(self) -> bool:
        """Whether there are steps whose outputs are not known."""
        return bool(self._possible)

    @property
    def follows(self) -> bool:
        """Whether the text had mistakes of its own: what is not known for them is not to be reported."""
        return bool(self._known)

    def broken(self, path: str) -> bool:
        """Return whether a mistake was known before in this field, above it or below it."""
        return any(
            known == path or known.startswith(f"{path}.") or path.startswith(f"{known}.")
            for known in self._known
            if known
        )
