"""A real NFS 4 server on the loopback, and folders of its export: as many as there are machines."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import Killable, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS = 20  # until a server must answer, or a folder be mounted
_TIED = ("setpriv", "--pdeathsig", "KILL")  # what is started dies with the tests, however they end
_SETTINGS = """
NFS_CORE_PARAM {{
  Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; mount_path_pseudo = true;
  Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
}}
NFSv4 {{
  RecoveryBackend = fs; RecoveryRoot = "{folder}/recovery"; Graceless = true; Minor_Versions = 0,1,2;
  Only_Numeric_Owners = true;
}}
EXPORT {{
  Export_Id = 1; Path = "{folder}/export"; Pseudo = "/export"; Access_Type = RW; Squash = No_Root_Squash;
  SecType = sys; Protocols = 4; Transports = TCP; Attr_Expiration_Time = 0; FSAL {{ Name = VFS; }}
}}
"""


def missing() -> str:
    """Return what a server and a mount need and is not here; empty where all is."""
    programs = ("ganesha.nfsd", "fusermount3")
    modules = ("nfs4fs", "fuse")
    absent = [name for name in programs if shutil.which(name) is None]
    absent += [name for name in modules if importlib.util.find_spec(name) is None]
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        absent.append("/dev/fuse for root")
    return ", ".join(absent)


class NfsServer(Killable):
    """nfs-ganesha as a process, which may be killed and started again; ``host`` stays, and what it has.

    ``export`` is the exported folder as this machine sees it itself.
    """

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        self.export = folder / "export"
        self._folder = folder
        self._port = port
        for name in ("export", "recovery"):
            (folder / name).mkdir(parents=True)
        (folder / "ganesha.conf").write_text(_SETTINGS.format(port=port, folder=folder))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-F", "-L", self._folder / "log", "-f", self._folder / "ganesha.conf", "-p", self._folder / "pid"]
        with (self._folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [*_TIED, "ganesha.nfsd", *options, "-N", "EVENT"], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        until = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the NFS server does not answer:\n{(self._folder / 'out').read_text()}")
            time.sleep(0.05)


@contextlib.contextmanager
def nfs_server(folder: Path) -> Iterator[NfsServer]:
    """Run a server until the block ends; it exports ``folder/export``."""
    server = NfsServer(folder)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop()


@contextlib.contextmanager
def nfs_mount(server: NfsServer, mountpoint: Path) -> Iterator[subprocess.Popen]:
    """Mount the export on ``mountpoint``, which is made if need be, until the block ends; give the mount's process."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    log = mountpoint.with_name(f"{mountpoint.name}.log")
    with log.open("ab") as out:
        bridge = subprocess.Popen(
            [*_TIED, sys.executable, Path(__file__).with_name("nfs_bridge.py"), server.host, "/export", mountpoint],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        until = time.monotonic() + _SECONDS
        while not os.path.ismount(mountpoint):
            if bridge.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the export cannot be mounted:\n{log.read_text()}")
            time.sleep(0.05)
        yield bridge
    finally:
        subprocess.run(["fusermount3", "-u", "-z", "-q", mountpoint], capture_output=True, check=False)
        try:
            bridge.wait(5)
        except subprocess.TimeoutExpired:
            bridge.send_signal(signal.SIGKILL)
            bridge.wait()


class Machine:
    """What another machine would be to a store: a host name and PIDs of its own, and a mount of the export.

    The boot ID is this machine's; that the PID namespace is another makes it one that nobody here can look into.
    """

    def __init__(self, name: str, store: Path, folder: Path, env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.store = store
        self.folder = folder
        self._env = {**os.environ, **env, "REPRO_STORE": str(store), "REPRO_LAYERS": str(folder / "layers")}
        unshare = [*_TIED, "unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._init = subprocess.Popen([*unshare, "sh", "-c", f"hostname {name} && exec sleep infinity"])
        until = time.monotonic() + _SECONDS
        while self._child(self._init.pid, "sleep") is None:
            assert time.monotonic() < until
            time.sleep(0.01)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `repro` there, in ``folder``."""
        return subprocess.Popen(
            [
                *("nsenter", "-t", str(self._child(self._init.pid, "sleep")), "--uts", "--pid", "--mount"),
                *(f"--wd={self.folder}", sys.executable, "-m", "repro.cli.main", *arguments),
            ],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run `repro` there to its end; return what it said on stdout."""
        done = self.finish(self.start(*arguments))
        assert done.returncode == 0, f"{self.name}: {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def finish(self, running: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """Wait for a command; return how it ended and what it said."""
        out, error = running.communicate(timeout=240)
        return subprocess.CompletedProcess(running.args, running.returncode, out, error)

    def kill(self, running: subprocess.Popen[str]) -> bool:
        """Kill a command as by kill -9; return whether it was still there."""
        child = self._child(running.pid, "")
        alive = child is not None and running.poll() is None
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        running.communicate(timeout=60)
        return alive

    def close(self) -> None:
        """Switch it off: with its first process goes every other."""
        self._init.kill()
        self._init.wait()

    @staticmethod
    def _child(pid: int, command: str) -> int | None:
        """Return the first child of a process; None unless it runs ``command``."""
        try:
            child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            runs = Path(f"/proc/{child}/comm").read_text().strip()
        except (OSError, IndexError):
            return None
        return child if runs == command or not command else None
