"""Inputs from elsewhere, for runs of a ready root file system: fetched from a dictionary, or bound in place."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache, signature
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.events import FileRecord, InputUsed
from repro.workflow.project import FolderProject, PinnedInput, PinnedProject

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repro.execution.assess import Checked


class Elsewhere:
    """A `repro.execution.pinned.Pinned`: ``far`` is fetched into ``cache``, ``near`` lies on this machine.

    ``far`` maps a project path to bytes, a folder's to its files' names and bytes; what is ``lost`` cannot be had.
    ``fetched`` are the paths that were asked for, ``checked`` counts the checks of each.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.far: dict[str, bytes | dict[str, bytes]] = {}
        self.near: dict[str, Path] = {}
        self.fingerprints: dict[str, str] = {}
        self.locked: dict[str, Digest] = {}  # of what is near
        self.lost: set[str] = set()
        self.slow = 0.0  # seconds that a fetch takes
        self.fetched: list[str] = []
        self.checked: dict[str, int] = {}
        self._guard = threading.Lock()

    def lock(self, path: str, place: Path, fingerprint: str = "sha256") -> None:
        """Have ``path`` be what is at ``place`` on this machine now."""
        self.near[path], self.fingerprints[path] = place, fingerprint
        self.locked[path] = self._digest(path)[0]

    def project(self, root: Path) -> PinnedProject:
        """Return the project as planning sees it."""
        names = {path: frozenset(data) for path, data in self.far.items() if isinstance(data, dict)}
        pinned = {path: PinnedInput(path, names.get(path, frozenset()), None) for path in (*self.far, *self.near)}
        return PinnedProject(FolderProject(root), pinned)

    def has(self, path: str) -> bool:
        """Return whether it is declared, or lies in something that is."""
        return self._owner(path) is not None

    def stop(self) -> None:
        """Fetch no more; a fetch here is over in a moment."""

    def check(self, path: str) -> Checked:
        """Return record and stamps; nothing is fetched."""
        with self._guard:
            self.checked[path] = self.checked.get(path, 0) + 1
        return self._checked(path)

    def _checked(self, path: str) -> Checked:
        if path in self.near:
            stamps = signature(self.near[path], folder=path.endswith("/"))
            digest, size = self._digest(path)
            if digest != self.locked[path]:
                raise DataError(f"{path} is not as it was locked", hint=f"repro lock --upgrade {path}")
            kind = self.fingerprints[path]
            asserted = "" if kind == "sha256" else kind
            return FileRecord(path, digest, size, path.endswith("/"), asserted), stamps
        data = self._far(path)
        text = repr(sorted(data.items())).encode() if isinstance(data, dict) else data
        return FileRecord(path, Digest.of(text), len(text), isinstance(data, dict)), ()

    def place(self, path: str) -> Path:
        """Return where it is; fetched first where it is far."""
        if path in self.near:
            return self.near[path]
        with self._guard:
            self.fetched.append(path)
        time.sleep(self.slow)
        if path in self.lost:
            raise FetchError(f"{path} cannot be had: s3://bucket/{path} is gone", hint="ask who keeps it")
        place = self.cache / path.rstrip("/").replace("/", "%")
        data = self._far(path)
        for name, content in data.items() if isinstance(data, dict) else (("", data),):
            target = place / name if name else place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o444)
        return place

    def used(self, paths: Iterable[str]) -> tuple[InputUsed, ...]:
        """Return where they come from."""
        owners = sorted({owner for path in paths if (owner := self._owner(path)) is not None})
        return tuple(
            InputUsed(
                owner,
                f"s3://bucket/{owner}",
                "v1",
                self.locked.get(owner) or self._checked(owner)[0].digest,
                1,
                1,
                self.fingerprints.get(owner, "sha256"),
            )
            for owner in owners
        )

    def _owner(self, path: str) -> str | None:
        known = (*self.far, *self.near)
        return next((owner for owner in known if path == owner or (owner[-1] == "/" and path.startswith(owner))), None)

    def _far(self, path: str) -> bytes | dict[str, bytes]:
        if path in self.far:
            return self.far[path]
        owner = self._owner(path)
        assert owner is not None
        return self.far[owner][path[len(owner) :]]

    def _digest(self, path: str) -> tuple[Digest, int]:
        if self.fingerprints[path] == "stat":
            return Digest.of(repr(signature(self.near[path], folder=path.endswith("/"))).encode()), 0
        cache = StatCache(self.cache / "unused")
        return cache.digest_folder(self.near[path]) if path.endswith("/") else cache.digest_file(self.near[path])
