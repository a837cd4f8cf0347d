"""Bytes of single files: digest, and copy by the cheapest way that the file systems offer."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from repro.digest import CHUNK, Digest
from repro.oci.inode import open_readable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY)
_RANGE = 1 << 30  # bytes asked of one copy_file_range(2)
_SMALL = 1 << 16  # bytes up to which read and write beat copy_file_range
_BLOCK = 512  # bytes that st_blocks counts in


@contextlib.contextmanager
def opened(path: str, *, ours: bool) -> Iterator[int]:
    """Open a regular file for reading.

    ``ours`` says that it lies in a layer: one whose mode forbids its owner to read it (mode 000) is read all the
    same. A user's own file is never touched.
    """
    mode, widened = 0, False
    if ours:
        mode = os.lstat(path).st_mode
        descriptor, widened = open_readable(path, mode)
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(mode))
        os.close(descriptor)


def digest_layer_file(path: str) -> Digest:
    """Return the digest of a file in a layer, whatever its mode."""
    with opened(path, ours=True) as descriptor:
        return Digest.of_open_file(descriptor)


def copy_bytes(source: int, target: int, status: os.stat_result) -> None:
    """Copy all of ``source`` to ``target`` (descriptors), an empty file; holes stay holes.

    ``status`` is the source's. Blocks are shared where the file system can.
    """
    size = status.st_size
    if status.st_blocks * _BLOCK >= size:
        _copy_range(source, target, 0, size)
        return
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole follows
        end = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, end)
        start = end
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    """Copy the bytes from ``start`` to ``end``, or as many as there are."""
    if end - start > _SMALL:
        try:
            while start < end:
                count = os.copy_file_range(source, target, min(_RANGE, end - start), start, start)
                if count == 0:
                    break  # the end, or a file system that answers 0 for what it cannot do: pread below tells
                start += count
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
    while start < end:
        chunk = os.pread(source, min(CHUNK, end - start), start)
        if not chunk:
            break
        start += os.pwrite(target, chunk, start)  # what was not written is read again
