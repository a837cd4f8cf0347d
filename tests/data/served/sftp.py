"""A real SSH server on the loopback: OpenSSH's sshd, which gives files only."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.data.served.folder import ServedFolder
from tests.data.served.web import wait_for
from tests.servers import Killable, free_port

_SSHD = "/usr/sbin/sshd"
_TIED = ("setpriv", "--pdeathsig", "KILL")  # it dies with the tests, however they end
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
AllowTcpForwarding {forwarding}
MaxStartups 50
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {folder}/data {options}
"""


def missing() -> str:
    """Return what the server needs and is not here; empty where all is."""
    absent = [name for name in (_SSHD, "ssh-keygen") if shutil.which(name) is None]
    absent += [] if importlib.util.find_spec("paramiko") else ["paramiko"]
    return ", ".join(absent)


class SftpServer(Killable, ServedFolder):
    """sshd as a process, a `tests.data.served.DataServer`.

    ``settings`` name a HOME whose ``.ssh`` has a key that is accepted, the server's host key, and a configuration that
    says which to use; who logs in is the user that runs the tests. ``options`` are those of sftp-server(8).
    """

    kind = "sftp"

    def __init__(self, folder: Path, *, options: str = "", forwarding: str = "no") -> None:
        super().__init__(folder / "data")
        self._folder = folder
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.home = folder / "home"
        self.ssh = self.home / ".ssh"
        self.ssh.mkdir(parents=True)
        self.make_host_key()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.ssh / "id"], check=True)
        shutil.copy(self.ssh / "id.pub", folder / "authorized_keys")
        (self.ssh / "config").write_text(f"Host 127.0.0.1\n  User {getpass.getuser()}\n  IdentityFile ~/.ssh/id\n")
        self.know(self.host_key)
        settings = {"port": self.port, "folder": folder, "options": options, "forwarding": forwarding}
        (folder / "sshd_config").write_text(_CONFIG.format(**settings))
        self.root = f"sftp://{self.host}{self.data}/"
        self.settings = {"HOME": str(self.home)}

    def make_host_key(self) -> None:
        """Give the server another host key; it shows that from its next start on."""
        for name in ("host", "host.pub"):
            (self._folder / name).unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / "host"], check=True)

    @property
    def host_key(self) -> str:
        """The server's public key, its type before it."""
        return " ".join((self._folder / "host.pub").read_text().split()[:2])

    def know(self, key: str, names: str = "") -> Path:
        """Have known_hosts hold this line alone; empty for none."""
        file = self.ssh / "known_hosts"
        file.write_text(f"{names or f'[127.0.0.1]:{self.port}'} {key}\n" if key else "")
        return file

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_TIED, _SSHD, "-D", "-e", "-f", self._folder / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self.port, self.process, self._folder / "log")

    def kill(self) -> None:
        """Have it die as in a power cut, with the sessions that it has."""
        for child in below(self.process.pid):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(child, signal.SIGKILL)
        super().kill()


def below(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (*below(child), child)]
