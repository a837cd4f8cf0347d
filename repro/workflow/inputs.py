"""Declared inputs to project paths and the jobs that make them."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.workflow.bindings import joined, variables
from repro.workflow.drafts import off_message
from repro.workflow.expand import render_path
from repro.workflow.expressions import mentions
from repro.workflow.fields import near
from repro.workflow.model import JobInput
from repro.workflow.paths import has_glob, mistake, normal
from repro.workflow.pinned import contained
from repro.workflow.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from repro.workflow.deferral import Deferral
    from repro.workflow.drafts import Draft
    from repro.workflow.model import FromInput, PathInput, Step
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tree import OutputTree

Resolved = tuple[str, tuple[int, ...]]  # a path (folders end in "/") and the jobs that make it


@dataclass(frozen=True, slots=True)
class Taken:
    """A bound input and the jobs (indices) that make it."""

    input: JobInput
    needs: tuple[int, ...]


class InputResolver:
    """Finds inputs among outputs first, then among the project's files. Answers are remembered."""

    def __init__(
        self,
        project: ProjectFiles,
        tree: OutputTree,
        drafts: Sequence[Draft],
        report: Report,
        deferral: Deferral,
        sources: Collection[str] = (),
    ) -> None:
        self._project = project
        self._tree = tree
        self._drafts = drafts
        self._report = report
        self._deferral = deferral
        self._contained = contained(sources)
        self._resolved: dict[str, Resolved | None] = {}
        self._lists: dict[tuple[str, str], tuple[str, ...]] = {}
        self._globs: dict[str, list[str]] = {}
        self._by_step: dict[str, list[int]] = {}
        for job, draft in enumerate(drafts):
            self._by_step.setdefault(draft.step.name, []).append(job)
        self._gathered: dict[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], Taken] = {}
        self._joins: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], list[int]]] = {}

    def resolve(self, path: str) -> Resolved | None:
        """Return the path as jobs see it and who makes it; None where nobody does and the project has no such file."""
        if path not in self._resolved:
            self._resolved[path] = self._find(path)
        return self._resolved[path]

    def _find(self, path: str) -> Resolved | None:
        bare = path.rstrip("/")
        as_folder = path.endswith("/")
        owner = self._tree.owners.get(bare)
        if owner is not None and owner.log:
            return None
        if owner is not None:
            return (owner.path, (owner.job,)) if owner.folder or not as_folder else None
        around = self._tree.around(path)
        if around is not None:
            return (path, (around.job,)) if around.folder else None
        inside = self._tree.below.get(bare)
        if inside is not None and any(one.log for one in inside):
            return None
        if inside is not None:
            # a folder that outputs are put into: all of them have to be there
            return f"{bare}/", tuple(sorted({owner.job for owner in inside}))
        if self._project.is_folder(path):
            return f"{bare}/", ()
        return (bare, ()) if not as_folder and self._project.exists(bare) else None

    def paths(self, job: int, name: str, declared: PathInput) -> tuple[Taken | None, list[str]]:
        """Return a path input of a job, and the paths that are missing; an optional one may be absent."""
        draft = self._drafts[job]
        found: dict[str, None] = {}
        needs: dict[int, None] = {}
        companions: dict[str, None] = {}
        missing: list[str] = []
        many = declared.many
        for number, template in enumerate(declared.paths):
            key = f"inputs.{name}.{number}"
            key = key if key in draft.step.marks else f"inputs.{name}"
            lists = self._lists_in(draft, template)
            many = many or bool(lists)
            for scope in _unrolled(draft.scope, lists) if lists else (draft.scope,):
                rendered = self._render(draft, key, template, scope, optional=declared.optional)
                if rendered is None:
                    return None, []
                for path in rendered:
                    resolved = self.resolve(path)
                    if self.is_late(draft.step, path, known=resolved is not None):
                        continue
                    if resolved is not None:
                        self._refuse_mixed(draft, key, resolved[0])
                        found[resolved[0]] = None
                        needs.update(dict.fromkeys(resolved[1]))
                        missing += self._companions(draft, key, resolved[0], declared.companions, companions, needs)
                    elif not declared.optional or self._tree.holds_log(path):
                        missing.append(path)
        if missing:
            return None, missing
        return Taken(JobInput(tuple(found), many, tuple(companions)), tuple(needs)), []

    def _lists_in(self, draft: Draft, template: str) -> tuple[str, ...]:
        """Return the foreach values in an input's path that are lists: it stands for a path for each of their items."""
        known = self._lists.get((draft.step.name, template))
        if known is None:
            names = {name[0] for part in parse_template(template).placeholders for name in mentions(part)}
            lists = (name for name, value in draft.values.items() if name in names and not isinstance(value, str))
            known = self._lists[draft.step.name, template] = tuple(lists)
        return known

    def is_late(self, step: Step, path: str, *, known: bool) -> bool:
        """Return whether a step that has no jobs yet would make ``path``, and note that ``step`` reads it."""
        late = self._deferral.makers(path, known=known) if self._deferral.producers else None
        if late:
            self._deferral.note(step.name, late)
        return bool(late)

    def _companions(
        self,
        draft: Draft,
        key: str,
        path: str,
        endings: Sequence[str],
        companions: dict[str, None],
        needs: dict[int, None],
    ) -> list[str]:
        """Enter the companions of an input's path and the jobs that make them; return those that are missing."""
        missing = []
        for ending in endings:
            if path.endswith("/"):
                message = f"{path} is a folder, which has no companions (with: [{ending}])"
                self._report.once(draft.step, key, message, "remove `with`: all that is in a folder comes along")
                break
            resolved = self.resolve(path + ending)
            if self.is_late(draft.step, path + ending, known=resolved is not None):
                continue
            if resolved is None:
                missing.append(path + ending)
            else:
                companions[resolved[0]] = None
                needs.update(dict.fromkeys(resolved[1]))
        return missing

    def _refuse_mixed(self, draft: Draft, key: str, path: str) -> None:
        """Report a folder that has inputs from elsewhere in it: nobody could say what all of it is."""
        inside = self._contained.get(path)
        if inside is not None:
            message = f"{inside}, which comes from elsewhere, is in {path}, and {path} is in the project"
            self._report.once(draft.step, key, message, f"name the files, or declare all of {path} under `inputs:`")

    def _render(
        self, draft: Draft, key: str, template: str, scope: Mapping[str, object], *, optional: bool
    ) -> list[str] | None:
        """Return the paths that a template means for a job (several for a glob); None after a reported mistake."""
        parsed = parse_template(template)
        if not parsed.placeholders:
            return self._expanded(draft, key, template, is_glob=has_glob(parsed))
        is_glob = has_glob(parsed)
        try:
            path = render_path(template, _escaped(scope) if is_glob else scope)
        except TemplateError as error:
            self._report.once(draft.step, key, error.message, error.hint or "")
            return None
        if not path and optional:
            return []
        path = normal(path)
        if wrong := mistake(path):
            self._report.once(draft.step, key, f"{path!r} (of {draft.id}): {wrong[0]}", wrong[1])
            return None
        return self._expanded(draft, key, path, is_glob=is_glob)

    def _expanded(self, draft: Draft, key: str, path: str, *, is_glob: bool) -> list[str] | None:
        """Return the project's files that a glob matches (outputs of earlier runs are none), or the path itself."""
        if not is_glob:
            return [path]
        if path not in self._globs:
            if unknown := self._project.unknown(path):
                if not self._report.follows:
                    message = f"{path} ranges over {unknown[0]}, which is not locked yet"
                    self._report.once(draft.step, key, message, "run `repro lock`")
                return None
            self._globs[path] = [
                file
                for file in self._project.glob(path)
                if not self._tree.makes(file) and not self._deferral.makes(file)
            ]
        for file in self._globs[path]:
            if wrong := mistake(file):
                self._report.once(draft.step, key, f"{path} matches {file!r}: {wrong[0]}", wrong[1])
                return None
        return self._globs[path] or [path]

    def gather(self, job: int, name: str, declared: FromInput) -> Taken | None:
        """Return the outputs of the jobs that agree with this one on every variable both have, in their order."""
        draft = self._drafts[job]
        key = f"inputs.{name}"
        producers = self._producers(draft, key, declared)
        if not producers:
            absent = declared.optional and declared.step in self._report.switched_off
            return Taken(JobInput((), self._gathers(draft.step, declared)), ()) if absent else None
        variables = tuple(self._drafts[producers[0]].bindings)
        made_over = self._drafts[producers[0]].step.foreach
        shared = joined(made_over, variables, draft.step.foreach, draft.bindings)
        wanted = tuple(draft.bindings[variable] for variable in shared)
        known = self._gathered.get((declared.step, declared.output, shared, wanted, declared.companions))
        if known is not None:
            return known
        matching = self._join(declared.step, producers, shared).get(wanted, [])
        if not matching:
            values = ", ".join(f"{variable}={value}" for variable, value in zip(shared, wanted, strict=True))
            message = f"{draft.id} needs a job of {declared.step!r} with {values}, and there is none"
            self._report.once(draft.step, key, message, "let both steps range over the same values")
            return None
        paths = tuple(self._drafts[producer].outputs[declared.output] for producer in matching)
        companions = self._companions_of(draft, key, paths, matching, declared) if declared.companions else ()
        if companions is None:
            return None
        taken = Taken(JobInput(paths, len(shared) < len(variables), companions), tuple(matching))
        self._gathered[declared.step, declared.output, shared, wanted, declared.companions] = taken
        return taken

    def _companions_of(
        self, draft: Draft, key: str, paths: Sequence[str], makers: Sequence[int], declared: FromInput
    ) -> tuple[str, ...] | None:
        """Return the companions of a step's outputs, which the same jobs must make; None after a reported mistake."""
        found = []
        for path, job in zip(paths, makers, strict=True):
            for ending in declared.companions:
                owner = self._tree.owners.get(path + ending)
                if owner is None or owner.job != job or owner.log or owner.folder:
                    message = f"step {declared.step!r} does not make {path}{ending}"
                    hint = f"declare it as an output there: index: {path}{ending}"
                    if owner is not None and owner.job != job:
                        message += f": {self._drafts[owner.job].id} does"
                        hint = "take it as an input of its own"
                    self._report.once(draft.step, key, message, hint)
                    return None
                found.append(owner.path)
        return tuple(found)

    def _gathers(self, step: Step, declared: FromInput) -> bool:
        """Return whether the input would be a list, were the step that makes it not switched off."""
        producer = self._report.steps[declared.step]
        names, own = variables(producer.foreach), variables(step.foreach)
        if names is None:  # a table's columns
            return producer.foreach != step.foreach
        return len(joined(producer.foreach, names, step.foreach, own or ())) < len(names)

    def _producers(self, draft: Draft, key: str, declared: FromInput) -> list[int]:
        """Return the jobs of the step that an input names; a name that is not there is reported."""
        step = self._report.steps.get(declared.step)
        if step is None:
            if not self._report.broken(f"steps.{declared.step}"):
                hint = near(declared.step, self._report.steps)
                self._report.once(draft.step, key, f"there is no step {declared.step!r}", hint)
            return []
        if declared.output not in step.outputs:
            if not self._report.broken(f"steps.{declared.step}.outputs.{declared.output}"):
                hint = near(declared.output, step.outputs)
                self._report.once(draft.step, key, f"step {declared.step!r} has no output {declared.output!r}", hint)
            return []
        if declared.optional and step.when is None:
            message = f"'optional' is said of what may not be made, and step {declared.step!r} always runs"
            self._report.once(draft.step, key, message, "remove it, or give that step a `when`")
        if step.name in self._report.switched_off and not declared.optional:
            hint = f"add `optional: true` to the input, or give this step the same `when: {step.when}`"
            self._report.once(draft.step, key, off_message(step), hint)
        if step.name in self._deferral.producers:
            self._deferral.note(draft.step.name, (step.name,))
        return self._by_step.get(declared.step, [])

    def _join(
        self, step: str, producers: Sequence[int], shared: tuple[str, ...]
    ) -> Mapping[tuple[str, ...], list[int]]:
        index = self._joins.get((step, shared))
        if index is None:
            index = self._joins[step, shared] = {}
            for producer in producers:
                bindings = self._drafts[producer].bindings
                index.setdefault(tuple(bindings[variable] for variable in shared), []).append(producer)
        return index


def _unrolled(scope: Mapping[str, object], lists: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """Yield the scope with the first items of these lists, which are of one length, then with their second ones, ..."""
    columns = [scope[name] for name in lists]
    for items in zip(*(column for column in columns if isinstance(column, tuple)), strict=True):
        yield {**scope, **dict(zip(lists, items, strict=True))}


def _escaped(scope: Mapping[str, object]) -> dict[str, object]:
    """Return the scope with glob signs in its texts made literal: only the template's own are meant as a pattern."""
    return {
        name: glob.escape(value) if isinstance(value, str) else _escaped(value) if isinstance(value, dict) else value
        for name, value in scope.items()
    }
