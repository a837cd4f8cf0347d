"""Files of the project in its images: its own Python packages, and what ``files:`` copies; as contexts and digests."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from repro.api.contexts import folder_context, note_tree
from repro.digest import Digest, Json, record_digest
from repro.errors import UsageError
from repro.workflow.software import own_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.api.project import Project
    from repro.build.context import FolderContext
    from repro.workflow.model import TemplateEnvironment

# What lies about in a package's folder and is no part of it: version control, caches, builds, environments.
_LEFT_OUT: Final = (
    "**/.*", "**/__pycache__", "**/*.pyc", "**/*.egg-info", "build", "dist", "venv", "env", "node_modules",
)  # fmt: skip


def own_packages(env: TemplateEnvironment, project: Project) -> dict[str, FolderContext]:
    """Return the packages of the project's own that ``env`` installs, by their folders below ``project/`` in a context.

    A package is its folder without hidden files, caches and builds, without what its ``.dockerignore`` names, and
    without what the workflow makes there: results do not change the environment that made them.
    """
    folders = sorted({folder for item in env.pip if (folder := own_folder(item)) is not None})
    made = _made(project)
    contexts = {}
    for number, folder in enumerate(folders):
        hidden = [project.state, project.lock_file, project.file, *(project.root / path for path in made)]
        context = folder_context(project.root / folder, "pyproject.toml", hidden, also=_LEFT_OUT)
        contexts[f"{number}-{posixpath.basename(folder) if folder != '.' else 'self'}"] = context
    return contexts


def own_files(env: TemplateEnvironment, project: Project) -> dict[str, FolderContext]:
    """Return what ``files:`` copies, by project path; UsageError for one that is not there."""
    found = {}
    for path in sorted(set(env.files.values())):
        place = path.rstrip("/") or "."
        if not (project.root / place).exists():
            raise UsageError(f"{path} is not in the project", where=env.where, hint="it is named under `files:`")
        found[path] = folder_context(project.root / place, "", [project.state, project.lock_file])
    return found


def digests(contexts: Mapping[str, FolderContext]) -> dict[str, Digest]:
    """Return the digest of all that is in each context, names and modes included."""
    found: dict[str, Digest] = {}
    for path, context in contexts.items():
        content: dict[str, Json] = {}
        note_tree(context, context.node(""), content)
        found[path] = record_digest("own-files/1", [content[place] for place in sorted(content)])
    return found


def _made(project: Project) -> set[str]:
    """Return the project paths that steps make, each up to its first placeholder."""
    made = set()
    for step in project.workflow.steps.values():
        for output in step.outputs.values():
            literal = output.path.partition("{{")[0]
            sure = literal if literal == output.path else posixpath.dirname(literal)
            if sure.strip("/"):
                made.add(sure.rstrip("/"))
    return made
