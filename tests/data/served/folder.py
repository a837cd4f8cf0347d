"""A folder of this machine, with the handles that servers have."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def missing() -> str:
    """Return what it needs and is not here: nothing."""
    return ""


class ServedFolder:
    """The files of a folder by the back door: half of a `tests.data.served.DataServer`.

    They were written yesterday, each in a second of its own: nobody has to doubt times and ETags made of them.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self._time = int(time.time()) - 24 * 3600
        data.mkdir(parents=True)

    def put(self, name: str, data: bytes) -> None:
        """Have a file hold ``data``."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._time += 1
        os.utime(path, (self._time, self._time))

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a file; None where there is none."""
        path = self.data / name
        return path.read_bytes() if path.is_file() else None

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.data / name).unlink()

    def names(self) -> list[str]:
        """Return the names of all files that do not begin with a dot, nor are in a folder that does, sorted."""
        found = (path.relative_to(self.data) for path in self.data.rglob("*") if path.is_file())
        return sorted(str(name) for name in found if not any(part.startswith(".") for part in name.parts))


class FolderServer(ServedFolder):
    """A `tests.data.served.DataServer` without a process; every user may write to the folder."""

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data")
        self.data.chmod(0o1777)
        home = folder / "home"
        home.mkdir()
        self.root = f"file://{self.data}/"
        self.settings = {"HOME": str(home)}

    def start(self) -> None:
        """Nothing has to be started."""

    kill = stop = start
