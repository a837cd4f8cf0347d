"""A share of a real SMB server: samba, with a user of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.data.served.folder import ServedFolder
from tests.servers import Killable, free_port

_SECONDS = 20  # until it must answer
# It dies with the tests, however they end. As it changes its user the kernel forgets whom it is tied to; the shell that
# is the first process of its namespace does not, and takes all of them along.
_TIED = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    '"$@"; exit $?',
    "-",
)
_SETTINGS = """
[global]
  server role = standalone server
  workgroup = LAB
  interfaces = 127.0.0.1/8
  bind interfaces only = yes
  smb ports = {port}
  disable netbios = yes
  security = user
  map to guest = never
  passdb backend = tdbsam:{folder}/private/passdb.tdb
  private dir = {folder}/private
  state directory = {folder}/state
  cache directory = {folder}/cache
  lock directory = {folder}/lock
  pid directory = {folder}/run
  ncalrpc dir = {folder}/ncalrpc
  log file = {folder}/log.%m
  load printers = no
  printing = bsd
  disable spoolss = yes
  server min protocol = SMB2_10
  server smb encrypt = {encrypt}
[data]
  path = {share}
  read only = no
  valid users = {user}
[ro]
  path = {share}
  read only = yes
  valid users = {user}
[closed]
  path = {share}
  valid users = root
"""


def missing() -> str:
    """Return what the server needs and is not here; empty where all is."""
    absent = [name for name in ("smbd", "smbpasswd", "useradd") if _program(name) is None]
    absent += [name for name in ("smbclient", "smbprotocol") if importlib.util.find_spec(name) is None]
    return ", ".join(absent + ([] if os.geteuid() == 0 else ["root"]))


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class SmbServer(Killable, ServedFolder):
    """A `tests.data.served.DataServer`; ``read_only`` is the same folder in a share to read from.

    ``encrypt`` is samba's ``server smb encrypt``. The user and the folder that it needs are removed by `close`.
    """

    kind = "smb"

    def __init__(self, folder: Path, *, encrypt: str = "default") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.user = f"repro-smb-{secrets.token_hex(3)}"
        self.password = "reprosecret"
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._share = Path(tempfile.mkdtemp(prefix="repro-smb-"))  # the server's user may enter no folder of pytest
        self._share.chmod(0o755)
        for name in ("private", "state", "cache", "lock", "run", "ncalrpc", "home"):
            (folder / name).mkdir()
        (folder / "private").chmod(0o700)
        self._config = folder / "smb.conf"
        self._config.write_text(
            _SETTINGS.format(port=self.port, folder=folder, share=self._share, user=self.user, encrypt=encrypt)
        )
        ServedFolder.__init__(self, self._share / "data")
        self.root = f"smb://{self.host}/data/data/"
        self.read_only = f"smb://{self.host}/ro/data/"
        self.settings = {"HOME": str(folder / "home")}
        self.login(self.user, self.password)
        self._make_user()

    def login(self, user: str, password: str) -> None:
        """Have the client's file of credentials name a user."""
        path = self._folder / "home" / ".smbcredentials"
        path.write_text(f"username={user}\npassword={password}\n")
        path.chmod(0o600)

    def _make_user(self) -> None:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", self.user],
            check=True,
            capture_output=True,
        )
        word = f"{self.password}\n"
        subprocess.run(
            ["smbpasswd", "-c", self._config, "-s", "-a", self.user],
            input=word * 2,
            text=True,
            check=True,
            capture_output=True,
        )
        shutil.chown(self.data, self.user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for left in (self._folder / "run").iterdir():
            left.unlink()
        with (self._folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *_TIED,
                    "smbd",
                    "--foreground",
                    "--no-process-group",
                    f"--configfile={self._config}",
                    "--debug-stdout",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        until = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the SMB server does not answer:\n{(self._folder / 'out').read_text()}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to it and to the process that it has for each connection."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Have it die as in a power cut, with its connections."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    stop = kill

    def close(self) -> None:
        """Stop it, and remove its user."""
        if self.process is not None:
            self.stop()
        shutil.rmtree(self._share)
        until = time.monotonic() + _SECONDS
        while True:  # the kernel may still be ending its processes, or another program be changing the users
            done = subprocess.run(["userdel", self.user], check=False, capture_output=True, text=True)
            if done.returncode == 0:
                return
            assert time.monotonic() < until, done.stderr
            time.sleep(0.1)

    def put(self, name: str, data: bytes) -> None:
        """Have a file of the server's user hold ``data``."""
        super().put(name, data)
        path = self.data / name
        for one in (path, *path.parents):
            if one.is_relative_to(self.data):
                shutil.chown(one, self.user)
