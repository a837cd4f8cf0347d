"""A ``.deb`` file, read without dpkg (deb(5)): an ar archive of two tar archives."""

from __future__ import annotations

import io
import lzma
import os
import zlib
from typing import TYPE_CHECKING, Protocol

from repro.dataclass import dataclass
from repro.errors import DataError, HostError
from repro.oci.untar import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
    try:
        match suffix:
            case "":
                data = raw
            case ".xz":
                data = _decompress(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), raw, what)
            case ".gz":
                data = _decompress(lambda: zlib.decompressobj(wbits=31), raw, what)
            case ".zst":
                data = _unpack_zstd(raw, what)
            case _:
                raise DataError(f"{what} is compressed in a way that is not known here")
    except (lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{what} is damaged", why=str(error)) from error
    return data


class _Decompressor(Protocol):
    """What lzma's and zlib's have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _decompress(new: Callable[[], _Decompressor], raw: bytes, what: str) -> bytes:
    """Return the bytes of one or more streams, each of which must be whole."""
    pieces: list[bytes] = []
    left = LIMIT
    while raw or not pieces:
        decompressor = new()
        pieces.append(decompressor.decompress(raw, left))
        left -= len(pieces[-1])
        if left <= 0:
            raise DataError(f"{what} unpacks to more than {LIMIT >> 30} GiB")
        if not decompressor.eof:
            raise DataError(f"{what} is damaged", why="it ends too early")
        raw = decompressor.unused_data
    return b"".join(pieces)


def _unpack_zstd(raw: bytes, what: str) -> bytes:
    """Return the bytes of a zstd stream, where this Python has the means (3.14, or the package zstandard)."""
    from importlib import import_module  # noqa: PLC0415 - one of two modules, neither of which must be there
    from importlib.util import find_spec  # noqa: PLC0415

    for package, name in (("compression", "compression.zstd"), ("zstandard", "zstandard")):
        if find_spec(package) is None:
            continue
        module = import_module(name)
        new = module.ZstdDecompressor
        decompressor = new() if package == "compression" else new().decompressobj()
        try:
            return bytes(decompressor.decompress(raw))
        except module.ZstdError as error:
            raise DataError(f"{what} is damaged", why=str(error)) from error
    raise HostError(
        f"{what} is compressed with zstd, which this Python cannot read",
        hint="run `pip install zstandard` where repro is installed, or use Python 3.14 or later",
    )
