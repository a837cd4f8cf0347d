"""A project: the folder of a workflow.yaml, what is declared in it, and its .repro folder of state."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.api.waiting import Turn
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import UsageError
from repro.execution.state import State
from repro.files import Lock
from repro.workflow.loader import load, load_all
from repro.workflow.plan import checked
from repro.workflow.project import FolderProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from repro.api.host import Host
    from repro.workflow.model import Plan, Value, Workflow
    from repro.workflow.project import ProjectFiles

DEFAULT_FILE = "workflow.yaml"
STATE = ".repro"


@dataclass(frozen=True, slots=True)
class Project:
    """A loaded workflow. ``root`` is the absolute folder that all its paths are relative to."""

    root: Path
    file: Path
    shown: str  # the workflow file as the user named it
    digest: Digest
    workflow: Workflow

    @property
    def state(self) -> Path:
        """The folder of records, journals, logs and scratch."""
        return self.root / STATE

    @property
    def lock_file(self) -> Path:
        """``workflow.lock``, beside the workflow file."""
        return self.file.with_suffix(".lock")


def open_project(host: Host, named: str | None) -> Project:
    """Return the project of the workflow file (or its folder) that the user named, else of ``workflow.yaml`` here.

    Raises:
        UsageError: there is no such file.
        WorkflowError: it has mistakes; all of them are in it.
    """
    file, shown, data, text = _read(host, named)
    return Project(file.parent, file, shown, Digest.of(data), load(text, shown))


def open_plan(
    host: Host,
    named: str | None,
    files: Callable[[Project], ProjectFiles] | None = None,
    params: Mapping[str, Value] | None = None,
) -> tuple[Project, Plan]:
    """Return the project with the plan of all its jobs; WorkflowError has the mistakes of both, all at once.

    ``files`` gives what planning sees as the project's files, with the pinned inputs among them; it is asked only
    where the workflow has inputs, and no mistake of its own. ``params`` are values in place of the workflow's.
    """
    file, shown, data, text = _read(host, named)
    workflow, found = load_all(text, shown, params or {})
    project = Project(file.parent, file, shown, Digest.of(data), workflow)
    if files is None or not workflow.inputs or found:
        return project, checked(workflow, found, FolderProject(file.parent))
    return project, checked(workflow, found, files(project))


@contextlib.contextmanager
def holding(host: Host, project: Project, what: str, turn: Turn | None = None) -> Iterator[None]:
    """Hold the project against a run that would write the same lock file; ``turn`` says how it is taken.

    Raises:
        BusyError: somebody has it, who is named, and ``turn`` does not wait.
    """
    state = State(project.root)
    state.prepare()
    lock = Lock(state.lock, owner=f"{what} on {host.name}, process {os.getpid()}")
    (turn or Turn()).take(state.lock, lambda: lock.acquire(wait=False))
    try:
        yield
    finally:
        lock.release()


def _read(host: Host, named: str | None) -> tuple[Path, str, bytes, str]:
    """Return the workflow file's absolute path, its name for messages, its bytes and its text."""
    shown = named or DEFAULT_FILE
    file = host.cwd / shown
    if file.is_dir():
        shown = str(Path(shown) / DEFAULT_FILE)
        file = host.cwd / shown
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        hint = "name the workflow file, or go to its folder" if named is None else "check the path"
        raise UsageError(f"there is no workflow file {shown}", hint=hint) from error
    except OSError as error:
        raise UsageError(f"{shown} cannot be read", why=error.strerror) from error
    try:
        return file.parent.resolve() / file.name, shown, data, data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not UTF-8", why=str(error), hint="save it as UTF-8") from error


def find_state(host: Host, path: str) -> tuple[Path, str]:
    """Return the root of the project that the file ``path`` belongs to, and the file's path in it.

    The nearest folder above the file that has a ``.repro``; UsageError when there is none.
    """
    absolute = (host.cwd / path).absolute()
    absolute = Path(absolute.parent.resolve()) / absolute.name
    for folder in absolute.parents:
        if (folder / STATE).is_dir():
            return folder, str(absolute.relative_to(folder))
    raise UsageError(
        f"no run has been recorded for {path}",
        why=f"no folder above it has a {STATE} folder",
        hint="name a file in a project that `repro run` has run",
    )
