"""An image's root file system in one piece: its layers merged as overlay merges them, as a tar or as a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.oci import inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_BUFFER: Final = 1 << 20
_DEEPEST: Final = 300  # folders within folders, as in a layer; each costs a descriptor per layer that holds it


@dataclass(frozen=True, slots=True)
class Found:
    """Something in the merged root: ``path`` from the root, and the open folder in which ``name`` lies.

    The descriptor is open until the next one is asked for. ``leaving`` is true the second time that a folder is given:
    when all in it was.
    """

    path: bytes
    folder: int
    name: bytes
    status: os.stat_result
    leaving: bool = False


def merged(layers: Sequence[Path]) -> Iterator[Found]:
    """Give what overlay would show of ``layers``, lowest first: sorted by name, a folder before and after its content.

    The root itself is not given. Nothing that an upper layer hides is opened.
    """
    with contextlib.ExitStack() as stack:
        folders = []
        for layer in reversed(layers):
            folders.append(_enter(stack, os.fsencode(layer), os.lstat(layer), None))
            if inode.is_opaque(folders[-1]):
                break
        yield from _merged(folders, b"", 0)


def _enter(stack: contextlib.ExitStack, name: bytes, status: os.stat_result, parent: int | None) -> int:
    """Return a folder's descriptor, closed with ``stack``; a mode that keeps its owner out is widened meanwhile."""
    descriptor, widened = inode.open_readable(name, status.st_mode, dir_fd=parent)
    stack.callback(os.close, descriptor)
    if widened:
        stack.callback(os.fchmod, descriptor, stat.S_IMODE(status.st_mode))
    return descriptor


def _merged(folders: Sequence[int], prefix: bytes, depth: int) -> Iterator[Found]:
    """Give what is in one folder, which the open ``folders`` make up, topmost first."""
    if depth > _DEEPEST:
        raise DataError(f"/{os.fsdecode(prefix[:80])}...: more than {_DEEPEST} folders deep")
    places: dict[bytes, list[tuple[int, os.stat_result]]] = {}  # topmost first; the lower ones of a folder only
    closed: set[bytes] = set()
    for folder in folders:
        with os.scandir(folder) as entries:
            found = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
        for name, status in found:
            if name in closed:
                continue
            if not inode.is_whiteout(status) and (name not in places or stat.S_ISDIR(status.st_mode)):
                places.setdefault(name, []).append((folder, status))
            if not stat.S_ISDIR(status.st_mode):
                closed.add(name)
    for name in sorted(places):
        (folder, status), *_ = places[name]
        path = prefix + name
        yield Found(path, folder, name, status)
        if stat.S_ISDIR(status.st_mode):
            with contextlib.ExitStack() as stack:
                below = []
                for parent, lower in places[name]:
                    below.append(_enter(stack, name, lower, parent))
                    if inode.is_opaque(below[-1]):
                        break
                yield from _merged(below, path + b"/", depth + 1)
            yield Found(path, folder, name, status, leaving=True)


def write_root_tar(layers: Sequence[Path], form: str, out: BinaryIO) -> None:
    """Write the merged root as a tar (pax) with numeric owners, whole seconds, attributes and hard links.

    Equal images give equal bytes. Sockets are left out.
    """
    seen: dict[tuple[int, int], str] = {}
    with tarfile.open(
        fileobj=out, mode="w|", bufsize=_BUFFER, format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for found in merged(layers):
            if not found.leaving and not stat.S_ISSOCK(found.status.st_mode):
                _add(archive, found, form, seen)


def _add(archive: tarfile.TarFile, found: Found, form: str, seen: dict[tuple[int, int], str]) -> None:
    status = found.status
    info = tarfile.TarInfo(os.fsdecode(found.path))
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = status.st_mtime_ns // 1_000_000_000
    info.uid, info.gid = (0, 0) if form == inode.ONE else (status.st_uid, status.st_gid)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        _add_plain(archive, found, info, form, seen)
        return
    if stat.S_ISLNK(status.st_mode):
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = os.fsdecode(os.readlink(found.name, dir_fd=found.folder))
    elif stat.S_ISFIFO(status.st_mode):
        info.type = tarfile.FIFOTYPE
    else:
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    archive.addfile(info)


def _add_plain(
    archive: tarfile.TarFile, found: Found, info: tarfile.TarInfo, form: str, seen: dict[tuple[int, int], str]
) -> None:
    """Add a file, a folder, or a hard link to a file that is in the tar already."""
    status = found.status
    with contextlib.ExitStack() as stack:
        descriptor = _enter(stack, found.name, status, found.folder)
        owner, attributes, _ = inode.tar_attributes(descriptor, form)
        info.uid, info.gid = owner or (info.uid, info.gid)
        info.pax_headers = {
            f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in attributes
        }
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
            return
        if status.st_nlink > 1:
            first = seen.setdefault((status.st_dev, status.st_ino), info.name)
            if first != info.name:
                info.type, info.linkname, info.pax_headers = tarfile.LNKTYPE, first, {}
                archive.addfile(info)
                return
        info.size = status.st_size
        archive.addfile(info, stack.enter_context(open(descriptor, "rb", buffering=0, closefd=False)))


def lay_out_root(layers: Sequence[Path], folder: Path, skipped: Callable[[str], object]) -> None:
    """Lay the merged root out in the empty ``folder``: modes, times, links and hard links as in the image.

    Everything belongs to the caller, so files lose their set-id bits, as chown(2) would take them: a file that is to
    run as somebody of the image must not run as the caller. Devices, pipes and sockets are left out, each told to
    ``skipped`` by its path.
    """
    seen: dict[tuple[int, int], bytes] = {}
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in merged(layers):
            # Every parent was made here just now, so no path leads through a link.
            mode = found.status.st_mode
            if stat.S_ISDIR(mode) and not found.leaving:
                os.mkdir(found.path, 0o700, dir_fd=root)
            elif stat.S_ISDIR(mode):
                os.utime(found.path, ns=_times(found.status), dir_fd=root)
                os.chmod(found.path, stat.S_IMODE(mode), dir_fd=root)
            elif stat.S_ISREG(mode):
                _lay_out_file(found, root, seen)
            elif stat.S_ISLNK(mode):
                os.symlink(os.readlink(found.name, dir_fd=found.folder), found.path, dir_fd=root)
                os.utime(found.path, ns=_times(found.status), dir_fd=root, follow_symlinks=False)
            else:
                skipped(f"/{os.fsdecode(found.path)}")
    finally:
        os.close(root)


def _lay_out_file(found: Found, root: int, seen: dict[tuple[int, int], bytes]) -> None:
    status = found.status
    if status.st_nlink > 1:
        first = seen.setdefault((status.st_dev, status.st_ino), found.path)
        if first != found.path:
            os.link(first, found.path, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
            return
    source, _ = inode.open_readable(found.name, status.st_mode, dir_fd=found.folder)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(found.path, flags, 0o600, dir_fd=root)
        try:
            _copy_data(source, target, status.st_size)
            os.fchmod(target, stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
            os.utime(target, ns=_times(status))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy a file's bytes; holes stay holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
            break
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            sent = os.sendfile(target, source, start, min(end - start, 1 << 30))
            if sent == 0:
                raise DataError("a file became shorter while it was read")
            start += sent
    os.ftruncate(target, size)


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_mtime_ns
