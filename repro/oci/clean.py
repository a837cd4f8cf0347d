"""Turns the upper folder that a container left behind into a layer, in place."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from repro.errors import DataError, StoreError
from repro.oci import inode, tar

if TYPE_CHECKING:
    from pathlib import Path

_SECOND = 1_000_000_000
_WHITEOUT_MARK = "user.overlay.whiteout"
_ACCESS_LISTS = {"system.posix_acl_access", "system.posix_acl_default"}


def clean_upper(folder: Path, *, epoch: int) -> None:
    """Make an overlay upper a layer: same layer, same tar, whenever and wherever it was made. Idempotent.

    - Times later than ``epoch`` (seconds since 1970) become ``epoch``; all are cut to whole seconds. The root
      folder's time, which no tar holds, becomes 0.
    - Overlay's own attributes go, except the mark of an opaque folder. Newer kernels may mark whiteouts by
      attributes (``opaque`` = ``x``): those become character devices 0:0 like the others.
    - Access lists go, which no tar holds: else a container would have them where the image was built, and none where
      it was pulled. The mode's bits for the group stay what the list's mask made them, as they stand in the tar.

    Links are never followed. StoreError if the overlay was mounted with redirect_dir or metacopy: such an
    upper does not hold all that it shows.
    """
    status = os.lstat(folder)
    descriptor, widened = inode.open_readable(folder, status.st_mode)
    try:
        _clean_folder(descriptor, str(folder), epoch)
        os.utime(descriptor, ns=(0, 0))
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.close(descriptor)


def _clean_folder(descriptor: int, path: str, epoch: int) -> None:
    """Clean the open folder's attributes and everything in it, not its own time."""
    if path.count("/") > tar.DEEPEST + 50:  # the writer says it of the layer's own names; this only stops early
        raise DataError(f"{path[:80]}...: more than {tar.DEEPEST} folders deep")
    names = [name for name in os.listxattr(descriptor) if _goes(name)]
    marked_files = False
    for name in names:
        value = os.getxattr(descriptor, name)
        if name == inode.OPAQUE and value == b"y":
            continue
        marked_files = marked_files or (name.endswith(".overlay.opaque") and value == b"x")
        _drop(descriptor, name, path)
    with os.scandir(descriptor) as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for name, status in found:
        if stat.S_ISDIR(status.st_mode):
            _clean_subfolder(descriptor, name, status, f"{path}/{name}", epoch)
        elif not inode.is_whiteout(status):
            if not stat.S_ISLNK(status.st_mode) and _clean_file(descriptor, name, path, marked=marked_files):
                continue
            time = _clamped(status, epoch)
            if time is not None:
                os.utime(name, ns=(time, time), dir_fd=descriptor, follow_symlinks=False)


def _clean_subfolder(parent: int, name: str, status: os.stat_result, path: str, epoch: int) -> None:
    descriptor, widened = inode.open_readable(name, status.st_mode, dir_fd=parent)
    try:
        _clean_folder(descriptor, path, epoch)
        time = _clamped(status, epoch)
        if time is not None:
            os.utime(descriptor, ns=(time, time))
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.close(descriptor)


def _clean_file(parent: int, name: str, above: str, *, marked: bool) -> bool:
    """Drop attributes from what is no folder and no link; return whether it was a whiteout and now is a device."""
    # By way of the folder's descriptor: one system call for the usual file, which has none, and no open.
    reach = f"/proc/self/fd/{parent}/{name}"
    names = [key for key in os.listxattr(reach, follow_symlinks=False) if _goes(key)]
    if not names:
        return False
    if marked and _WHITEOUT_MARK in names:
        os.unlink(name, dir_fd=parent)
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
        return True
    for key in names:
        _drop(reach, key, f"{above}/{name}")
    return False


def _goes(name: str) -> bool:
    """Whether an attribute is no part of a layer: overlay's own, but for marks that are looked at, and access lists."""
    return inode.OVERLAY in name or name in _ACCESS_LISTS


def _drop(target: int | str, name: str, path: str) -> None:
    """Remove an attribute; lend write permission where the mode withholds it."""
    kind = name.rpartition(inode.OVERLAY)[2]
    if kind in {"redirect", "metacopy"}:
        raise StoreError(
            f"{path}: the overlay kept this file's name or content elsewhere ({name})",
            why="it was mounted with redirect_dir or metacopy on",
            hint="switch them off: echo N > /sys/module/overlay/parameters/redirect_dir (and metacopy)",
        )
    try:
        os.removexattr(target, name)
    except PermissionError:
        mode = stat.S_IMODE(os.stat(target).st_mode)
        os.chmod(target, mode | 0o200)
        with contextlib.ExitStack() as stack:
            stack.callback(os.chmod, target, mode)
            os.removexattr(target, name)


def _clamped(status: os.stat_result, epoch: int) -> int | None:
    """Return the time in nanoseconds that the inode should have; None if it has it."""
    wanted = min(status.st_mtime_ns // _SECOND, epoch) * _SECOND
    return None if wanted == status.st_mtime_ns else wanted
