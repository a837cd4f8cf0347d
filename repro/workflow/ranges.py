"""What a step ranges over: lists, rows of a table, files of the project, what an earlier step made."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import ReproError, WorkflowError
from repro.workflow.bindings import groups
from repro.workflow.checks import missing_problem
from repro.workflow.fields import near
from repro.workflow.model import ForeachGlob, ForeachItems, ForeachTable
from repro.workflow.paths import mistake
from repro.workflow.patterns import chunks, file_groups, twice
from repro.workflow.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.workflow.model import Step, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tables import Group, Table

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Ranges:
    """Finds the groups of values that steps range over; a table is read once, whoever ranges over it."""

    workflow: Workflow
    project: ProjectFiles
    report: Report
    tables: dict[str, Table | None]

    def of(self, step: Step) -> Sequence[Group] | None:
        """Return the step's groups of values, one per job; None after a reported mistake.

        Steps that range over ``items`` are not for this: see `of_items`.
        """
        if isinstance(step.foreach, ForeachTable):
            return self._of_table(step, step.foreach)
        if isinstance(step.foreach, ForeachGlob):
            return self._of_glob(step, step.foreach)
        return groups(step.foreach, None)

    def _of_table(self, step: Step, foreach: ForeachTable) -> Sequence[Group] | None:
        path = foreach.table
        if path not in self.tables:
            self.tables[path] = self._table(step, path)
        table = self.tables[path]
        if table is None:
            return None
        unknown = [name for name in foreach.by if name not in table.columns]
        for name in dict.fromkeys(unknown):
            where = step.marks.get("foreach", step.where)
            message = f"{path} has no column {name!r}"
            self.report.add(where, f"steps.{step.name}.foreach.by", message, near(name, table.columns))
        if unknown:
            return None
        if not table.rows:
            message = f"{path} has no rows, so there would be no job"
            self.report.once(step, "foreach", message, "add a row, or remove the step")
            return None
        return groups(foreach, table)

    def _table(self, step: Step, path: str) -> Table | None:
        try:
            data = self.project.read(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self.report.once(step, "foreach.table", *missing_problem(self.project, (path,), from_steps=False))
            else:
                self.report.once(step, "foreach.table", f"{path} cannot be read: {error.strerror}")
            return None
        except ReproError as error:
            if not self.report.follows:
                hint = error.hint or f"fetch it with `repro data get {path}`"
                message = f"{path} must be here before anything runs: {error.message}"
                self.report.once(step, "foreach.table", message, hint)
            return None
        try:
            return read_table(data, os.path.join(os.path.dirname(self.workflow.file), path))
        except WorkflowError as error:
            self.report.found.extend(error.problems)
            return None

    def _of_glob(self, step: Step, foreach: ForeachGlob) -> Sequence[Group] | None:
        if unknown := self.project.unknown(foreach.glob):
            if not self.report.follows:
                message = f"{foreach.glob} ranges over {unknown[0]}, which is not locked yet"
                self.report.once(step, "foreach", message, "run `repro lock`")
            return None
        paths = self.project.glob(foreach.glob)
        if not paths:
            self.report.once(step, "foreach", *missing_problem(self.project, (foreach.glob,), from_steps=False))
            return None
        made, odd = file_groups(paths, foreach.pattern)
        if not self._nameable(step, paths):
            return None
        if odd:
            message = f"the pattern {foreach.pattern!r} does not fit {_some(odd)}, which {foreach.glob} matches"
            hint = "mend the pattern, let the glob match fewer files, or rename these"
            self.report.once(step, "foreach", message, hint)
            return None
        return made if self._distinct(step, made) else None

    def of_items(self, step: Step, foreach: ForeachItems, made: Sequence[str]) -> Sequence[Group] | None:
        """Return the groups of a step over what an earlier one made: ``made`` are its outputs in the project."""
        paths: list[str] = []
        for path in made:
            if not path.endswith("/"):
                paths.append(path)
                continue
            paths += self.project.glob(f"{glob.escape(path)}**/*")
        found, odd = file_groups(sorted(paths), foreach.pattern)
        if not found:
            output = f"{foreach.step}.{foreach.output}"
            message = f"{output} holds no file, so there is nothing to range over"
            hint = f"let step {foreach.step!r} fail where it finds nothing, or make at least one"
            if odd:
                message = f"the pattern {foreach.pattern!r} fits none of {output}: {_some(odd)}"
                hint = "mend the pattern; files that it does not fit are left out"
            self.report.once(step, "foreach", message, hint)
            return None
        if not self._nameable(step, paths) or not self._distinct(step, found):
            return None
        return found if foreach.chunk is None else chunks(found, foreach.chunk)

    def _nameable(self, step: Step, paths: Sequence[str]) -> bool:
        """Report a file whose name no list of paths could hold; False where there is one."""
        for path in paths:
            if wrong := mistake(path):
                self.report.once(step, "foreach", f"there is a file {path!r}: {wrong[0]}", wrong[1])
                return False
        return True

    def _distinct(self, step: Step, found: Sequence[Group]) -> bool:
        """Report two files that the pattern does not tell apart; False where there are."""
        pair = twice(found)
        if pair is not None:
            values = ", ".join(f"{name}={value}" for name, value in pair[0].bindings.items())
            message = f"{pair[0].values['path']} and {pair[1].values['path']} both have {values}"
            hint = "name more of the path in the pattern, as in {{ folder }}/{{ name }}.png"
            self.report.once(step, "foreach", message, hint)
        return pair is None


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
