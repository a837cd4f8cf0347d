"""What a plan asks of a workflow's ``inputs:`` and ``publish:``, once all outputs have their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.workflow.project import FolderProject, PinnedInput, PinnedProject
from repro.workflow.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from repro.workflow.deferral import Deferral
    from repro.workflow.model import DataSource, PublishTarget, Step, Workflow
    from repro.workflow.project import ProjectFiles
    from repro.workflow.report import Report
    from repro.workflow.tree import OutputTree, Owner

    MadeBy = Callable[[Owner], str]  # how a message calls the job that makes an output


def with_inputs(project: ProjectFiles, sources: Mapping[str, DataSource]) -> ProjectFiles:
    """Return the project with declared inputs in it, nothing known of them, where it was given without them."""
    if not sources or not isinstance(project, FolderProject):
        return project
    return PinnedProject(project, {path: PinnedInput(path, None, None) for path in sources})


def around(paths: Collection[str], path: str) -> str | None:
    """Return the one of ``paths`` that ``path`` is or lies in; a slash at its end counts for nothing."""
    bare = path.rstrip("/")
    for candidate in (path, bare, f"{bare}/"):
        if candidate in paths:
            return candidate
    return next((f"{folder}/" for folder in ancestors(path) if f"{folder}/" in paths), None)


def contained(sources: Iterable[str]) -> dict[str, str]:
    """Return, for each folder that inputs lie in without being one itself, the first of them."""
    found: dict[str, str] = {}
    for path in sources:
        for folder in ancestors(path):
            found.setdefault(f"{folder}/", path)
    return found


def report_clashes(sources: Mapping[str, DataSource], tree: OutputTree, made_by: MadeBy, report: Report) -> None:
    """Report inputs that a step makes as well, that lie in an output, or that an output would lie in."""
    for path, source in sources.items():
        bare = path.rstrip("/")
        same, above = tree.owners.get(bare), tree.around(path)
        if same is not None:
            message = f"{path} is an output as well: {made_by(same)}"
        elif above is not None:
            message = f"{path} would lie in {above.path}, an output: {made_by(above)}"
        elif bare in tree.below:
            inside = tree.below[bare][0]
            message = f"{inside.path}, an output, would lie in it: {made_by(inside)}"
        else:
            continue
        report.add(source.where, f"inputs.{path}", message, "choose another path for one of the two")


def report_sent(step: Step, inputs: Mapping[str, Sequence[str]], private: Collection[str], report: Report) -> None:
    """Report inputs of a step with the network that must not leave this site; ``inputs`` are paths by field."""
    for key, paths in inputs.items():
        kept = next((found for path in paths if (found := around(private, path)) is not None), None)
        if kept is not None:
            message = f"{kept} is private, and a step with the network could send it away"
            report.once(step, key, message, "remove `network: true`, or do without this input")


def report_unpublished(workflow: Workflow, tree: OutputTree, deferral: Deferral, report: Report) -> None:
    """Report what is to be published and is no output, is in none and has none in it.

    Outputs that may still come, and those of steps that are switched off, are none that can be missed.
    """
    for path, target in workflow.publish.items():
        wrong = _unpublished(target, workflow.inputs, tree)
        open_ended = report.incomplete or deferral.makers(path, known=False) or report.maker_off(path) is not None
        if wrong is not None and not (open_ended and around(workflow.inputs, path) is None):
            report.add(target.where, f"publish.{path}", *wrong)


def _unpublished(target: PublishTarget, sources: Mapping[str, DataSource], tree: OutputTree) -> tuple[str, str] | None:
    """Return why ``target`` cannot be published and the fix, or None."""
    path = target.path
    bare = path.rstrip("/")
    if (source := around(sources, path)) is not None:
        what = "private, and never published" if sources[source].private else "an input, and not made here"
        return f"{source} is {what}", "name an output"
    owner = tree.owners.get(bare) or tree.around(path)
    if owner is not None and owner.path.rstrip("/") == bare and owner.folder != path.endswith("/"):
        kind = "a folder" if owner.folder else "a file"
        return f"the output {owner.path} is {kind}", f"name it as it is declared: {owner.path}"
    if owner is not None and not owner.folder and owner.path != path:
        return f"{path} cannot be: {owner.path} is a file", "name the output"
    if owner is not None and (owner.log or owner.temporary):
        what = "a log, and logs are not published" if owner.log else "temporary, and gone once it was used"
        return f"{owner.path} is {what}", "declare it under `outputs:`" if owner.log else "keep it, or publish another"
    if owner is None and bare not in tree.below:
        return (
            f"{path} is no output, and no step makes anything in it",
            "name an output, or a folder that outputs are in",
        )
    if owner is None and not path.endswith("/"):
        return f"{path} is a folder that outputs are put into", f"end it in '/', and the address as well: {path}/"
    return None
