"""Who works in a store: many at once, or one that removes things, alone.

Whatever a process reads or makes in a store stays there until it ends, for it holds the store's lease, shared; what
removes layers and blobs takes the lease alone. A process that is killed holds nothing.

On a local disk the lease is an flock(2) on ``leases/lock``: the kernel frees it with its last holder, and /proc/locks
says who holds it.

On a network file system flock(2) may mean this machine only, or fail. There each process has a file in ``leases``,
named by itself and saying who it is::

    shared-HEX.json, alone-HEX.json    {"boot", "command", "host", "pid", "pids", "started"}

and whoever comes makes its own file first and looks at the others' then, so of two who come at once at least one sees
the other and gives way. A process of the same boot and PID namespace is alive if its PID has the start time that its
file says. Of any other machine's, the file's time tells: its process sets it anew every minute, by the server's
clock, and one that is `STALE` seconds old was left by a dead process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest, canonical_json
from repro.errors import BusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.digest import Json

STALE: Final = 900.0  # seconds without a sign of life; a process that was stopped for so long counts as dead elsewhere
_BEAT: Final = 60.0
_POLL: Final = 0.2
_LOCK: Final = "lock"
_MOUNTS: Final = "/proc/self/mountinfo"
_SHOWN_WORDS: Final = 4  # of a command; what follows its first option may be secret
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "9p", "virtiofs", "fuse"}
_NETWORK |= {"lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "wekafs", "gfs2", "ocfs2", "glusterfs"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that works in a store; ``since`` is when it started, in seconds since 1970, 0 if not known."""

    pid: int
    host: str
    command: str
    since: float

    def __str__(self) -> str:
        at = f", since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}" if self.since else ""
        return f"`{self.command}` (pid {self.pid} on {self.host}{at})"


def file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path``, as mount(8) names it; empty where that is not known."""
    place = os.path.realpath(path)
    found, longest = "", -1
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:  # proc_pid_mountinfo(5): field 5 is the mount point, octal escapes for blanks
                head, _, tail = line.partition(" - ")
                point = head.split(" ")[4]
                if "\\" in point:
                    point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n")
                    point = point.replace("\\134", "\\")
                inside = point in {"/", place} or place.startswith(f"{point}/")
                if inside and len(point) >= longest:  # of two on one place, the later covers the earlier
                    found, longest = tail.split(" ", 1)[0], len(point)
    except OSError:
        return ""
    return found


def on_network(path: Path) -> bool:
    """Whether other machines may write to what holds ``path``; FUSE counts, for nothing tells what is behind it."""
    kind = file_system(path)
    return kind in _NETWORK or kind.startswith("fuse.")


class Leases:
    """The lease of the store at ``root``, as this process holds it. Safe from many threads.

    Args:
        root: the store's folder.
        local: whether only this machine writes there; None: look.
        stale: seconds after which another machine's process is taken for dead.
    """

    def __init__(self, root: Path, *, local: bool | None = None, stale: float = STALE) -> None:
        self._folder = root / "leases"
        self.local = not on_network(root) if local is None else local
        self._stale = stale
        self._mutex = threading.Lock()
        self._shares = 0
        self._alone = 0
        self._held: _Flock | _Files | None = None

    @property
    def machine(self) -> str:
        """What tells this boot and PID namespace of this machine from all others, short."""
        return Digest.of(f"{boot_id()} {_pid_namespace()}".encode()).hex[:8]

    def share(self, waiting: Callable[[str], None] | None = None) -> None:
        """Hold the lease with others until `unshare`; waits while somebody has it alone.

        ``waiting`` is told who that is. May be nested, also in `alone`.
        """
        with self._mutex:
            if self._held is None:
                self._held = self._take(alone=False, wait=True, waiting=waiting)
            self._shares += 1

    def unshare(self) -> None:
        """Undo a `share`."""
        with self._mutex:
            self._shares -= 1
            self._release()

    def beat(self) -> None:
        """Go on showing that this process lives, where others can only see it so; starts a thread there."""
        with self._mutex:
            if isinstance(self._held, _Files):
                self._held.beat()

    @contextlib.contextmanager
    def alone(self, *, wait: bool = False, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Have the store alone while the block runs; a process that shares the lease gives up its share meanwhile.

        Raises:
            BusyError: others work in the store, and ``wait`` is false; it names them.
        """
        with self._mutex:
            if not self._alone:
                if self._held is not None:
                    self._held.close()
                    self._held = None
                try:
                    self._held = self._take(alone=True, wait=wait, waiting=waiting)
                finally:
                    if self._held is None and self._shares:
                        self._held = self._take(alone=False, wait=True, waiting=None)
            self._alone += 1
        try:
            yield
        finally:
            with self._mutex:
                self._alone -= 1
                if not self._alone and self._shares:
                    assert self._held is not None
                    self._held.close()
                    self._held = self._take(alone=False, wait=True, waiting=None)
                self._release()

    def _release(self) -> None:
        if not self._shares and not self._alone and self._held is not None:
            self._held.close()
            self._held = None

    def _take(self, *, alone: bool, wait: bool, waiting: Callable[[str], None] | None) -> _Flock | _Files:
        """Return the lease, once it can be had; BusyError where that is not now and ``wait`` is false."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            held: _Flock | _Files
            held = _Flock(self._folder / _LOCK) if self.local else _Files(self._folder, stale=self._stale)
            with contextlib.ExitStack() as failed:
                failed.callback(held.close)
                holders = held.take(alone=alone)
                if holders is None:
                    failed.pop_all()
                    return held
            text = ", ".join(sorted(map(str, holders))) or "another process"
            if not wait:
                raise BusyError(
                    "others work in the store, and only one that has it alone may remove things",
                    where=str(self._folder.parent),
                    why=f"working there: {text}",
                    hint="try again when they have ended, or wait for that with --wait",
                )
            if waiting is not None:
                waiting(text)
                waiting = None
            time.sleep(_POLL)


class _Flock:
    """The lease on a local disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be opened", why=error.strerror, hint="set REPRO_STORE to a folder that you can write to"
            ) from error

    def take(self, *, alone: bool) -> list[Holder] | None:
        """Take the lease if it can be had now; else return who has it, as far as that can be seen."""
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._holders()
        return None

    def _holders(self) -> list[Holder]:
        """Return the processes that hold the lock, from /proc/locks (proc_locks(5)): those of this PID namespace."""
        inode = str(os.fstat(self._descriptor).st_ino)
        found = set()
        with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                fields = line.split()
                if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                    found.add(int(fields[4]))
        return [_holder(pid) for pid in found if pid > 0]

    def close(self) -> None:
        """Give the lease back."""
        os.close(self._descriptor)


class _Files:
    """The lease on a network file system: a file that says who holds it."""

    def __init__(self, folder: Path, *, stale: float) -> None:
        self._folder = folder
        self._stale = stale
        self._path: Path | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, *, alone: bool) -> list[Holder] | None:
        """Take the lease if it can be had now; else return who has it."""
        name = f"{'alone' if alone else 'shared'}-{os.urandom(8).hex()}.json"
        temporary = self._folder / f".{name}"
        path = self._folder / name
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(canonical_json(_myself()))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        self._path = path
        rivals = ("alone-", "shared-") if alone else ("alone-",)
        now = os.stat(path).st_mtime  # by the server's clock, as the others' times
        others = [
            holder
            for name in os.listdir(self._folder)  # opened anew: NFS asks the server then (close-to-open)
            if name != path.name and name.startswith(rivals)
            for holder in self._living(name, now)
        ]
        return others or None

    def _living(self, name: str, now: float) -> list[Holder]:
        """Return the holder that a file tells of; none for one that is dead, whose file is removed then."""
        path = self._folder / name
        try:
            with open(path, "rb") as file:  # opened first: NFS asks the server for the time then, whatever it remembers
                fresh = now - os.fstat(file.fileno()).st_mtime < self._stale
                said = json.load(file)
            holder = Holder(int(said["pid"]), str(said["host"]), str(said["command"]), float(said["since"]))
            near = (said["boot"], said["pids"]) == (boot_id(), _pid_namespace())
            alive = start_ticks(holder.pid) == said["started"] if near else fresh
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):  # a file that is whole or not there: nobody wrote this one
            return []
        if alive:
            return [holder]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return []

    def beat(self) -> None:
        """Set the file's time every minute from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with contextlib.suppress(OSError):  # the server may be back at the next
                if self._path is not None:
                    os.utime(self._path)

    def close(self) -> None:
        """Give the lease back."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


def _myself() -> dict[str, Json]:
    """Return what a lease file says of this process."""
    pid = os.getpid()
    holder = _holder(pid)
    return {
        "boot": boot_id(),
        "command": holder.command,
        "host": holder.host,
        "pid": pid,
        "pids": _pid_namespace(),
        "since": holder.since,
        "started": start_ticks(pid),
    }


def _holder(pid: int) -> Holder:
    """Return what /proc says of a process of this machine."""
    ticks = start_ticks(pid)
    since = 0.0
    if ticks is not None:
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        since = time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    return Holder(pid, os.uname().nodename, _command(pid), since)


def _command(pid: int) -> str:
    """Return the first words of a process's command, without the interpreter and from its first option on nothing."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    except OSError:
        words = []
    if words and os.path.basename(words[0]).startswith("python"):
        words = words[1:]
        while words and words[0].startswith("-") and words[0] not in {"-m", "-c"}:
            words = words[1:]
        if words[:1] == ["-m"]:
            words = words[1:]
    if not words or words[0] == "-c":
        return "python"
    shown = [os.path.basename(words[0]).removesuffix(".py").partition(".")[0]]
    for word in words[1:_SHOWN_WORDS]:
        if word.startswith("-"):
            break
        shown.append(word)
    return " ".join(shown)


def start_ticks(pid: int) -> int | None:
    """Return when a process of this machine started, in ticks since boot; None if it is dead (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def boot_id() -> str:
    """Return what tells this boot of this machine from all others."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
