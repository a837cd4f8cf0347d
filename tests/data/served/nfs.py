"""A folder of an NFS 4 server: nfs-ganesha, spoken to without a mount."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

from tests.nfs import NfsServer

if TYPE_CHECKING:
    from pathlib import Path

_READ_ONLY = """
EXPORT {{
  Export_Id = 2; Path = "{folder}/export"; Pseudo = "/ro"; Access_Type = RO; Squash = No_Root_Squash;
  SecType = sys; Protocols = 4; Transports = TCP; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }}
}}
"""


def missing() -> str:
    """Return what a server needs and is not here; empty where all is."""
    absent = [] if shutil.which("ganesha.nfsd") else ["ganesha.nfsd"]
    absent += [] if importlib.util.find_spec("nfs4fs") else ["nfs4fs"]
    return ", ".join(absent + ([] if os.geteuid() == 0 else ["root"]))


class NfsData(NfsServer):
    """A `tests.data.served.DataServer`; ``read_only`` is the address of the same folder in an export to read from.

    Every user may write to the folder.
    """

    kind = "nfs"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with (folder / "ganesha.conf").open("a") as settings:
            settings.write(_READ_ONLY.format(folder=folder))
        home = folder / "home"
        home.mkdir()
        home.chmod(0o755)
        self.folder = self.export / "data"
        self.folder.mkdir()
        self.folder.chmod(0o1777)
        self.root = f"nfs://{self.host}/export/data/"
        self.read_only = f"nfs://{self.host}/ro/data/"
        self.settings = {"HOME": str(home)}

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def put(self, name: str, data: bytes) -> None:
        """Have a file hold ``data``."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a file; None where there is none."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink()

    def names(self) -> list[str]:
        """Return the names of all files that do not begin with a dot, nor are in a folder that does, sorted."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(name) for name in found if not any(part.startswith(".") for part in name.parts))
