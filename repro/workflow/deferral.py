"""Steps whose jobs cannot be known yet, because they range over what an earlier step will make, or read such a step."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.forms import Form, forms
from repro.workflow.graph import cycles, depths
from repro.workflow.model import Deferred

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.workflow.model import Step
    from repro.workflow.report import Report


@dataclass(slots=True)
class Deferral:
    """The steps without drafts: each waits for the one whose items it ranges over.

    Attributes:
        producers: the step that each of them waits for.
        reads: for each step, those that it takes something from; only noted where any step waits.
    """

    producers: dict[str, str] = field(default_factory=dict)
    reads: dict[str, set[str]] = field(default_factory=dict)
    _forms: list[Form] = field(default_factory=list)

    def add(self, step: Step, producer: str) -> None:
        """Note a step that waits for ``producer``."""
        self.producers[step.name] = producer
        self._forms.extend(forms(step))

    def note(self, reader: str, read: Iterable[str]) -> None:
        """Note that ``reader`` takes something from the steps ``read``."""
        self.reads.setdefault(reader, set()).update(read)

    def makers(self, path: str, *, known: bool = True) -> set[str]:
        """Return the steps that would make ``path``, or something in it.

        ``known``: the path can be had otherwise; then a template that begins with a value, and so may become any
        path, does not count.
        """
        return {
            form.step for form in self._forms if form.lies_in(path) or ((form.prefix or not known) and form.fits(path))
        }

    def makes(self, path: str) -> bool:
        """Return whether ``path``, a file of the project, is left from an earlier run of one of these steps."""
        return any(form.prefix and form.fits(path) for form in self._forms)

    def settled(self, steps: Mapping[str, Step], report: Report) -> tuple[Deferred, ...]:
        """Return all steps without jobs, those that read one which has none among them, in the file's order.

        A reader waits for what those that it reads wait for. Steps that would wait for each other are reported.
        """
        waits: dict[str, set[str]] = {name: {producer} for name, producer in self.producers.items()}
        changed = bool(waits)
        while changed:  # at most once for each step in a chain
            changed = False
            for name, read in self.reads.items():
                late = {wait for step in read if step in waits for wait in waits[step]}
                if name not in self.producers and not late <= waits.get(name, set()):
                    waits.setdefault(name, set()).update(late)
                    changed = True
        self._report_cycles(tuple(waits), steps, report)
        return tuple(Deferred(name, tuple(sorted(waits[name]))) for name in steps if name in waits)

    def _report_cycles(self, names: tuple[str, ...], steps: Mapping[str, Step], report: Report) -> None:
        place = {name: number for number, name in enumerate(names)}
        needs = [
            sorted(place[other] for other in {self.producers.get(name, name), *self.reads.get(name, ())} - {name}
                   if other in place)
            for name in names
        ]  # fmt: skip
        for cycle in cycles(needs, depths(needs)):
            chain = [names[number] for number in cycle]
            ranging = next(name for name in chain if name in self.producers)
            first = chain.index(ranging)
            chain = [*chain[first:], *chain[:first], ranging]
            message = f"these steps wait for each other: {' -> '.join(chain)} (each needs the next)"
            report.once(steps[ranging], "foreach", message, "range over what an earlier step makes")
