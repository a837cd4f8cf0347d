"""Private places for work in progress: gone when their block ends, or swept once their process is dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from repro.files import locked, remove_tree
from repro.oci.leases import start_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

_GATE = ".lock"
_ABANDONED = 86400.0  # seconds


class Workspaces:
    """Folders and files below ``root``, each held by an flock(2) of the process that works in it.

    The kernel frees the lock however the process ends, so what is unlocked is left over. The gate closes the
    moment between making a name and locking it: makers share it, the sweeper has it alone.

    On a network file system there may be no locks, or locks that other machines do not see (``machine`` is not empty
    then, `repro.oci.leases.Leases.machine`). Names tell there which process of which machine works in them, and what
    another machine left is swept after a day.
    """

    def __init__(self, root: Path, machine: str = "") -> None:
        self._root = root
        self._machine = machine

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder (mode 0700), removed with all that is left in it when the block ends."""
        with self._gate(shared=True):
            path = Path(tempfile.mkdtemp(prefix=self._prefix("work"), dir=self._root))
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._hold(descriptor)
        try:
            yield path
        finally:
            try:
                remove_tree(path)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def file(self) -> Iterator[tuple[int, Path]]:
        """Give an empty file, open for writing (the block leaves it open); unlinked unless it was renamed."""
        with self._gate(shared=True):
            descriptor, name = tempfile.mkstemp(prefix=self._prefix("blob"), dir=self._root)
            self._hold(descriptor)
        try:
            yield descriptor, Path(name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            os.close(descriptor)

    def sweep(self) -> None:
        """Remove what dead processes left. What is in use stays, also this process's own.

        So does what a process with other IDs left (`repro.runtime.entering`), for the next one that has them.
        """
        with self._gate():
            left = [path for path in self._root.iterdir() if path.name != _GATE and self._left(path)]
        for path in left:
            with contextlib.suppress(PermissionError):
                remove_tree(path)

    def _gate(self, *, shared: bool = False) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._machine else locked(self._root / _GATE, shared=shared)

    def _prefix(self, kind: str) -> str:
        if not self._machine:
            return f"{kind}-"
        return f"{kind}-{self._machine}-{os.getpid()}-{start_ticks(os.getpid())}-"

    def _hold(self, descriptor: int) -> None:
        if not self._machine:
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _left(self, path: Path) -> bool:
        """Whether nobody works in ``path`` any more."""
        if not self._machine:
            return _unlocked(path)
        owner = re.fullmatch(rf"[a-z]+-{self._machine}-(\d+)-(\d+)-.*", path.name)
        if owner is not None:
            return start_ticks(int(owner[1])) != int(owner[2])
        with contextlib.suppress(FileNotFoundError):
            return time.time() - os.lstat(path).st_mtime > _ABANDONED
        return False


def _unlocked(path: Path) -> bool:
    """Whether nobody holds ``path``. Two sweepers may both say so of one: removing it twice does no harm."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
