"""Secrets of jobs: kept in memory, shown as files in /run/secrets to the jobs that name them, gone with these."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import UsageError
from repro.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.workflow.model import Step

SECRETS = "/run/secrets"  # where Docker has them, too
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it, never taken over


def secret_path(name: str) -> str:
    """Return the path at which a job finds the secret."""
    return f"{SECRETS}/{name}"


def chosen(step: Step, given: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the secrets that ``step`` names, from those given; UsageError for one that is not."""
    for name in step.secrets:
        if name not in given:
            raise UsageError(
                f"step {step.name} needs the secret {name!r}, which was not given",
                where=step.marks.get("secrets", step.where),
                hint=f"repro run --secret id={name},src=FILE (or env=VAR)",
            )
    return {name: given[name] for name in step.secrets}


class Vault:
    """Where the secrets of a project's running jobs lie: in memory where the host has a place for that.

    Only who holds the project's lock may use it, so that what is there when he begins is a killed process's.
    """

    def __init__(self, project: Path) -> None:
        mark = hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]
        self.root = _MEMORY / f"repro-jobs-{mark}"

    def sweep(self) -> None:
        """Remove what is there; a folder of somebody else's stays, and is not used."""
        with contextlib.suppress(PermissionError):
            remove_tree(self.root)

    @contextlib.contextmanager
    def hold(self, scratch: Path, secrets: Mapping[str, bytes]) -> Iterator[Path]:
        """Give a folder with a file a secret (mode 0400), removed when the block ends, however it does.

        ``scratch`` is the job's own folder: its name must be no other running job's, and it takes the secrets of a
        host without a place in memory.
        """
        folder = self._folder(scratch)
        try:
            for name, data in secrets.items():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with open(os.open(folder / name, flags, 0o400), "wb") as file:
                    file.write(data)
            yield folder
        finally:
            remove_tree(folder)

    def _folder(self, scratch: Path) -> Path:
        with contextlib.suppress(OSError):
            self.root.mkdir(mode=0o700, exist_ok=True)
            status = self.root.lstat()
            if status.st_uid == os.geteuid() and status.st_mode & 0o170777 == 0o040700:
                folder = self.root / scratch.name
                folder.mkdir(mode=0o700)
                return folder
        folder = scratch / "secrets"
        folder.mkdir(mode=0o700)
        return folder
