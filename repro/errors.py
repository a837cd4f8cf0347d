"""The errors that a user can meet, each with a code, an exit status and a way out.

::

    ReproError                      1
    ├── UsageError                  2   the command line cannot be acted on
    ├── WorkflowError               2   workflow.yaml (or a file it names) has mistakes: all of them at once
    ├── DockerfileError             2   a Dockerfile has a mistake
    ├── LockError                   3   workflow.lock is missing, stale, or cannot be satisfied
    ├── FetchError                  4   bytes could not be had from outside
    ├── DataError                   4   a file or blob is not what it is said to be
    │   └── CorruptError            4   a stored blob or layer does not match its digest
    ├── StoreError                  5   the store cannot do what is asked
    ├── BusyError                   5   somebody else holds the lock
    ├── BuildError                  6   an instruction of a build failed
    ├── JobsFailed                  1   jobs of a run failed
    ├── HostError                   125 this host lacks what the engine needs
    ├── ContainerError              125 a container could not be started
    └── Interrupted                 130 Ctrl-C
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a text file: ``file`` as the user named it, ``line`` and ``column`` from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def visible(text: str, kept: str = "\n\t") -> str:
    """Return ``text`` with every character that does not print escaped, but those in ``kept``.

    What an image, an archive or a registry says ends up on terminals: an escape sequence in it could move the cursor,
    recolour or retitle, and a character that turns the writing direction could make one name look like another.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in kept else repr(one)[1:-1] for one in text)


class ReproError(Exception):
    """What happened, where, why, and what to do next; the root of the tree above."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        where: Location | str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        """Return the message as printed after ``repro: error: ``, over several lines where needed; all `visible`."""
        lines = [f"{self.where}: {self.message}" if self.where is not None else self.message]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.hint:
            lines.append(f"  fix: {self.hint}")
        return visible("\n".join(lines))


class UsageError(ReproError):
    """The command line cannot be acted on."""

    code = "usage"
    exit_status = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a workflow file.

    ``path`` is the field's path (``steps.align.inputs.reads``), ``excerpt`` the line of source it stands in.
    """

    where: Location
    path: str
    message: str
    excerpt: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Return ``file:line:column: path: message``, the source line with a caret, and the fix."""
        head = f"{self.where}: {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"
        lines = [head]
        if self.excerpt:
            number = str(self.where.line)
            lines.append(f"  {number} | {self.excerpt}")
            lines.append(f"  {' ' * len(number)} | {' ' * (self.where.column - 1)}^")
        if self.hint:
            lines.append(f"  fix: {self.hint}")
        return "\n".join(lines)


class WorkflowError(ReproError):
    """All the mistakes found in a workflow, in the order of the file."""

    code = "workflow"
    exit_status = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(self.problems)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''} in the workflow")

    def __str__(self) -> str:
        return "\n".join([*(str(problem) for problem in self.problems), self.message])


class DockerfileError(ReproError):
    """A Dockerfile has a mistake; ``where`` names it."""

    code = "dockerfile"
    exit_status = 2


class LockError(ReproError):
    """The lock is missing, stale, or cannot be satisfied."""

    code = "lock"
    exit_status = 3


class FetchError(ReproError):
    """Bytes could not be had from outside."""

    code = "fetch"
    exit_status = 4


class DataError(ReproError):
    """A file or blob is not what it is said to be."""

    code = "data"
    exit_status = 4


class CorruptError(DataError):
    """A stored blob or layer does not match its digest."""

    code = "corrupt"


class StoreError(ReproError):
    """The store cannot do what is asked."""

    code = "store"
    exit_status = 5


class BusyError(ReproError):
    """Somebody else holds the lock."""

    code = "busy"
    exit_status = 5


class BuildError(ReproError):
    """An instruction of a build failed."""

    code = "build"
    exit_status = 6


class JobsFailed(ReproError):  # noqa: N818 - a statement about jobs, read by people
    """Jobs of a run failed; each was reported when it did."""

    code = "jobs-failed"


class HostError(ReproError):
    """This host lacks what the engine needs; the hint is for its administrator."""

    code = "host"
    exit_status = 125


class ContainerError(ReproError):
    """A container could not be set up or started (Docker's exit status 125)."""

    code = "container"
    exit_status = 125


class Interrupted(ReproError):  # noqa: N818 - Ctrl-C is no error of anybody
    """The user asked to stop."""

    code = "interrupted"
    exit_status = 130
