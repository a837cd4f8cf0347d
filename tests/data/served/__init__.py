"""Real servers of data on the loopback, all with the same handles: one module a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class DataServer(Protocol):
    """A server that runs, and a folder of it that starts out empty.

    ``root`` is the folder's address and ends in a slash; ``settings`` are the environment variables with which a
    client may read and write there (a HOME with its files among them, readable for every user).
    """

    kind: str
    root: str
    settings: Mapping[str, str]

    def put(self, name: str, data: bytes) -> None:
        """Have the file ``name`` below the folder hold ``data``: without `repro`, by the back door."""

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a file; None where there is none."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def names(self) -> list[str]:
        """Return the names of all files that anybody sees below the folder, sorted."""

    def start(self) -> None:
        """Start it, and wait until it answers; it keeps its address and what it has."""

    def kill(self) -> None:
        """Have it die as in a power cut."""

    def stop(self) -> None:
        """Let it end."""
