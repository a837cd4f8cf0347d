"""What steps with ``fetch: true`` bring from outside, held to what workflow.lock says of it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from repro.environment.model import FetchedLock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.lockfile import LockFile
    from repro.digest import Digest
    from repro.events import FileRecord


class LockedFetches:
    """The port `repro.execution.fetched.Fetched` over the lock file; safe from many threads."""

    def __init__(self, lock: LockFile) -> None:
        self._lock = lock

    def locked(self, path: str) -> Digest | None:
        """Return what the lock says of ``path``; None where it says nothing yet."""
        entry = self._lock.content.fetched.get(path)
        return None if entry is None else entry.digest

    def lock(self, outputs: Sequence[FileRecord]) -> None:
        """Add what a job fetched to the lock; entries that are there stay. LockError when none may be added."""
        self._lock.add_fetched([FetchedLock(output.path, output.digest, output.size) for output in outputs])

    def acceptance(self, path: str) -> str:
        """Return the command that makes the lock take what comes next for ``path``."""
        named = [] if self._lock.project.file.name == "workflow.yaml" else [self._lock.project.shown]
        return shlex.join(["repro", "lock", *named, "--upgrade", path])
