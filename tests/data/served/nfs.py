"""A folder of an NFS 4 server: nfs-ganesha, spoken to without a mount."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

from tests.data.served.folder import ServedFolder
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


class NfsData(NfsServer, ServedFolder):
    """A `tests.data.served.DataServer`; ``read_only`` is the address of the same folder in an export to read from.

    Every user may write to the folder.
    """

    kind = "nfs"

    def __init__(self, folder: Path) -> None:
        NfsServer.__init__(self, folder)
        with (folder / "ganesha.conf").open("a") as settings:
            settings.write(_READ_ONLY.format(folder=folder))
        home = folder / "home"
        home.mkdir()
        home.chmod(0o755)
        ServedFolder.__init__(self, self.export / "data")
        self.data.chmod(0o1777)
        self.root = f"nfs://{self.host}/export/data/"
        self.read_only = f"nfs://{self.host}/ro/data/"
        self.settings = {"HOME": str(home)}

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)
