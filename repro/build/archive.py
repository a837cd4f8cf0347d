"""ADD of an archive: told by its content, decompressed and unpacked into a folder of a layer, never out of it.

As BuildKit: the name does not matter; plain tar, gzip, bzip2, xz and zstd are archives, zip is not. Owners, modes
and times are the archive's (numbers, no names); folders that it only implies are root's. An entry replaces what the
image has at its path, folders apart, which are merged. Links in a path lead where they would if the destination
were the root.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.build.files import opened
from repro.build.inodes import Attributes
from repro.build.source import Kind
from repro.build.unzip import decompressed
from repro.errors import BuildError, DataError
from repro.oci import tar
from repro.oci.untar import TarEntry, TarReader, is_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.build.source import Node
    from repro.build.tree import LayerFolder

_MOST_LINKS: Final = 40  # path_resolution(7): the kernel's own limit


@contextlib.contextmanager
def opened_archive(node: Node, *, ours: bool) -> Iterator[TarReader | None]:
    """Give a reader of the file's entries; None where it is no archive.

    ``ours`` says that the file lies in a layer. DataError where it is one that this Python cannot decompress.
    """
    if node.kind is not Kind.FILE:
        yield None
        return
    with opened(node.host, ours=ours) as descriptor, open(descriptor, "rb", closefd=False) as file:
        archive = _is_archive(file)
        file.seek(0)
        yield TarReader(decompressed(file), padded=False) if archive else None


def _is_archive(file: BinaryIO) -> bool:
    """Say whether the file, decompressed, begins as a tar does; one that is compressed badly is none."""
    block = b""
    try:
        stream = decompressed(file)
        while len(block) < tar.BLOCK and (piece := stream.read(tar.BLOCK - len(block))):
            block += piece
    except DataError:
        return False
    return is_header(block)


def unpack(
    reader: TarReader, layer: LayerFolder, place: str, name: str, *, owner: tuple[int, int] | None, mtime: int
) -> None:
    """Unpack an archive into the folder ``place`` of ``layer``.

    Args:
        reader: of the archive, nothing read yet.
        layer: see above.
        place: resolved, a folder of the layer.
        name: what errors call the archive.
        owner: of every entry instead of the archive's; None keeps that.
        mtime: of folders that the archive only implies, in nanoseconds.

    Raises:
        BuildError: the archive is broken, leads out of the destination, or holds what a layer cannot.
    """
    unpacking = _Unpacking(reader, layer, place, owner, mtime)
    try:
        for entry in reader.entries():
            unpacking.add(entry)
    except (BuildError, DataError) as error:
        raise BuildError(f"{name} cannot be unpacked: {error.message}", why=error.why, hint=error.hint) from error
    except OSError as error:  # a name that is too long, an owner whom this user cannot give a file to, no room
        last = f" at {unpacking.last}" if unpacking.last else ""
        raise BuildError(f"{name} cannot be unpacked{last}", why=error.strerror) from error


class _Unpacking:
    """An archive being unpacked into ``place``, which every path and link in it is resolved below."""

    def __init__(
        self, reader: TarReader, layer: LayerFolder, place: str, owner: tuple[int, int] | None, mtime: int
    ) -> None:
        self._reader = reader
        self._layer = layer
        self._place = place
        self._owner = owner
        self._implied = Attributes(0, 0, 0o755, mtime)
        self._resolved: dict[tuple[str, ...], str] = {(): place}
        self.last = ""  # the entry at hand, for messages

    def add(self, entry: TarEntry) -> None:
        """Put one entry into the layer."""
        self.last = entry.shown
        parts = _parts(entry, os.fsdecode(entry.name))
        if not parts:
            return  # the root: the destination keeps what it has
        parent = self._folder(parts[:-1], entry)
        self._layer.folder(parent, self._implied)
        path = f"{parent}/{parts[-1]}" if parent else parts[-1]
        existing = self._layer.node(path)
        if existing is not None and not (existing.kind is Kind.FOLDER and entry.kind == tar.FOLDER):
            self._layer.clear(path)
            self._resolved = {(): self._place}
        uid, gid = self._owner or (entry.uid, entry.gid)
        attributes = Attributes(uid, gid, entry.mode, entry.mtime, entry.attributes)
        match entry.kind:
            case tar.FOLDER:
                self._layer.dress_folder(path, attributes)
            case tar.FILE:
                self._layer.write(path, attributes, self._write)
            case tar.SYMLINK:
                self._layer.link(path, entry.target, attributes)
                self._resolved = {(): self._place}
            case tar.LINK:
                target = _parts(entry, os.fsdecode(entry.target))
                above = self._folder(target[:-1], entry)
                self._layer.hard_link(path, "/".join(part for part in (above, *target[-1:]) if part), attributes)
            case _:
                self._special(path, entry, attributes)

    def _special(self, path: str, entry: TarEntry, attributes: Attributes) -> None:
        if entry.kind == tar.FIFO:
            self._layer.special(path, Kind.FIFO, (stat.S_IFIFO, 0), attributes)
            return
        device = os.makedev(entry.major, entry.minor)
        if entry.kind == tar.CHAR and device == 0:
            raise DataError(f"{entry.shown}: a character device 0:0, which would mark a deleted file")
        mode = stat.S_IFCHR if entry.kind == tar.CHAR else stat.S_IFBLK
        self._layer.special(path, Kind.DEVICE, (mode, device), attributes)

    def _write(self, descriptor: int) -> None:
        self._reader.data(lambda piece: os.write(descriptor, piece))

    def _folder(self, parts: tuple[str, ...], entry: TarEntry) -> str:
        """Return where ``parts`` lead, links resolved below the destination; DataError if out of it, or in a circle."""
        known = self._resolved.get(parts)
        if known is not None:
            return known
        left = list(reversed(parts))
        way: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                if not way:
                    raise DataError(f"{entry.shown}: a link in its path leads out of the destination")
                way.pop()
                continue
            here = "/".join(name for name in (self._place, *way, part) if name)
            node = self._layer.node(here)
            if node is None or node.kind is not Kind.LINK:
                way.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise DataError(f"{entry.shown}: its path leads round in circles")
            if node.target.startswith("/"):
                way = []
            left.extend(name for name in reversed(node.target.split("/")) if name not in ("", "."))
        self._resolved[parts] = "/".join(name for name in (self._place, *way) if name)
        return self._resolved[parts]


def _parts(entry: TarEntry, path: str) -> tuple[str, ...]:
    """Return the names of a path in the archive, ``.`` and ``..`` worked out; a leading slash means nothing."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise DataError(f"{entry.shown}: a path that leads out of the destination", why=f"it names {path!r}")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if len(parts) > tar.DEEPEST:
        raise DataError(f"{entry.shown}: more than {tar.DEEPEST} folders deep")
    return tuple(parts)
