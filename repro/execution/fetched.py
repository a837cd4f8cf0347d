"""The port to what the lock says of the outputs of ``fetch: true`` steps: bytes that came from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.digest import Digest
    from repro.events import FileRecord


class Fetched(Protocol):
    """The locked outputs of fetching steps, by project path (a folder's ends in ``/``); used from many threads."""

    def locked(self, path: str) -> Digest | None:
        """Return what the lock says of ``path``; None where it says nothing yet."""

    def lock(self, outputs: Sequence[FileRecord]) -> None:
        """Keep what a job has just fetched, before anything is done with it; entries that exist stay as they are.

        Raises:
            LockError: the lock may not be added to, or cannot be written.
        """

    def acceptance(self, path: str) -> str:
        """Return the command that makes the lock take what comes next for ``path``."""


class Unlocked:
    """A lock that knows nothing and keeps nothing: for plans without such steps."""

    def locked(self, path: str) -> Digest | None:  # noqa: ARG002 - the port's
        """Return None."""
        return None

    def lock(self, outputs: Sequence[FileRecord]) -> None:
        """Do nothing."""

    def acceptance(self, path: str) -> str:  # noqa: ARG002 - the port's
        """Return nothing: nothing is locked."""
        return ""


def differing(outputs: Sequence[FileRecord], fetched: Fetched) -> tuple[tuple[FileRecord, Digest], ...]:
    """Return the outputs that are not what the lock says, each with what it says."""
    found = ((output, fetched.locked(output.path)) for output in outputs)
    return tuple((output, locked) for output, locked in found if locked is not None and locked != output.digest)
