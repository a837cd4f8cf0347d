"""Times that files keep inside themselves, set back to the build's epoch as the files' own times are.

Only formats in which a program writes the moment of a build, and in which nothing else depends on it. Each is data
with its reason. Paths, owners, modes and all other bytes stay.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.oci import inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MOST: Final = 16 << 20  # bytes: these files are small, and what is larger is something else
_STAMP: Final = "%Y-%m-%d %H:%M:%S"
_DATE: Final = rb"(?P<date>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
_BUILT: Final = re.compile(rb"R \d[\d.]*; [^;\0\n]*; " + _DATE + rb" UTC; (?:unix|windows)")
_HISTORY: Final = re.compile(rb"^==> " + _DATE + rb" <==$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class InnerTime:
    """A format: files named ``name`` (a star at its front: any that end so) in folders named ``folder`` (empty: any).

    ``clamp`` returns a file's bytes with no time later than the epoch (seconds since 1970) in them. ``reason`` is for
    people.
    """

    folder: str
    name: str
    clamp: Callable[[bytes, int], bytes]
    reason: str

    def matches(self, folder: str, name: str) -> bool:
        """Whether a file called ``name`` in a folder called ``folder`` has this format, as far as names tell."""
        named = name.endswith(self.name[1:]) if self.name.startswith("*") else name == self.name
        return named and self.folder in ("", folder)


def _bytecode(data: bytes, epoch: int) -> bytes:
    """PEP 552: after magic and flags 0, bytes 8 to 11 are the source's time, which is set back as well."""
    if len(data) < 16 or data[2:8] != b"\r\n\0\0\0\0" or struct.unpack_from("<I", data, 8)[0] <= epoch:
        return data
    return data[:8] + struct.pack("<I", epoch) + data[12:]


def _dates(data: bytes, epoch: int, pattern: re.Pattern[bytes]) -> bytes:
    """Set back every date that ``pattern`` finds, wherever it stands in ``data``: in UTC, of one length."""
    limit = datetime.fromtimestamp(epoch, UTC).strftime(_STAMP).encode()
    for date in {match["date"] for match in pattern.finditer(data)}:
        if date > limit:
            data = data.replace(date, limit)
    return data


def _description(data: bytes, epoch: int) -> bytes:
    return _dates(data, epoch, _BUILT)


def _package(data: bytes, epoch: int) -> bytes:
    """R's `saveRDS` of the same: gzipped; strings keep their length, so that it stays well-formed."""
    if not data.startswith(b"\x1f\x8b\x08"):
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(data, _MOST)
    except zlib.error:
        return data
    clamped = _dates(plain, epoch, _BUILT)
    return _stored(clamped) if unpacker.eof and clamped != plain else data


def _history(data: bytes, epoch: int) -> bytes:
    return _dates(data, epoch, _HISTORY)


INNER_TIMES: Final = (
    InnerTime(
        "__pycache__", "*.pyc", _bytecode, "the source's time, by which Python knows whether its bytecode is stale"
    ),
    InnerTime("", "DESCRIPTION", _description, "an R package's field Built: when it was installed"),
    InnerTime("Meta", "package.rds", _package, "the same field Built, as R reads it"),
    InnerTime("conda-meta", "history", _history, "conda's headline of each transaction: when it was made"),
)


def clamp_inner_times(upper: Path, epoch: int, formats: tuple[InnerTime, ...] = INNER_TIMES) -> tuple[str, ...]:
    """Set back the times inside the files of the layer folder ``upper``; return the paths changed, sorted.

    A file keeps its inode, mode, owner and time. No link is followed.
    """
    status = os.lstat(upper)
    descriptor, widened = inode.open_readable(upper, status.st_mode)
    try:
        return tuple(sorted(_walk(descriptor, "", "", epoch, formats)))
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.close(descriptor)


def _walk(folder: int, name: str, path: str, epoch: int, formats: tuple[InnerTime, ...]) -> Iterator[str]:
    """Go through an open folder called ``name``; yield the paths changed, relative to the layer."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.name, entry.stat(follow_symlinks=False)))
            elif entry.is_file(follow_symlinks=False):
                for form in formats:
                    if form.matches(name, entry.name):
                        status = entry.stat(follow_symlinks=False)
                        if status.st_size <= _MOST and _rewrite(folder, entry.name, status, epoch, form):
                            yield f"{path}{entry.name}"
    for inner, status in folders:
        descriptor, widened = inode.open_readable(inner, status.st_mode, dir_fd=folder)
        try:
            yield from _walk(descriptor, inner, f"{path}{inner}/", epoch, formats)
        finally:
            if widened:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.close(descriptor)


def _rewrite(folder: int, name: str, status: os.stat_result, epoch: int, form: InnerTime) -> bool:
    """Set back the times inside one file, in place; return whether there were any."""
    descriptor, _ = inode.open_readable(name, status.st_mode, dir_fd=folder)
    try:
        data = os.pread(descriptor, status.st_size, 0)
        clamped = form.clamp(data, epoch)
        if clamped == data:
            return False
        os.fchmod(descriptor, 0o600)
        with open(f"/proc/self/fd/{descriptor}", "wb") as file:
            file.write(clamped)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(descriptor)
    return True


def _stored(data: bytes) -> bytes:
    """Return ``data`` as gzip (RFC 1952) of stored blocks (RFC 1951, 3.2.4): the same bytes with every zlib."""
    blocks = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)] or [b""]
    out = [b"\x1f\x8b\x08\0\0\0\0\0\0\x03"]
    for number, block in enumerate(blocks, start=1):
        out += [struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*out, struct.pack("<II", zlib.crc32(data), len(data))])
