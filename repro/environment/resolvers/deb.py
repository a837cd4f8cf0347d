"""A ``.deb`` file, read without dpkg (deb(5)): an ar archive of two tar archives."""

from __future__ import annotations

import io
import lzma
import os
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import CHUNK
from repro.errors import DataError, HostError
from repro.oci.compression import decompressed
from repro.oci.untar import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repro.digest import Source

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes of an ar member's header
LIMIT = 4 << 30  # bytes that a member may unpack to


@dataclass(frozen=True, slots=True)
class Part:
    """A member of the ar archive: ``offset`` and ``size`` of its data in the file, ``mtime`` in seconds."""

    name: str
    mtime: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of one of the two tar archives.

    ``name`` is its path below the root, empty for the root itself; it leads nowhere else. ``kind`` is a type flag
    as in `repro.oci.tar`, ``mtime`` in nanoseconds, ``target`` a link's, as written.
    """

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    target: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Deb:
    """A ``.deb`` in memory: the members of its two tar archives, in their order."""

    name: str
    control: tuple[Member, ...]
    data: tuple[Member, ...]


def read_parts(path: Path, name: str) -> tuple[Part, ...]:
    """Return the ar members of the ``.deb`` at ``path``; DataError, calling it ``name``, where it is none."""
    parts: list[Part] = []
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DataError(f"{name} is not a Debian package")
        end = file.seek(0, io.SEEK_END)
        offset = len(_MAGIC)
        while offset < end:
            file.seek(offset)
            header = file.read(_HEADER)
            if len(header) < _HEADER or header[58:] != b"`\n":
                raise DataError(f"{name} is damaged: its ar archive ends in a broken header")
            try:
                part = Part(
                    name=header[:16].decode("ascii").rstrip(" ").removesuffix("/"),
                    mtime=int(header[16:28]),
                    offset=offset + _HEADER,
                    size=int(header[48:58]),
                )
            except ValueError as error:
                raise DataError(f"{name} is damaged: a field of its ar archive is not a number") from error
            if part.size < 0 or part.offset + part.size > end:
                raise DataError(f"{name} is damaged: {part.name} is cut short")
            parts.append(part)
            offset = part.offset + part.size + part.size % 2  # members begin at even offsets
    if not parts or parts[0].name != "debian-binary":
        raise DataError(f"{name} is not a Debian package: its first member is not debian-binary")
    return tuple(parts)


def newest_mtime(path: Path, name: str) -> int:
    """Return the time at which the ``.deb`` was made, in seconds since 1970: the newest of its members.

    dpkg-deb cuts the times inside the tar archives to that same time (dpkg-deb(1), SOURCE_DATE_EPOCH), so
    nothing needs to be unpacked to know it.
    """
    return max(part.mtime for part in read_parts(path, name))


def read_deb(path: Path, name: str) -> Deb:
    """Return the ``.deb`` at ``path``, read whole; DataError, calling it ``name``, where it is damaged."""
    parts = read_parts(path, name)
    return Deb(name, _read(path, name, parts, "control.tar"), _read(path, name, parts, "data.tar"))


def control_text(path: Path, name: str) -> str:
    """Return the control stanza of the ``.deb`` at ``path``; its data stays packed. DataError as `read_deb`."""
    for member in _read(path, name, read_parts(path, name), "control.tar"):
        if member.name == "control":
            return member.data.decode("utf-8", "replace")
    raise DataError(f"{name} is not a Debian package: it has no control file")


def inside(name: str, what: str) -> str:
    """Return a member's name below the root, empty for the root; DataError for one that leads outside."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise DataError(f"{what} holds {name!r}, which leads outside the root")
    return "/".join(parts)


def _read(path: Path, name: str, parts: tuple[Part, ...], wanted: str) -> tuple[Member, ...]:
    """Return what the tar archive ``wanted`` holds, whatever its compression."""
    for part in parts:
        if part.name == wanted or part.name.startswith(f"{wanted}."):
            with open(path, "rb") as file:
                file.seek(part.offset)
                raw = file.read(part.size)
            what = f"{part.name} of {name}"
            data = _unpack(raw, part.name.removeprefix(wanted), what)
            try:
                return tuple(_members(data, name))
            except DataError as error:
                raise DataError(f"{what} is damaged", why=error.message) from error
    raise DataError(f"{name} is not a Debian package: it has no {wanted}")


def _members(data: bytes, package: str) -> Iterator[Member]:
    reader = TarReader(io.BytesIO(data))
    for entry in reader.entries():
        content = io.BytesIO()
        reader.data(content.write)
        yield Member(
            inside(os.fsdecode(entry.name), package),
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            os.fsdecode(entry.target),
            content.getvalue(),
        )


def _unpack(raw: bytes, suffix: str, what: str) -> bytes:
    """Return the bytes that are packed in ``raw``; DataError where they are damaged, or more than `LIMIT`."""
    if not suffix:
        return raw
    if suffix not in {".xz", ".gz", ".zst"}:
        raise DataError(f"{what} is compressed in a way that is not known here")
    packed = io.BytesIO(raw)
    try:
        return _read_all(lzma.LZMAFile(packed, format=lzma.FORMAT_XZ) if suffix == ".xz" else decompressed(packed))
    except HostError as error:
        error.where = what
        raise
    except (DataError, lzma.LZMAError, EOFError) as error:
        why = error.message if isinstance(error, DataError) else str(error)
        raise DataError(f"{what} cannot be unpacked", why=why) from error


def _read_all(stream: Source) -> bytes:
    pieces: list[bytes] = []
    left = LIMIT
    while piece := stream.read(CHUNK):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise DataError(f"it has more than {LIMIT} bytes")
    return b"".join(pieces)
