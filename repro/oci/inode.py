"""What an inode of a layer folder says beyond stat(2): wished owner, attributes, overlay marks.

On disk a layer is an overlay upper: a whiteout is a character device 0:0, an opaque folder carries the
attribute ``user.overlay.opaque`` = ``y``. Who owns it depends on the *form* that the layer is kept in:

- ``one``: the caller owns every inode, and what only root could set is kept in attributes of our own:
  ``user.repro.owner`` = ``uid:gid`` (absent: 0:0) and ``user.repro.capability``. Symbolic links and special files
  carry no ``user.`` attributes, so their owner is 0:0.
- any other (``real``, and ``sub-…`` for a user namespace with subordinate IDs): the owner of the inode, as a process
  sees it that has the same IDs. Everything here then works as for root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from repro.errors import DataError, HostError

if TYPE_CHECKING:
    from collections.abc import Iterable

Target: TypeAlias = int | str | bytes | Path  # an open descriptor, or a path that is never followed

REAL: Final = "real"
ONE: Final = "one"  # the one form without owners: compare with this, never with REAL

OWNER: Final = "user.repro.owner"
OVERLAY: Final = ".overlay."  # in the name of every attribute that overlay keeps for itself
OPAQUE: Final = "user.overlay.opaque"
CAPABILITY: Final = "security.capability"
_KEPT_CAPABILITY: Final = "user.repro.capability"
_PRIVATE: Final = ("user.overlay.", "trusted.overlay.", "user.repro.")

# linux/capability.h: revision 3 is revision 2 with the user namespace's root ID after it
_CAPS_REVISION, _CAPS_EFFECTIVE = 0xFF000000, 0x000001
_CAPS_2, _CAPS_3 = 0x02000000, 0x03000000


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an inode hides a name of the layers below (overlay's own form of a whiteout)."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(target: Target) -> bool:
    """Whether a folder hides all that the layers below hold in it."""
    try:
        return os.getxattr(target, OPAQUE, follow_symlinks=isinstance(target, int)) == b"y"
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return False
        raise


def down_to_opaque(layers: Iterable[Path]) -> list[Path]:
    """Return those of ``layers``, topmost first, of which anything shows: down to the first whose root is opaque.

    An opaque root hides all layers below (image-spec layer.md, "Opaque Whiteout"), but overlayfs asks no layer's root
    for the mark: what it is given must end there. No layer below is asked for.
    """
    shown = []
    for layer in layers:
        shown.append(layer)
        mode = os.lstat(layer).st_mode
        descriptor, widened = open_readable(layer, mode)  # the mode may forbid its owner to ask
        try:
            if is_opaque(descriptor):
                break
        finally:
            if widened:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            os.close(descriptor)
    return shown


def mark_opaque(target: Target) -> None:
    """Make a folder hide all that the layers below hold in it; HostError where that cannot be said."""
    _set(target, OPAQUE, b"y")


def set_owner(target: Target, uid: int, gid: int, form: str) -> None:
    """Give an inode of a layer folder its wished owner: by an attribute in form ``one``, else by chown.

    A path is not followed. A real chown clears set-id bits and file capabilities: set the mode afterwards. In
    form ``one`` links and special files keep 0:0.
    """
    if form != ONE:
        os.chown(target, uid, gid, follow_symlinks=isinstance(target, int))
        return
    if uid == 0 and gid == 0:
        with contextlib.suppress(OSError):  # ENODATA mostly; a link or device had none to begin with
            os.removexattr(target, OWNER, follow_symlinks=isinstance(target, int))
        return
    _set(target, OWNER, b"%d:%d" % (uid, gid))


def get_owner(target: Target, status: os.stat_result, form: str) -> tuple[int, int]:
    """Return the wished owner (uid, gid) of an inode whose lstat is ``status``; a path is not followed."""
    if form != ONE:
        return status.st_uid, status.st_gid
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return 0, 0
    try:
        value = os.getxattr(target, OWNER, follow_symlinks=isinstance(target, int))
    except PermissionError:
        if status.st_mode & 0o400:
            raise
        os.chmod(target, stat.S_IMODE(status.st_mode) | 0o400)  # a file or a folder: no link is followed
        try:
            return get_owner(target, os.stat(target), form)
        finally:
            os.chmod(target, stat.S_IMODE(status.st_mode))
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return 0, 0
        raise
    return parse_owner(value, target)


def parse_owner(value: bytes, target: Target) -> tuple[int, int]:
    """Return the uid and gid that the attribute `OWNER` holds; DataError when it holds something else."""
    uid, colon, gid = value.partition(b":")
    if not (colon and uid.isdigit() and gid.isdigit()):
        raise DataError(f"{target!r}: the attribute {OWNER} is not uid:gid", why=f"it is {value!r}")
    return int(uid), int(gid)


def tar_attributes(descriptor: int, form: str) -> tuple[tuple[int, int] | None, list[tuple[str, bytes]], bool]:
    """Return what the extended attributes of an open file or folder mean.

    Returns:
        the wished owner in form ``one`` (None: not said), the attributes that belong into a tar, sorted by
        name, and whether it is an opaque folder. Into a tar go ``user.*`` and file capabilities; labels and
        access lists are the host's own, overlay's and our marks mean nothing elsewhere.
    """
    try:
        return _tar_attributes(descriptor, form)
    except PermissionError:  # the mode is asked again for each attribute, whatever the descriptor was opened for
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o400:
            raise
        os.fchmod(descriptor, mode | 0o400)
        try:
            return _tar_attributes(descriptor, form)
        finally:
            os.fchmod(descriptor, mode)


def _tar_attributes(descriptor: int, form: str) -> tuple[tuple[int, int] | None, list[tuple[str, bytes]], bool]:
    owner: tuple[int, int] | None = None
    kept: list[tuple[str, bytes]] = []
    opaque = False
    for name in os.listxattr(descriptor):
        if name == OWNER and form == ONE:
            owner = parse_owner(os.getxattr(descriptor, name), descriptor)
        elif name == OPAQUE:
            opaque = os.getxattr(descriptor, name) == b"y"
        elif name == CAPABILITY:
            kept.append((CAPABILITY, _without_namespace(os.getxattr(descriptor, name))))
        elif name == _KEPT_CAPABILITY and form == ONE:
            kept.append((CAPABILITY, os.getxattr(descriptor, name)))
        elif name.startswith("user.") and not name.startswith(_PRIVATE):
            kept.append((name, os.getxattr(descriptor, name)))
    kept.sort(key=lambda item: os.fsencode(item[0]))
    return owner, kept, opaque


def set_tar_attribute(descriptor: int, name: str, value: bytes, form: str) -> None:
    """Set an attribute from a tar if it is one of those that `tar_attributes` gives; else leave it out."""
    if name == CAPABILITY:
        _set(descriptor, _KEPT_CAPABILITY if form == ONE else CAPABILITY, value)
    elif name.startswith("user.") and not name.startswith(_PRIVATE):
        _set(descriptor, name, value)


def open_readable(name: bytes | str | Path, mode: int, *, dir_fd: int | None = None) -> tuple[int, bool]:
    """Open a regular file or a folder (see ``mode``) for reading, also where its mode forbids its owner to.

    Returns:
        the descriptor, and whether a folder's mode had to be widened: the caller sets it back with fchmod when it
        is done with the folder's entries. A file's mode is set back at once.
    """
    folder = stat.S_ISDIR(mode)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_DIRECTORY if folder else os.O_NONBLOCK)
    needed = 0o500 if folder else 0o400
    if mode & needed == needed or os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            return os.open(name, flags, dir_fd=dir_fd), False
    # Not a link: the caller's lstat said so, and O_NOFOLLOW says it again.
    os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=dir_fd)
    try:
        descriptor = os.open(name, flags, dir_fd=dir_fd)
    finally:
        if not folder:
            os.chmod(name, stat.S_IMODE(mode), dir_fd=dir_fd)
    return descriptor, folder


def _set(target: Target, name: str, value: bytes) -> None:
    """Set an attribute, lending the owner write permission where it lacks. Links and devices: nothing."""
    follow = isinstance(target, int)
    try:
        os.setxattr(target, name, value, follow_symlinks=follow)
    except PermissionError:
        status = os.stat(target, follow_symlinks=follow)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return
        if status.st_mode & 0o200:
            raise
        os.chmod(target, stat.S_IMODE(status.st_mode) | 0o200)
        try:
            os.setxattr(target, name, value, follow_symlinks=follow)
        finally:
            os.chmod(target, stat.S_IMODE(status.st_mode))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise HostError(
            f"the file system of the store cannot keep the attribute {name}",
            why=error.strerror,
            hint="put the store (REPRO_STORE) on a file system that has user attributes: ext4, xfs, btrfs",
        ) from error


def is_capability(value: bytes) -> bool:
    """Whether the kernel takes ``value`` as a file's capabilities: revision 2 or 3, in its own length."""
    revision = int.from_bytes(value[:4], "little") & _CAPS_REVISION
    return (len(value), revision) in {(20, _CAPS_2), (24, _CAPS_3)}


def _without_namespace(value: bytes) -> bytes:
    """Return a file capability without the namespace it was set in: every form gives the same bytes."""
    if len(value) != 24:
        return value
    (magic,) = struct.unpack_from("<I", value)
    if magic & _CAPS_REVISION != _CAPS_3:
        return value
    return struct.pack("<I", _CAPS_2 | (magic & _CAPS_EFFECTIVE)) + value[4:20]
