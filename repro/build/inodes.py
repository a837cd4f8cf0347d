"""Single files, links and special files of a layer folder, made with all their attributes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from repro.build.files import copy_bytes
from repro.build.source import Kind
from repro.dataclass import dataclass
from repro.errors import BuildError
from repro.oci.inode import open_readable, set_owner, set_tar_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.build.source import Node

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a new file or folder is to have; ``mtime`` in nanoseconds, ``kept`` are extended attributes."""

    uid: int
    gid: int
    mode: int
    mtime: int
    kept: Sequence[tuple[str, bytes]] = ()


def dress(target: int, attributes: Attributes, form: str) -> None:
    """Set owner, extended attributes, mode and time of an open file, in the order in which none undoes another."""
    set_owner(target, attributes.uid, attributes.gid, form)
    for name, value in attributes.kept:
        set_tar_attribute(target, name, value, form)
    os.fchmod(target, stat.S_IMODE(attributes.mode))
    os.utime(target, ns=(attributes.mtime, attributes.mtime))


def write_file(host: str, attributes: Attributes, form: str, write: Callable[[int], object]) -> None:
    """Make a file at ``host``, where nothing is; ``write`` is given its descriptor to fill it."""
    target = os.open(host, _NEW, 0o600)
    try:
        write(target)
        dress(target, attributes, form)
    finally:
        os.close(target)


def copy_file(node: Node, host: str, attributes: Attributes, form: str, *, ours: bool) -> None:
    """Make a copy of the regular file ``node`` at ``host``, where nothing is.

    ``ours`` says that it lies in a layer: its mode does not keep us from reading it. BuildError if it changes
    meanwhile.
    """
    if ours:
        source, widened = open_readable(node.host, node.status.st_mode)
    else:
        source, widened = os.open(node.host, _READ), False
    try:
        before = os.fstat(source)

        def copy(target: int) -> None:
            copy_bytes(source, target, before)
            if _state(before) != _state(node.status) or _state(os.fstat(source)) != _state(before):
                raise BuildError(
                    f"{node.path} changed while it was copied", hint="build again when nothing writes to it"
                )

        write_file(host, attributes, form, copy)
    finally:
        if widened:
            os.fchmod(source, node.mode)
        os.close(source)


def make_link(host: str, target: str | bytes, attributes: Attributes, form: str) -> None:
    """Make a symbolic link at ``host``, where nothing is."""
    os.symlink(target, os.fsencode(host) if isinstance(target, bytes) else host)
    set_owner(host, attributes.uid, attributes.gid, form)
    os.utime(host, ns=(attributes.mtime, attributes.mtime), follow_symlinks=False)


def make_special(host: str, kind: Kind, device: tuple[int, int], attributes: Attributes, form: str) -> None:
    """Make a FIFO, or the ``device`` of mode and number, at ``host``, where nothing is; PermissionError may come."""
    if kind is Kind.FIFO:
        os.mkfifo(host, 0o600)
    else:
        os.mknod(host, stat.S_IFMT(device[0]) | 0o600, device[1])
    set_owner(host, attributes.uid, attributes.gid, form)
    os.chmod(host, stat.S_IMODE(attributes.mode))
    os.utime(host, ns=(attributes.mtime, attributes.mtime))


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
