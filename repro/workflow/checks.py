"""Messages about files that are not there, with the files that were probably meant."""

from __future__ import annotations

import difflib
import glob
import posixpath
from typing import TYPE_CHECKING

from repro.workflow.model import DockerfileEnvironment, TemplateEnvironment
from repro.workflow.pinned import around
from repro.workflow.software import is_list, own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.errors import Location
    from repro.workflow.model import Workflow
    from repro.workflow.project import ProjectFiles

_SHOWN = 3


def missing_problem(project: ProjectFiles, paths: Sequence[str], *, from_steps: bool = True) -> tuple[str, str]:
    """Return the message and the fix for paths that the project has not, and (``from_steps``) no step makes."""
    shown = ", ".join(paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    if any(sign in paths[0] for sign in "*?["):
        message = f"no project file matches {shown}{more}"
    else:
        message = f"{shown}{more} {'is' if len(paths) == 1 else 'are'} not in the project"
        if from_steps:
            message += f", and no step makes {'it' if len(paths) == 1 else 'them'}"
    close = near_files(project, paths[0])
    if close:
        return message, f"did you mean {' or '.join(close)}?"
    return message, "put it there" + (", or take it from a step with {from: step.output}" if from_steps else "")


def near_files(project: ProjectFiles, path: str) -> list[str]:
    """Return up to three project files that ``path`` may have meant: of a like name beside it, else of its name."""
    folder, name = posixpath.split(path.rstrip("/"))
    prefix = f"{glob.escape(folder)}/" if folder else ""
    beside = {posixpath.basename(file): file for file in project.glob(f"{prefix}*")}
    close = [beside[match] for match in difflib.get_close_matches(name, beside, n=_SHOWN, cutoff=0.7)]
    if not close and name and not any(sign in name for sign in "*?["):
        close = project.glob(f"**/{glob.escape(name)}")
    return close[:_SHOWN]


def environment_problems(workflow: Workflow, project: ProjectFiles) -> Iterator[tuple[str, Location, str, str]]:
    """Yield (field, place, message, fix) for the files that used environments name and the project has not."""
    used = {step.environment for step in workflow.steps.values()}
    for name, environment in workflow.environments.items():
        if name not in used:
            continue
        if isinstance(environment, DockerfileEnvironment):
            if not project.exists(environment.dockerfile) or project.is_folder(environment.dockerfile):
                message, hint = _not_there(workflow, project, environment.dockerfile)
                yield f"environments.{name}.dockerfile", environment.where, message, hint
            if environment.context != "." and not project.is_folder(environment.context):
                message = f"{environment.context} is not a folder of the project"
                yield f"environments.{name}.context", environment.where, message, "name the folder that COPY takes from"
        elif isinstance(environment, TemplateEnvironment):
            for key, path in _named_paths(environment):
                field, where = f"environments.{name}.{key}", environment.where
                if (
                    path.endswith("/")
                    and path != "./"
                    and project.exists(path.rstrip("/"))
                    and not project.is_folder(path)
                ):
                    yield field, where, f"{path} is a file", "leave out the slash at its end"
                elif not project.exists(path):
                    yield field, where, *_not_there(workflow, project, path)


def _not_there(workflow: Workflow, project: ProjectFiles, path: str) -> tuple[str, str]:
    """Return the message and the fix for a file of an environment, which is made from the project's own."""
    if around(workflow.inputs, path) is not None:
        return f"{path} comes from elsewhere, and environments are made of files in the project", "put it there"
    return missing_problem(project, (path,), from_steps=False)


def _named_paths(environment: TemplateEnvironment) -> Iterator[tuple[str, str]]:
    """Yield the project's files and folders that an environment names, each with the field that names it."""
    if _is_path(environment.template):
        yield "template", environment.template
    for item in environment.pip:
        if own := own_folder(item):
            yield "pip", posixpath.join(own, "pyproject.toml")
        elif is_list(item):
            yield "pip", item
    if environment.conda is not None:
        yield from (("conda", path) for path in (environment.conda.file,) if path is not None)
        yield from (("conda.channels", path[2:]) for path in environment.conda.channels if path.startswith("./"))
    yield from (("files", path) for path in environment.files.values())


def _is_path(template: str) -> bool:
    return "/" in template or template.endswith(".j2")
