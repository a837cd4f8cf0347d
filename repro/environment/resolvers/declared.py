"""What the ``pip`` key of an environment declares: requirements, the files that list them, and own packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.environment.resolvers.indexes import Indexes
from repro.environment.resolvers.projects import locked_requirements, needed, read_project
from repro.environment.resolvers.requirement_files import Listed, RequirementsReader, normalized, parse_requirement
from repro.errors import Location, LockError, UsageError
from repro.workflow.software import own_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from repro.digest import Digest
    from repro.environment.resolvers.projects import Project
    from repro.environment.resolvers.python import Interpreter
    from repro.workflow.model import TemplateEnvironment

_LISTS: Final = (".txt", ".in")


@dataclass(frozen=True, slots=True)
class Declared:
    """All that an environment declares for pip.

    Attributes:
        listed: its own requirements and those of requirements files.
        projects: packages of the project, in declared order, each with the extras asked for.
        metadata: ``pyproject.toml`` files of which the dependencies alone are wanted.
        uv_locks, pylocks: project paths of lock files; of the latter with their text.
        files: every project file that decides any of this, with its digest.
    """

    listed: Listed
    projects: tuple[tuple[Project, tuple[str, ...]], ...]
    metadata: tuple[Project, ...]
    uv_locks: tuple[str, ...]
    pylocks: Mapping[str, str]
    files: Mapping[str, Digest]

    @property
    def indexes(self) -> Indexes:
        """The indexes that requirements files name."""
        found = Indexes()
        for indexes in self.listed.indexes:
            found = found.merged(indexes)
        return found

    def requirements(self, interpreter: Interpreter, where: Location) -> tuple[tuple[str, ...], dict[str, set[str]]]:
        """Return the requirements that an index is asked for, and the sums that lock files allow, by project.

        Own packages are not asked for, whoever needs them: they are built. What uv.lock says is not among these.

        Raises:
            LockError: a lock file or a project says something that cannot be locked.
        """
        sums = {name: set(found) for name, found in self.listed.hashes.items()}
        lines = list(self.listed.requirements)
        for project in self.metadata:
            lines += needed(project, (), where)
        for path, text in self.pylocks.items():
            for line, found in locked_requirements(text, Location(path, 1), interpreter):
                lines.append(line)
                sums.setdefault(normalized(line.partition("==")[0]), set()).update(found)
        return tuple(dict.fromkeys(self._from_others(lines, where))), sums

    def _from_others(self, lines: Iterable[str], where: Location) -> Iterator[str]:
        """Yield ``lines`` and what own packages need, without the own packages themselves."""
        own = {project.name: project for project, _ in self.projects}
        done: set[tuple[str, tuple[str, ...]]] = set()
        waiting = [(project, extras) for project, extras in self.projects]
        lines = list(lines)
        while True:
            for line in lines:
                requirement = parse_requirement(line, where)
                project = own.get(normalized(requirement.name))
                if project is None:
                    yield line
                else:
                    waiting.append((project, tuple(sorted(requirement.extras))))
            while waiting and (waiting[0][0].name, waiting[0][1]) in done:
                waiting.pop(0)
            if not waiting:
                return
            project, extras = waiting.pop(0)
            done.add((project.name, extras))
            lines = list(needed(project, extras, where))


def read_declared(env: TemplateEnvironment, root: Path) -> Declared:
    """Return what ``env.pip`` declares; ``root`` is the folder of the workflow, to which its paths are relative.

    Raises:
        UsageError: at ``env.where``: a file is missing or cannot be read.
        LockError: located in the file: it holds something that cannot be locked.
    """
    reader = RequirementsReader(root, env.where, f"environments.{env.name}.pip")
    projects: list[tuple[Project, tuple[str, ...]]] = []
    metadata: list[Project] = []
    uv_locks: list[str] = []
    pylocks: dict[str, str] = {}
    for item in env.pip:
        own = own_folder(item)
        name = os.path.basename(item)
        if item.startswith("-"):  # an option, as in the pip part of an environment.yml
            reader.add(item, env.where)
        elif own is not None:
            projects.append((read_project(own, reader), _extras(item)))
        elif name == "pyproject.toml":
            metadata.append(read_project(os.path.dirname(item), reader))
        elif name.endswith(".toml"):
            pylocks[item] = reader.text(item)
        elif name.endswith(".lock"):
            _note_uv_lock(item, reader)
            uv_locks.append(item)
        elif name.endswith(_LISTS):
            reader.read(item)
        else:
            reader.add(item, env.where)
    _check_names(projects, env)
    return Declared(reader.listed, tuple(projects), tuple(metadata), tuple(uv_locks), pylocks, reader.files)


def _extras(item: str) -> tuple[str, ...]:
    """Return the extras of ``./tools[plots,tables]``."""
    named = item.partition("[")[2].rstrip("]").split(",")
    return tuple(extra.strip() for extra in named if extra.strip())


def _check_names(projects: Iterable[tuple[Project, tuple[str, ...]]], env: TemplateEnvironment) -> None:
    seen: dict[str, str] = {}
    for project, _ in projects:
        if seen.setdefault(project.name, project.folder) != project.folder:
            raise LockError(
                f"environments.{env.name}.pip: two of its folders are called {project.name}",
                where=env.where,
                why=f"{seen[project.name]} and {project.folder}",
                hint="keep one of them, or rename the other in its pyproject.toml",
            )


def _note_uv_lock(path: str, reader: RequirementsReader) -> None:
    """Note a uv.lock and the pyproject.toml that it belongs to; UsageError where one of them is missing."""
    reader.text(path)
    try:
        reader.text(os.path.normpath(os.path.join(os.path.dirname(path), "pyproject.toml")))
    except UsageError as error:
        error.hint = f"{path} is read together with the pyproject.toml beside it"
        raise
