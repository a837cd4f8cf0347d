"""Writes a layer folder as tar: the one encoding whose sha256 is the layer's diffID.

The format, `TAR_FORMAT` 1. Equal trees give equal bytes; any change of a rule below is a new number.

- POSIX pax: a ustar header, preceded by an extended header ``././@PaxHeader`` only where a value does not
  fit: a name or link target beyond 100 bytes or outside ASCII (``path``, ``linkpath``), a size from 8 GiB or
  an owner from 2**21 (``size``, ``uid``, ``gid``), a time before 1970 or beyond ustar's (``mtime``), extended
  attributes (``SCHILY.xattr.NAME``). Values are the raw bytes of the file system; ``hdrcharset=BINARY`` goes
  first where a name is not UTF-8.
- Order: a folder before its content; within it the opaque mark ``.wh..wh..opq``, then whiteouts ``.wh.NAME``,
  then the entries, each sorted by the bytes of the name (image-spec layer.md, "Whiteouts": before their
  siblings).
- Names have no leading ``./``; folders end in ``/``. The root folder has an entry, ``./``, only if its mode
  is not 0755, its owner not 0:0, or it has attributes.
- Whole seconds; numeric owners, user and group names empty; no access or change times; the root's time is 0.
- The second and later names of a regular file are hard links to its first in this order. Links and special
  files are written out each time. Sockets are left out, as every tar does.
- Whiteouts are empty regular files, mode 0600, owner 0:0, time 0. A file whose own name begins with ``.wh.``
  has no place in a layer: it is refused.
- Two blocks of zeros end it; no padding to a record.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from repro.errors import DataError
from repro.oci import inode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAR_FORMAT: Final = 1

BLOCK: Final = 512
DEEPEST: Final = 300  # folders within folders; each costs a descriptor and two calls while it is walked
WHITEOUT: Final = b".wh."
OPAQUE_MARK: Final = b".wh..wh..opq"
FILE, LINK, SYMLINK, CHAR, DEVICE, FOLDER, FIFO, PAX = b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x"

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_BLANK_CHECKSUM = b" " * 8
_OCTAL_7, _OCTAL_11 = 8**7, 8**11  # first numbers that do not fit into a field of 8 or 12 bytes
_BUFFER = 1 << 20
_ZEROS = bytes(BLOCK)


class Output(Protocol):
    """Anything that takes bytes: a file, a socket, a compressor."""

    def write(self, data: memoryview, /) -> object:
        """Take all of ``data``; the memory is used again after the call."""


def write_tar(folder: Path, out: Output, *, form: str = inode.REAL) -> int:
    """Write the layer in ``folder``, kept in ``form``, to ``out``; return the bytes written.

    DataError names a file that cannot be in a layer or that changed meanwhile.
    """
    writer = TarWriter(out.write, form)
    writer.write_tree(folder)
    return writer.size


class TarWriter:
    """One tar being written through ``write``; ``size`` and ``content`` are as in `LayerInfo` when done."""

    def __init__(self, write: Callable[[memoryview], object], form: str) -> None:
        self.size = 0
        self.content = 0
        self._write = write
        self._form = form
        self._view = memoryview(bytearray(_BUFFER))
        self._used = 0
        self._first_names: dict[tuple[int, int], bytes] = {}

    def write_tree(self, folder: Path) -> None:
        """Write the whole tar. Call it once."""
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode):
            raise DataError(f"{folder} is not a folder")
        descriptor, widened = inode.open_readable(folder, status.st_mode)
        try:
            owner, attributes, opaque = self._attributes(descriptor, status)
            if attributes or owner != (0, 0) or stat.S_IMODE(status.st_mode) != 0o755:
                self._entry(b"./", FOLDER, status.st_mode, owner, attributes=attributes)
            self._folder(descriptor, b"", opaque=opaque)
        finally:
            if widened:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.close(descriptor)
        self._bytes(_ZEROS * 2)
        self._flush()

    def _folder(self, descriptor: int, prefix: bytes, *, opaque: bool) -> None:
        """Write what the open folder holds; ``prefix`` is its name with the slash."""
        if prefix.count(b"/") > DEEPEST:
            raise DataError(f"/{os.fsdecode(prefix[:80])}...: more than {DEEPEST} folders deep")
        with os.scandir(descriptor) as entries:
            found = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
        found.sort(key=lambda item: item[0])
        if opaque:
            self._entry(prefix + OPAQUE_MARK, FILE, 0o600, (0, 0))
        for name, status in found:
            if inode.is_whiteout(status):
                self._entry(prefix + WHITEOUT + name, FILE, 0o600, (0, 0))
        for name, status in found:
            if name.startswith(WHITEOUT):
                raise DataError(
                    f"/{os.fsdecode(prefix + name)}: an image layer cannot hold a file of this name",
                    why="names that begin with .wh. mark deleted files (OCI image-spec layer.md)",
                    hint="give the file another name, or delete it in the same instruction",
                )
            if stat.S_ISREG(status.st_mode):
                self._file(descriptor, name, prefix, status)
            elif stat.S_ISDIR(status.st_mode):
                self._subfolder(descriptor, name, prefix, status)
            elif not inode.is_whiteout(status):
                self._special(descriptor, name, prefix, status)

    def _subfolder(self, parent: int, name: bytes, prefix: bytes, status: os.stat_result) -> None:
        path = prefix + name + b"/"
        descriptor, widened = inode.open_readable(name, status.st_mode, dir_fd=parent)
        try:
            owner, attributes, opaque = self._attributes(descriptor, status)
            self._entry(path, FOLDER, status.st_mode, owner, mtime=_seconds(status), attributes=attributes)
            self._folder(descriptor, path, opaque=opaque)
        finally:
            if widened:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.close(descriptor)

    def _file(self, parent: int, name: bytes, prefix: bytes, status: os.stat_result) -> None:
        path = prefix + name
        descriptor, _ = inode.open_readable(name, status.st_mode, dir_fd=parent)
        try:
            owner, attributes, _ = self._attributes(descriptor, status)
            if status.st_nlink > 1:
                first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
                if first is not path:
                    self._entry(path, LINK, status.st_mode, owner, mtime=_seconds(status), target=first)
                    return
            size, mtime = status.st_size, _seconds(status)
            self._entry(path, FILE, status.st_mode, owner, mtime=mtime, size=size, attributes=attributes)
            self._data(descriptor, size, path)
            self.content += size
        finally:
            os.close(descriptor)

    def _special(self, parent: int, name: bytes, prefix: bytes, status: os.stat_result) -> None:
        mode = status.st_mode
        owner = (status.st_uid, status.st_gid) if self._form != inode.ONE else (0, 0)
        mtime = _seconds(status)
        if stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=parent)
            self._entry(prefix + name, SYMLINK, 0o777, owner, mtime=mtime, target=target)
        elif stat.S_ISFIFO(mode):
            self._entry(prefix + name, FIFO, mode, owner, mtime=mtime)
        elif not stat.S_ISSOCK(mode):
            kind = CHAR if stat.S_ISCHR(mode) else DEVICE
            self._entry(prefix + name, kind, mode, owner, mtime=mtime, device=status.st_rdev)

    def _attributes(
        self, descriptor: int, status: os.stat_result
    ) -> tuple[tuple[int, int], list[tuple[str, bytes]], bool]:
        """Return the wished owner, the attributes for the tar, and whether it is an opaque folder."""
        owner, attributes, opaque = inode.tar_attributes(descriptor, self._form)
        if self._form != inode.ONE:
            owner = (status.st_uid, status.st_gid)
        return owner or (0, 0), attributes, opaque

    def _entry(
        self,
        path: bytes,
        kind: bytes,
        mode: int,
        owner: tuple[int, int],
        *,
        mtime: int = 0,
        size: int = 0,
        target: bytes = b"",
        attributes: list[tuple[str, bytes]] | None = None,
        device: int = 0,
    ) -> None:
        """Write the header of one entry, with an extended header before it where that is needed."""
        records = _text_records(path, target)
        uid, gid = owner
        if not (0 <= uid | gid < _OCTAL_7 and 0 <= size | mtime < _OCTAL_11):
            numbers = {b"uid": (uid, _OCTAL_7), b"gid": (gid, _OCTAL_7), b"size": (size, _OCTAL_11)}
            numbers[b"mtime"] = (mtime, _OCTAL_11)
            large = {key: number for key, (number, limit) in numbers.items() if not 0 <= number < limit}
            records += [(key, b"%d" % number) for key, number in large.items()]
            uid, gid, size, mtime = (0 if key in large else number for key, (number, _) in numbers.items())
        for attribute, value in attributes or ():
            records.append((b"SCHILY.xattr." + _attribute_key(attribute, path), value))
        if records:
            body = b"".join(_record(key, value) for key, value in records)
            self._bytes(_header(b"././@PaxHeader", PAX, 0o644, size=len(body)))
            self._bytes(body + bytes(-len(body) % BLOCK))
        self._bytes(
            _header(
                path[:100],
                kind,
                stat.S_IMODE(mode),
                uid=uid,
                gid=gid,
                size=size,
                mtime=mtime,
                target=target[:100],
                device=device,
            )
        )

    def _data(self, descriptor: int, size: int, path: bytes) -> None:
        """Write a file's bytes, read straight into the buffer, and the padding to a whole block."""
        left = size
        while left:
            if self._used == _BUFFER:
                self._flush()
            got = os.readv(descriptor, [self._view[self._used : self._used + left]])
            if got == 0:
                raise DataError(f"/{os.fsdecode(path)} became shorter while it was read")
            self._used += got
            left -= got
        self._bytes(_ZEROS[: -size % BLOCK])

    def _bytes(self, data: bytes) -> None:
        end = self._used + len(data)
        while end > _BUFFER:
            taken = _BUFFER - self._used
            self._view[self._used :] = data[:taken]
            self._used = _BUFFER
            self._flush()
            data = data[taken:]
            end = len(data)
        self._view[self._used : end] = data
        self._used = end

    def _flush(self) -> None:
        self._write(self._view[: self._used])
        self.size += self._used
        self._used = 0


def _header(
    path: bytes,
    kind: bytes,
    mode: int,
    *,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    device: int = 0,
) -> bytes:
    """Return one ustar header block; every value fits."""
    fields = (
        path,
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
        _BLANK_CHECKSUM,
        kind,
        target,
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % os.major(device),
        b"%07o" % os.minor(device),
        b"",
    )
    block = _HEADER.pack(*fields)
    # The sum of the bytes, which is below adler32's modulus in any header (200 bytes of names, 57 octal digits, and
    # what is constant): sum() would take eight times as long.
    return b"%b%06o\0 %b" % (block[:148], (zlib.adler32(block) & 0xFFFF) - 1, block[156:])


def _text_records(path: bytes, target: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records for a name and a link target that ustar cannot hold."""
    records = []
    if len(path) > 100 or not path.isascii():
        records.append((b"path", path))
    if len(target) > 100 or not target.isascii():
        records.append((b"linkpath", target))
    if records and not _is_utf8(path + b"/" + target):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    return records


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _attribute_key(name: str, path: bytes) -> bytes:
    key = os.fsencode(name)
    if b"=" in key or b"\n" in key:
        raise DataError(f"/{os.fsdecode(path)}: a tar cannot hold an extended attribute of the name {name!r}")
    return key


def _record(key: bytes, value: bytes) -> bytes:
    """Return a pax record: its own length in decimal, a blank, ``key=value``, a line feed."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _seconds(status: os.stat_result) -> int:
    return status.st_mtime_ns // 1_000_000_000
