"""A Slurm of one node on the loopback, for tests: munged, slurmctld and slurmd, started by hand and ended by pid.

No systemd and no cgroups: works in nested containers, books processors and memory, and enforces neither. Snakemake's
plugin drops all variables of Slurm's before it calls sbatch, so the configuration must be at Slurm's own place, too: a
link lies there while the lab runs, and a real file is left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
DEFAULT = Path("/etc/slurm/slurm.conf")
PARTITION = "lab"
_SECONDS = 30  # until a daemon must be up, or gone

_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldAddr=127.0.0.1
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={lab}/run/munge.socket
CredType=cred/munge
StateSaveLocation={lab}/state
SlurmdSpoolDir={lab}/spool
SlurmctldPidFile={lab}/run/slurmctld.pid
SlurmdPidFile={lab}/run/slurmd.pid
SlurmctldLogFile={lab}/log/slurmctld.log
SlurmdLogFile={lab}/log/slurmd.log
PlugStackConfig={lab}/etc/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
# squeue must still know a job that has ended when the plugin asks
MinJobAge=3600
MaxJobCount=20000
MaxArraySize=10001
SlurmctldTimeout=60
SlurmdTimeout=60
InactiveLimit=0
KillWait=5
Waittime=0
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,defer_batch=0,bf_interval=1
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing() -> str:
    """Return the first program that a lab lacks here; empty where it can be started."""
    if os.getuid() != 0:
        return "root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return next((name for name in PROGRAMS if shutil.which(name, path=path) is None), "")


@dataclass(frozen=True)
class Lab:
    """A Slurm that runs, below ``folder``, with one node."""

    folder: Path
    node: str

    @property
    def env(self) -> dict[str, str]:
        """The variable that says where the configuration is."""
        return {"SLURM_CONF": str(self.folder / "etc/slurm.conf")}

    def ask(self, *argv: str, check: bool = True) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(argv, env={**os.environ, **self.env}, capture_output=True, text=True, check=check)
        return done.stdout

    def queue(self) -> list[str]:
        """Return the jobs that wait or run, as ``NUMBER STATE NAME``."""
        return self.ask("squeue", "-h", "-o", "%i %T %j").splitlines()

    def wait_running(self, count: int = 1, seconds: float = 60) -> list[str]:
        """Return the queue once so many jobs run."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = [line for line in self.queue() if " RUNNING " in line]
            if len(found) >= count:
                return found
            time.sleep(0.2)
        raise AssertionError(f"no {count} jobs run; the queue is {self.queue()}")

    def down(self) -> None:
        """Set the node down: what runs on it is lost."""
        self.ask("scontrol", "update", f"nodename={self.node}", "state=down", "reason=test")

    def resume(self) -> None:
        """Take the node into service again."""
        _until(self._up, "the node")

    def _up(self) -> bool:
        state = self.ask("sinfo", "-h", "-o", "%T").strip()
        if state.startswith(("idle", "mixed", "alloc")) and not state.endswith("*"):
            return True
        self.ask("scontrol", "update", f"nodename={self.node}", "state=resume", check=False)
        return False


@contextlib.contextmanager
def running(folder: Path, *, cpus: int = 2, memory: int = 4096) -> Iterator[Lab]:
    """Give a Slurm whose state lies below ``folder``; nothing of it runs once the block ends."""
    for name in ("etc", "state", "spool", "log", "run"):
        (folder / name).mkdir(parents=True)
    lab = Lab(folder, socket.gethostname().partition(".")[0])
    conf = _CONF.format(
        host=lab.node,
        lab=folder,
        ctld_port=free_port(),
        d_port=free_port(),
        cpus=cpus,
        memory=memory,
        partition=PARTITION,
    )
    (folder / "etc/slurm.conf").write_text(conf)
    (folder / "etc/plugstack.conf").touch()
    (folder / "etc/cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "etc/munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    with _linked(folder / "etc/slurm.conf"), contextlib.ExitStack() as ends:
        for name in ("munged", "slurmctld", "slurmd"):
            ends.callback(_end, name, folder / f"run/{name}.pid")
        _start(lab, *_munged(folder))
        _start(lab, "slurmctld", "-f", str(folder / "etc/slurm.conf"))
        _until(lambda: "UP" in lab.ask("scontrol", "ping", check=False), "slurmctld")
        _start(lab, "slurmd", "-f", str(folder / "etc/slurm.conf"), "-N", lab.node)
        lab.resume()
        try:
            yield lab
        finally:
            lab.ask("scancel", "--user", str(os.getuid()), check=False)
            _until(lambda: not lab.queue(), "an empty queue")


def _munged(folder: Path) -> list[str]:
    files = {"key-file": "etc/munge.key", "socket": "run/munge.socket", "pid-file": "run/munged.pid"}
    files |= {"log-file": "log/munged.log", "seed-file": "run/munged.seed"}
    # --force: the folder may lie below one that all may write to
    return ["munged", "--force", "--num-threads=2", *(f"--{name}={folder / path}" for name, path in files.items())]


def _start(lab: Lab, *argv: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    env = {**os.environ, **lab.env, "PATH": path}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stderr}"


def _until(ready, what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"{what} takes too long"
        time.sleep(0.1)


def _end(name: str, pid_file: Path) -> None:
    """End a daemon that was started here, if it still is that one."""
    try:
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != name:
            return
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    with contextlib.suppress(AssertionError):
        _until(lambda: not Path(f"/proc/{pid}").exists(), name)


@contextlib.contextmanager
def _linked(conf: Path) -> Iterator[None]:
    """Have the configuration at Slurm's own place while the block runs, where no real one is."""
    DEFAULT.parent.mkdir(exist_ok=True)
    if DEFAULT.is_symlink() or not DEFAULT.exists():
        DEFAULT.unlink(missing_ok=True)
        DEFAULT.symlink_to(conf)
    try:
        yield
    finally:
        if DEFAULT.is_symlink() and os.readlink(DEFAULT) == str(conf):
            DEFAULT.unlink()
