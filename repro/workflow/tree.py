"""The one tree of paths that project files and outputs share: who makes what, and what lies inside what."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Owner:
    """The job (an index) that makes ``path``, and the field that says so; folders end in ``/``.

    ``key`` is ``outputs.bam`` or ``logs.main``: logs have their places among outputs, and nothing may read them.
    """

    job: int
    key: str
    path: str
    temporary: bool = False

    @property
    def output(self) -> str:
        """The output's or log's name."""
        return self.key.partition(".")[2]

    @property
    def log(self) -> bool:
        """Whether it is a log."""
        return self.key.startswith("logs.")

    @property
    def folder(self) -> bool:
        """Whether the whole folder is the output."""
        return self.path.endswith("/")


def ancestors(path: str) -> Iterator[str]:
    """Yield the folders that ``path`` lies in, outermost first, without slashes at the end."""
    position = path.find("/")
    while 0 <= position < len(path) - 1:
        yield path[:position]
        position = path.find("/", position + 1)


@dataclass(slots=True)
class OutputTree:
    """All outputs of a plan by path."""

    owners: dict[str, Owner] = field(default_factory=dict)
    below: dict[str, list[Owner]] = field(default_factory=dict)  # folder -> the outputs anywhere inside it

    def add(self, owner: Owner) -> Owner | None:
        """Enter an output; returns the other one that has this very path already, and leaves that one."""
        bare = owner.path.rstrip("/")
        other = self.owners.setdefault(bare, owner)
        if other is not owner:
            return other
        for folder in ancestors(owner.path):
            self.below.setdefault(folder, []).append(owner)
        return None

    def around(self, path: str) -> Owner | None:
        """Return the output that is a folder (or claims to be a file) above ``path``, if any."""
        for folder in ancestors(path):
            if (owner := self.owners.get(folder)) is not None:
                return owner
        return None

    def holds_log(self, path: str) -> Owner | None:
        """Return the log that ``path`` is, or the first that lies in it, if any."""
        owner = self.owners.get(path.rstrip("/"))
        if owner is not None:
            return owner if owner.log else None
        return next((one for one in self.below.get(path.rstrip("/"), ()) if one.log), None)

    def makes(self, path: str) -> bool:
        """Return whether ``path`` is an output or lies inside one."""
        return path.rstrip("/") in self.owners or self.around(path) is not None
