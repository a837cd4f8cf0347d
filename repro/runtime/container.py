"""The launcher: starts containers for a process that has threads, from a small helper that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from repro.runtime.spec import ContainerResult, ContainerSpec, Mode


class Running(Protocol):
    """A container that was started."""

    def wait(self) -> ContainerResult:
        """Return how it ended, once it has; ContainerError when it could not be set up. May be called again."""

    def kill(self, signal: int) -> None:
        """Send ``signal`` to the command (SIGKILL: to everything in the container); a dead one is left alone."""


class Launcher(Protocol):
    """Starts containers; safe to use from many threads."""

    mode: Mode

    def start(self, spec: ContainerSpec, *, stdin: int, stdout: int, stderr: int) -> Running:
        """Start the container with these three open descriptors (the caller closes its own copies afterwards)."""

    def run(self, spec: ContainerSpec, *, stdin: int, stdout: int, stderr: int) -> ContainerResult:
        """Start it and wait."""

    def close(self) -> None:
        """End the helper and every container still running; idempotent."""
