"""Private places for work in progress: gone when their block ends, or swept once their process is dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from repro.files import locked, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

_GATE = ".lock"


class Workspaces:
    """Folders and files below ``root``, each held by an flock(2) of the process that works in it.

    The kernel frees the lock however the process ends, so what is unlocked is left over. The gate closes the
    moment between making a name and locking it: makers share it, the sweeper has it alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder (mode 0700), removed with all that is left in it when the block ends."""
        with locked(self._root / _GATE, shared=True):
            path = Path(tempfile.mkdtemp(prefix="work-", dir=self._root))
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
        with locked(self._root / _GATE, shared=True):
            descriptor, name = tempfile.mkstemp(prefix="blob-", dir=self._root)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
        with locked(self._root / _GATE):
            left = [path for path in self._root.iterdir() if path.name != _GATE and _unlocked(path)]
        for path in left:
            with contextlib.suppress(PermissionError):
                remove_tree(path)


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
