"""Single files, links and special files of a layer folder, made with all their attributes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from repro.build.files import copy_bytes
from repro.build.source import Kind
from repro.dataclass import dataclass
from repro.errors import BuildError
from repro.oci.inode import ONE, open_readable, set_owner, set_tar_attribute

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
    target = os.open(host, _NEW, attributes.mode & 0o777 | 0o600)
    try:
        write(target)
        if attributes.kept or not _is_right(os.fstat(target), attributes, form):
            dress(target, attributes, form)
        else:
            os.utime(target, ns=(attributes.mtime, attributes.mtime))
    finally:
        os.close(target)


class FileCopy(NamedTuple):
    """A copy to be made of a regular file, in what another process can be told.

    Attributes:
        shown: the source's name for people.
        source, target: host paths.
        mode: what lstat(2) said of the source's.
        state: its `state_of` then.
        ours: whether it lies in a layer: its mode does not keep us from reading it.
        uid, gid, new_mode, mtime, kept: see `Attributes`.
    """

    shown: str
    source: str
    target: str
    mode: int
    state: tuple[int, int, int, int]
    ours: bool
    uid: int
    gid: int
    new_mode: int
    mtime: int
    kept: tuple[tuple[str, bytes], ...]


def file_copy(node: Node, target: str, attributes: Attributes, *, ours: bool) -> FileCopy:
    """Return what is to be done for a copy of ``node`` at ``target``, where nothing is."""
    return FileCopy(
        node.path,
        node.host,
        target,
        node.status.st_mode,
        state_of(node.status),
        ours,
        attributes.uid,
        attributes.gid,
        attributes.mode,
        attributes.mtime,
        tuple(attributes.kept),
    )


def copy_file(copy: FileCopy, form: str) -> None:
    """Make the copy; BuildError if the source changed since it was looked at, or changes meanwhile."""
    if copy.ours:
        source, widened = open_readable(copy.source, copy.mode)
    else:
        source, widened = os.open(copy.source, _READ), False
    try:
        before = os.fstat(source)

        def write(target: int) -> None:
            copy_bytes(source, target, before)
            if state_of(before) != copy.state or state_of(os.fstat(source)) != copy.state:
                raise BuildError(
                    f"{copy.shown} changed while it was copied", hint="build again when nothing writes to it"
                )

        attributes = Attributes(copy.uid, copy.gid, copy.new_mode, copy.mtime, copy.kept)
        write_file(copy.target, attributes, form, write)
    finally:
        if widened:
            os.fchmod(source, stat.S_IMODE(copy.mode))
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


def _is_right(status: os.stat_result, attributes: Attributes, form: str) -> bool:
    """Whether a new file already has its owner and mode: looking costs less than setting them."""
    owner = (0, 0) if form == ONE else (status.st_uid, status.st_gid)
    return owner == (attributes.uid, attributes.gid) and stat.S_IMODE(status.st_mode) == stat.S_IMODE(attributes.mode)


def state_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what shows whether a file changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
