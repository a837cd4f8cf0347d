"""Unpacks a layer's tar into a folder of its own, as an overlay lower, trusting nothing that the tar says.

Nothing outside the folder can be reached, whatever the tar holds, because every entry's parent must be a
folder that this unpacking made itself, and no entry ever replaces another. Refused by name are therefore:

- absolute names, ``..``, names with a component that is no file name;
- entries below something that is no folder (a symbolic link above all), and a second entry of a name, folders
  apart;
- hard links to what this layer does not hold as a regular file;
- character devices 0:0, which would be whiteouts, and whiteouts of nothing;
- more entries or bytes than the limits allow (`repro.oci.limits`), or than the disk has room for.

Without real root device nodes cannot be made: they are left out. Attributes other than ``user.*`` and file
capabilities are left out in every form, as are overlay's and our own. `repro.oci.store` notices by measuring
again that such a layer cannot be written back from its folder, and keeps the tar.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from repro.errors import DataError, StoreError
from repro.oci import inode, tar
from repro.oci.ahead import Ahead
from repro.oci.compression import decompressed
from repro.oci.limits import DEFAULT_LIMITS, Limits, raised
from repro.oci.model import LayerInfo
from repro.oci.room import FULL, NO_ROOM, free_room
from repro.oci.untar import TarEntry, TarReader, shown

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

log = logging.getLogger(__name__)

_AUFS: Final = b".wh..wh."  # names that AUFS kept for itself; Docker skips them too
_OPEN_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def apply_tar(stream: BinaryIO, folder: Path, *, form: str, limits: Limits = DEFAULT_LIMITS) -> LayerInfo:
    """Unpack the tar (or gzipped tar) in ``stream`` into ``folder``, which is empty; return what it was.

    ``diff_id`` is the digest of the uncompressed stream. Owners and modes are set as `repro.oci.inode` keeps
    them in ``form``. On error the folder holds a part: the caller removes it.

    Raises:
        DataError: the tar is broken or hostile, or holds more than ``limits`` allow; the entry is named.
        StoreError: the file system refused, or has no room for it: seen before a file is begun, so that no layer of a
            stranger fills a disk that others use.
    """
    with Ahead(decompressed(stream, limits.swelling)) as source:
        reader = TarReader(source, most=limits.size)
        with _Unpacking(folder, reader, form, limits) as unpacking:
            for entry in reader.entries():
                unpacking.add(entry)
            unpacking.finish()
        return LayerInfo(diff_id=source.digest(), size=reader.size, content=unpacking.content)


class _Unpacking:
    """A layer being unpacked. ``kinds`` tells for every name made so far what it is."""

    def __init__(self, folder: Path, reader: TarReader, form: str, limits: Limits) -> None:
        self.content = 0
        self._reader = reader
        self._form = form
        self._limits = limits
        self._count = 0
        self._names = 0
        self._room, self._inodes = free_room(folder)
        self._kinds: dict[bytes, bytes] = {}
        self._folders: dict[bytes, TarEntry | None] = {b"": None}  # None: only implied by an entry in it
        self._opaque: set[bytes] = set()
        self._whiteouts: set[bytes] = set()
        self._root = os.open(folder, _READ_FOLDER)
        self._parent = (b"", self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_parent()
        os.close(self._root)

    def add(self, entry: TarEntry) -> None:
        """Make one entry; DataError when it may not be."""
        path = _checked(entry)
        kept = entry.attributes if entry.kind == tar.FOLDER else ()  # until the folder is dressed
        self._count_in(entry, len(path) + sum(len(value) for _, value in kept) if kept else len(path))
        if not path:
            if entry.kind != tar.FOLDER:
                raise DataError(f"{entry.shown}: the root of a layer must be a folder")
            self._folders[b""] = entry
            return
        above, _, name = path.rpartition(b"/")
        parts = path.split(b"/")
        if any(part.startswith(_AUFS) and part != tar.OPAQUE_MARK for part in parts):
            return
        if any(part.startswith(tar.WHITEOUT) for part in parts[:-1]):
            raise DataError(f"{entry.shown}: an entry below a whiteout")
        try:
            parent = self._open_parent(above, entry)
            if name.startswith(tar.WHITEOUT):
                self._hide(entry, above, name, parent)
            else:
                self._make(entry, path, name, parent)
        except OSError as error:
            raise self._refused(entry, error) from error

    def _count_in(self, entry: TarEntry, size: int) -> None:
        """Count one more inode, made for ``entry``, of which ``size`` bytes are kept in memory."""
        self._count += 1
        self._names += size
        if self._count > self._limits.entries:
            raise DataError(
                f"{entry.shown}: the layer holds more than {self._limits.entries} entries", hint=raised("entries")
            )
        if self._names > self._limits.names:
            raise DataError(
                f"{entry.shown}: the names in the layer have more than {self._limits.names} bytes", hint=raised("names")
            )
        if self._count > self._inodes:
            raise StoreError(f"{entry.shown}: the store's disk has no room for so many files", hint=NO_ROOM)

    def _refused(self, entry: TarEntry, error: OSError) -> StoreError:
        """Return the error that tells what the file system did not do."""
        hint = NO_ROOM if error.errno in FULL else None
        why = error.strerror
        if error.errno == errno.EINVAL and self._form not in {inode.ONE, inode.REAL}:
            why = f"{why}: its owner {entry.uid}:{entry.gid} may be none of the IDs that this user has"
            hint = "ask for a larger range of subordinate IDs (`repro doctor`), or set REPRO_MODE=one"
        return StoreError(f"{entry.shown}: could not be unpacked", why=why, hint=hint)

    def finish(self) -> None:
        """Give the folders their attributes, the deepest first: their content is there, times stand still."""
        self._close_parent()
        for path in sorted(self._folders, reverse=True):
            entry = self._folders[path]
            try:
                descriptor = os.open(path or b".", _READ_FOLDER, dir_fd=self._root)
                try:
                    self._dress_folder(descriptor, entry, path)
                finally:
                    os.close(descriptor)
            except OSError as error:
                if entry is not None:
                    raise self._refused(entry, error) from error
                raise StoreError(f"{shown(path)}: its attributes could not be set", why=error.strerror) from error

    def _dress_folder(self, descriptor: int, entry: TarEntry | None, path: bytes) -> None:
        if path in self._opaque:
            inode.mark_opaque(descriptor)
        if entry is not None:
            self._dress(descriptor, entry)
        else:
            os.fchmod(descriptor, 0o755)
        time = entry.mtime if entry is not None and path else 0  # the root's time is in no tar of ours
        os.utime(descriptor, ns=(time, time))

    def _dress(self, descriptor: int, entry: TarEntry) -> None:
        """Set owner, attributes, mode of an open file or folder: in this order, chown clears set-id bits."""
        inode.set_owner(descriptor, entry.uid, entry.gid, self._form)
        for name, value in entry.attributes:
            self._attribute(descriptor, entry, name, value)
        os.fchmod(descriptor, entry.mode)

    def _attribute(self, descriptor: int, entry: TarEntry, name: str, value: bytes) -> None:
        try:
            inode.set_tar_attribute(descriptor, name, value, self._form)
        except OSError as error:
            raise StoreError(
                f"{entry.shown}: the file system does not keep the attribute {name!r} of {len(value)} bytes",
                why=error.strerror,
                hint="put the store (REPRO_STORE) on another: xfs and btrfs keep more than ext4",
            ) from error

    def _open_parent(self, above: bytes, entry: TarEntry) -> int:
        """Return a descriptor of the entry's parent, making folders that the tar only implies."""
        known, descriptor = self._parent
        if known == above:
            return descriptor
        if above not in self._folders:
            made = b""
            for part in above.split(b"/"):
                made = made + b"/" + part if made else part
                if made in self._folders:
                    continue
                if made in self._kinds:
                    kind = "a symbolic link" if self._kinds[made] == tar.SYMLINK else "no folder"
                    raise DataError(f"{entry.shown}: its parent {shown(made)} is {kind}")
                self._count_in(entry, len(made))
                self._unhide(made, folder=True)
                os.mkdir(made, 0o700, dir_fd=self._root)
                self._folders[made] = None
        self._close_parent()
        descriptor = os.open(above, _OPEN_FOLDER, dir_fd=self._root) if above else self._root
        self._parent = (above, descriptor)
        return descriptor

    def _close_parent(self) -> None:
        if self._parent[1] != self._root:
            os.close(self._parent[1])
        self._parent = (b"", self._root)

    def _hide(self, entry: TarEntry, above: bytes, name: bytes, parent: int) -> None:
        """Make a whiteout or an opaque mark (image-spec layer.md, "Whiteouts")."""
        if name == tar.OPAQUE_MARK:
            self._opaque.add(above)
            return
        hidden = name[len(tar.WHITEOUT) :]
        if hidden in {b"", b".", b".."}:
            raise DataError(f"{entry.shown}: a whiteout of nothing")
        path = above + b"/" + hidden if above else hidden
        if path in self._whiteouts:
            return
        self._whiteouts.add(path)
        if path in self._folders:
            self._opaque.add(path)  # deleted and made again in one layer: the new folder shows nothing old
        elif path not in self._kinds:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)

    def _unhide(self, path: bytes, *, folder: bool) -> None:
        """Make way for an entry whose name this layer also marks as deleted; a new folder is then opaque."""
        if path in self._whiteouts:
            os.unlink(path, dir_fd=self._root)
            if folder:
                self._opaque.add(path)

    def _make(self, entry: TarEntry, path: bytes, name: bytes, parent: int) -> None:
        if path in self._folders:
            if entry.kind != tar.FOLDER:
                raise DataError(f"{entry.shown}: a second entry of this name, of another type")
            self._folders[path] = entry
            return
        if path in self._kinds:
            raise DataError(f"{entry.shown}: a second entry of this name")
        if entry.kind == tar.FOLDER:
            self._unhide(path, folder=True)
            os.mkdir(name, 0o700, dir_fd=parent)
            self._folders[path] = entry
            return
        self._unhide(path, folder=False)
        if entry.kind == tar.FILE:
            self._file(entry, name, parent)
        elif entry.kind == tar.LINK:
            self._link(entry, name, parent)
        elif entry.kind == tar.SYMLINK:
            self._symlink(entry, name, parent)
        else:
            self._node(entry, name, parent)
        self._kinds[path] = tar.FILE if entry.kind == tar.LINK else entry.kind

    def _file(self, entry: TarEntry, name: bytes, parent: int) -> None:
        self.content += entry.size
        if self.content > self._room:
            raise StoreError(
                f"{entry.shown}: the store's disk has no room for the layer",
                why=f"with this file it holds {self.content} bytes, {self._room} were free when it was begun",
                hint=NO_ROOM,
            )
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                self._reader.data(lambda piece: os.write(descriptor, piece))
            self._dress(descriptor, entry)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _link(self, entry: TarEntry, name: bytes, parent: int) -> None:
        target = _checked_name(entry.target, entry)
        if self._kinds.get(target) != tar.FILE:
            raise DataError(
                f"{entry.shown}: a hard link to {shown(entry.target)}",
                why="that is no regular file of this layer",
            )
        os.link(target, name, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False)

    def _symlink(self, entry: TarEntry, name: bytes, parent: int) -> None:
        os.symlink(entry.target, name, dir_fd=parent)
        if self._form != inode.ONE and (entry.uid, entry.gid) != (0, 0):
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _node(self, entry: TarEntry, name: bytes, parent: int) -> None:
        """Make a FIFO or, as real root, a device."""
        if entry.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            device = os.makedev(entry.major, entry.minor)
            if entry.kind == tar.CHAR and device == 0:
                raise DataError(f"{entry.shown}: a character device 0:0, which would be a whiteout")
            kind = stat.S_IFCHR if entry.kind == tar.CHAR else stat.S_IFBLK
            if self._form == inode.ONE or not _make_device(name, 0o600 | kind, device, parent):
                log.info("%s: a device node, left out", entry.shown)
                return
        if self._form != inode.ONE:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=parent)  # made just now, in a folder of ours: no link
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent)


def _make_device(name: bytes, mode: int, device: int, parent: int) -> bool:
    """Make a device node; false in a user namespace, where the kernel makes none whoever asks."""
    try:
        os.mknod(name, mode, device, dir_fd=parent)
    except PermissionError:
        return False
    return True


def _checked(entry: TarEntry) -> bytes:
    return _checked_name(entry.name, entry)


def _checked_name(name: bytes, entry: TarEntry) -> bytes:
    """Return ``name`` without ``.`` and doubled slashes, empty for the root; DataError if it may not be."""
    if name.startswith(b"/"):
        raise DataError(f"{entry.shown}: an absolute name", why=f"it names {shown(name)}")
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise DataError(f"{entry.shown}: a name that leads upwards", why=f"it names {shown(name)}")
    if not parts and not name:
        raise DataError("a tar entry without a name")
    if any(len(part) > 255 for part in parts) or len(name) > 4095:
        raise DataError(f"{entry.shown}: a name longer than Linux takes")
    if len(parts) > tar.DEEPEST:
        raise DataError(f"{entry.shown}: more than {tar.DEEPEST} folders deep")
    return b"/".join(parts)
