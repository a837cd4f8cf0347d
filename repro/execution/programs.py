"""What a job's container executes: an interpreter of the image, and the command or script that it reads."""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import ReproError
from repro.execution.world import CONTROL, WORK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.oci.view import View
    from repro.workflow.model import Job

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_FILE = f"{CONTROL}/command.sh"

# By the script's extension; the first that the image has is taken.
_INTERPRETERS = {".py": ("python3", "python"), ".R": ("Rscript",), ".sh": ("bash", "sh")}


class NoProgram(ReproError):  # noqa: N818 - a statement about an image
    """The image lacks what the command needs (Docker's exit status 127)."""

    code = "no-program"


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs on an image's PATH."""

    view: View
    path: str
    environment: str
    found: dict[tuple[str, ...], str | None] = field(default_factory=dict, repr=False, compare=False)

    def find(self, names: Sequence[str]) -> str | None:
        """Return the container path of the first of ``names`` that the image has as an executable file."""
        wanted = tuple(names)
        if wanted not in self.found:
            self.found[wanted] = self._find(wanted)
        return self.found[wanted]

    def _find(self, names: Sequence[str]) -> str | None:
        for name in names:
            for folder in self.path.split(":"):
                entry = self.view.entry(self.view.resolve(f"{folder.rstrip('/')}/{name}")) if folder else None
                if entry is not None and entry.kind == "file" and entry.stat.st_mode & 0o111:
                    return f"{folder.rstrip('/')}/{name}"
        return None

    def shell(self) -> tuple[str, ...]:
        """Return how the image's shell runs a command file so that the first failing command ends it."""
        bash = self.find(["bash"])
        if bash is not None:
            return (bash, "-euo", "pipefail")
        shell = self.find(["sh"])
        if shell is None:
            raise NoProgram(
                f"environment {self.environment} has no shell",
                hint="write run: as a list of words, which needs none, or add bash to the environment",
            )
        return (shell, "-eu")

    def script(self, path: str) -> tuple[str, ...]:
        """Return how the project's script ``path`` is run: by its extension, one of those known."""
        wanted = _INTERPRETERS[os.path.splitext(path)[1]]
        found = self.find(wanted)
        if found is None:
            raise NoProgram(
                f"environment {self.environment} has no {wanted[0]}, which {path} needs",
                hint=f"add the package that holds {wanted[0]} to environments.{self.environment}",
            )
        return (found, f"{WORK}/{path}")

    def argv(self, job: Job, command: str | tuple[str, ...]) -> tuple[str, ...]:
        """Return what the container executes; NoProgram where the image lacks it.

        ``command`` is the rendered text of ``run`` (kept in COMMAND_FILE), or the words of a list.
        """
        if job.step.script is not None:
            return self.script(job.step.script)
        if isinstance(command, tuple):
            return command
        return (*self.shell(), COMMAND_FILE)
