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
    with opened(path, ours=True) as descriptor, open(descriptor, "rb", buffering=0, closefd=False) as stream:
        return Digest.of_stream(stream)


def copy_bytes(source: int, target: int) -> None:
    """Copy all of ``source`` to ``target`` (descriptors): blocks are shared where the file system can."""
    while True:
        try:
            count = os.copy_file_range(source, target, _RANGE)
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            break
        if count == 0:
            break  # the end, or a file system that answers 0 for what it cannot do: read() below tells
    while chunk := os.read(source, CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
