"""Room on disks: asked for before data of strangers fills one that others use, and told of alike where it ends."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from repro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM: Final = "make room on the store's disk, or put the store (REPRO_STORE) on a larger one"


def free_room(folder: Path) -> tuple[int, int]:
    """Return the bytes and inodes that the folder's file system has free; where it does not say, no limit."""
    status = os.statvfs(folder)
    unlimited = 1 << 62
    return (
        status.f_bavail * status.f_frsize if status.f_blocks else unlimited,
        status.f_favail if status.f_files else unlimited,
    )


@contextlib.contextmanager
def store_full(root: Path) -> Iterator[None]:
    """Tell of a full disk under the store at ``root`` as StoreError with the file that had no room, else the root."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = str(error.filename or root)
        raise StoreError("the store's disk is full", where=where, why=error.strerror, hint=NO_ROOM) from error


@contextlib.contextmanager
def output_full(dest: Path) -> Iterator[None]:
    """Name ``dest`` in the OSError of a full disk that does not say which file had no room: write(2)'s does not."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = os.fspath(dest)
        raise
