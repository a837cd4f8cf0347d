"""The port to a workflow's ``inputs:``: data that is pinned by the lock and lies elsewhere than in the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repro.events import InputUsed
    from repro.execution.assess import Checked


class Pinned(Protocol):
    """The pinned inputs of a workflow; used from many threads. A path is a project path, a folder's ends in ``/``."""

    def has(self, path: str) -> bool:
        """Return whether ``path`` is a declared input, or lies in one that is a folder."""

    def check(self, path: str) -> Checked:
        """Return record and stamps of ``path``, which `has` knows; nothing is fetched for it.

        What is fetched has the lock's word, and no stamps; what lies on this machine is hashed (or fingerprinted) as
        it is now.

        Raises:
            DataError: it is not as it was locked, or not there.
        """

    def place(self, path: str) -> Path:
        """Return the host's path of ``path``, verified; fetched first where it is not here yet.

        Raises:
            FetchError: it cannot be had any more, or other bytes came.
            Interrupted: `stop` was called.
        """

    def stop(self) -> None:
        """End what is being fetched soon, and fetch nothing more; safe in a signal handler."""

    def used(self, paths: Iterable[str]) -> tuple[InputUsed, ...]:
        """Return where the declared inputs come from that ``paths`` are of or lie in, each once, sorted by path."""


class Nothing:
    """A workflow without inputs from elsewhere."""

    def has(self, path: str) -> bool:  # noqa: ARG002 - the port's
        """Return False."""
        return False

    def check(self, path: str) -> Checked:
        """Fail: nothing is known here."""
        raise KeyError(path)

    def place(self, path: str) -> Path:
        """Fail: nothing is known here."""
        raise KeyError(path)

    def stop(self) -> None:
        """Do nothing: nothing is fetched."""

    def used(self, paths: Iterable[str]) -> tuple[InputUsed, ...]:  # noqa: ARG002 - the port's
        """Return none."""
        return ()
