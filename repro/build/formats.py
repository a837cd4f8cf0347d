"""File formats that keep times of their own: what of two such files differs, times and owners or their content."""

from __future__ import annotations

import contextlib
import io
import struct
import tarfile
import zipfile
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from repro.build.causes import ARCHIVE, BYTECODE, GZIP, MEMBERS, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Members: TypeAlias = "Mapping[str, tuple[str, bytes]]"  # name -> (times and owners, content), in the archive's order
_MOST = 256 << 20  # bytes that a file may unpack to here
_GZIPPED = b"\x1f\x8b\x08"
_LATEST = 253402300799  # seconds: the end of the year 9999
# Cut short, damaged, encrypted, or only looking like it: then the format says nothing.
_UNREADABLE = (ValueError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError)


def find_in_format(first: bytes, second: bytes) -> list[Finding]:
    """Return what the formats of two files that begin like this say about their difference; empty if nothing."""
    for begin, magic, find in _FORMATS:
        end = begin + len(magic)
        if first[begin:end] == second[begin:end] == magic:
            with contextlib.suppress(*_UNREADABLE):
                return find(first, second)
    return []


def gunzipped(data: bytes) -> bytes | None:
    """Return what a gzipped file holds, as far as it is whole; None if it is not gzipped."""
    if not data.startswith(_GZIPPED):
        return None
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _MOST)
    except zlib.error:
        return None


def _gzip(first: bytes, second: bytes) -> list[Finding]:
    """RFC 1952: bytes 4 to 7 are the time."""
    one, two = (struct.unpack_from("<I", data, 4)[0] for data in (first, second))
    return [] if one == two else [Finding(GZIP, f"{moment(one)} and {moment(two)}")]


def _bytecode(first: bytes, second: bytes) -> list[Finding]:
    """PEP 552: flags 0 means that bytes 8 to 11 are the time of the source."""
    if first[4:8] != bytes(4) or first[8:12] == second[8:12]:
        return []
    one, two = (struct.unpack_from("<I", data, 8)[0] for data in (first, second))
    return [Finding(BYTECODE, f"{moment(one)} and {moment(two)}")]


def _archive(first: bytes, second: bytes, members: Callable[[bytes], _Members]) -> list[Finding]:
    """Tell differing times and owners of members from differing members."""
    one, two = members(first), members(second)
    if list(one) != list(two):
        odd = sorted(set(one) ^ set(two))
        return [Finding(MEMBERS, f"only in one: {', '.join(odd[:3])}" if odd else "the order")]
    about = [name for name in one if one[name][0] != two[name][0]]
    content = [name for name in one if one[name][1] != two[name][1]]
    found = []
    if about:
        found.append(Finding(ARCHIVE, f"{about[0]}: {one[about[0]][0]} and {two[about[0]][0]}"))
    if content:
        found.append(Finding(MEMBERS, f"content of {', '.join(content[:3])}"))
    return found


def _ar_members(data: bytes) -> _Members:
    """Read the common `ar` format: 60 bytes of text before each member, which begins at an even place."""
    out: dict[str, tuple[str, bytes]] = {}
    place = 8
    while place + 60 <= len(data):
        head = data[place : place + 60].decode("ascii")
        size = int(head[48:58])
        name = f"{len(out)}:{head[:16].rstrip()}"  # names may repeat
        about = f"time {head[16:28].rstrip()}, owner {head[28:34].rstrip()}:{head[34:40].rstrip()}"
        out[name] = about, data[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    return out


def _zip_members(data: bytes) -> _Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = archive.infolist()
        if sum(item.file_size for item in listed) > _MOST:
            return {}
        return {
            item.filename: ("time {}-{:02}-{:02} {:02}:{:02}:{:02}".format(*item.date_time), archive.read(item))
            for item in listed
        }


def _tar_members(data: bytes) -> _Members:
    out: dict[str, tuple[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for item in archive:
            about = f"time {moment(int(item.mtime))}, owner {item.uid}:{item.gid}"
            content = archive.extractfile(item) if item.isreg() else None
            out[f"{len(out)}:{item.name}"] = (
                about,
                content.read() if content else item.linkname.encode("utf-8", "replace"),
            )
    return out


def moment(seconds: int) -> str:
    """Return seconds since 1970 as a time in UTC, for people; 0 is ``none``."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else "none"


def _archives(members: Callable[[bytes], _Members]) -> Callable[[bytes, bytes], list[Finding]]:
    return lambda first, second: _archive(first, second, members)


_FORMATS: tuple[tuple[int, bytes, Callable[[bytes, bytes], list[Finding]]], ...] = (  # where the magic stands
    (0, _GZIPPED, _gzip),
    (0, b"!<arch>\n", _archives(_ar_members)),
    (0, b"PK\x03\x04", _archives(_zip_members)),
    (2, b"\r\n", _bytecode),  # after the number of the Python version
    (257, b"ustar", _archives(_tar_members)),
)
