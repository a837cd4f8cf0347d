"""The files of an image's archive, by name: those of a folder, or the members of a tar, which is never unpacked.

Names come from documents of strangers. A name that is absolute or leads upwards is refused wherever it is asked for,
and nothing but regular files is opened.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from repro.errors import DataError
from repro.oci import tar
from repro.oci.untar import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repro.digest import Source

_MOST_MEMBERS: Final = 100_000  # an image of 127 layers as `docker save` wrote it of old has 500
_MOST_HOPS: Final = 8  # links that lead to links


class Members(Protocol):
    """The files of an archive; ``where`` names it in messages."""

    where: str

    def size(self, name: str) -> int | None:
        """Return a file's bytes; None if there is no such file."""

    def open(self, name: str) -> contextlib.AbstractContextManager[Source]:
        """Give the file, to be read once; DataError if it is not there."""


class FolderMembers:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    def size(self, name: str) -> int | None:
        """Return a file's bytes; None if there is no such file."""
        try:
            status = os.stat(self._folder / _checked(name, self.where))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # a name that no file can have
            raise DataError(f"{self.where}: {name[:80]!r} cannot be read", why=error.strerror) from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Give the file, unbuffered; DataError if it is not there."""
        if self.size(name) is None:
            raise _missing(name, self.where)
        with open(self._folder / name, "rb", buffering=0) as file:
            yield file


class TarMembers:
    """The members of a tar in ``file``, which can be sought in; reads its headers at once.

    Raises:
        DataError: it is no tar, is cut short, has two files of one name, names that lead out of it, or more members
            than an image can have.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.where = where
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}  # offset and bytes of a regular file's data
        self._links: dict[str, str] = {}
        file.seek(0)
        scanner = _Scanner(file)
        for count, entry in enumerate(scanner.entries(), 1):
            if count > _MOST_MEMBERS:
                raise DataError(f"{where} has more than {_MOST_MEMBERS} members", why="no image has that many")
            self._add(os.fsdecode(entry.name), entry.kind, os.fsdecode(entry.target), scanner.offset, entry.size)

    def _add(self, name: str, kind: bytes, target: str, offset: int, size: int) -> None:
        if kind == tar.FOLDER:
            return
        name = posixpath.normpath(_checked(name, self.where))
        if name in self._places or name in self._links:
            raise DataError(f"{self.where} has two members of the name {name!r}")
        if kind == tar.FILE:
            self._places[name] = (offset, size)
        elif kind in {tar.SYMLINK, tar.LINK}:
            # `docker save` of old wrote a layer once, and links to it where it came again.
            beside = posixpath.dirname(name) if kind == tar.SYMLINK else ""
            joined = target if target.startswith("/") else posixpath.normpath(posixpath.join(beside, target))
            self._links[name] = _checked(joined, self.where, shown=f"{name} -> {target}")
        else:
            raise DataError(f"{self.where}: {name!r} is a device or a pipe", why="an image's archive has files only")

    def size(self, name: str) -> int | None:
        """Return a file's bytes; None if there is no such file."""
        place = self._place(name)
        return None if place is None else place[1]

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Give the member; DataError if it is not there. One at a time is open."""
        place = self._place(name)
        if place is None:
            raise _missing(name, self.where)
        self._file.seek(place[0])
        yield _Part(self._file, place[1], f"{self.where}: {name}")

    def _place(self, name: str) -> tuple[int, int] | None:
        name = posixpath.normpath(_checked(name, self.where))
        for _ in range(_MOST_HOPS):
            if name not in self._links:
                return self._places.get(name)
            name = self._links[name]
        raise DataError(f"{self.where}: {name!r} leads round in circles")


class _Part:
    """The next ``size`` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int, shown: str) -> None:
        self._file = file
        self._left = size
        self._shown = shown

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end; DataError if the file ended before."""
        wanted = min(size, self._left)
        data = self._file.read(wanted)
        if wanted and not data:
            raise DataError(f"{self._shown} is cut short")
        self._left -= len(data)
        return data


class _Scanner(TarReader):
    """Reads a tar's headers alone, for a file in which one can seek."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._seekable = file
        self._end = file.seek(0, io.SEEK_END)
        file.seek(0)

    @property
    def offset(self) -> int:
        """Where the next byte to be taken lies in the file: the data of the entry at hand."""
        return self.size - len(self._buffer)

    def _skip(self) -> None:
        """Go to the next header without reading what lies between."""
        target = self.offset + self._left + self._padding
        self._left = self._padding = 0
        if target > self._end:
            raise DataError("the tar is cut short within a file's data")
        if target <= self.size:
            self._buffer = self._buffer[target - self.offset :]
            return
        self._buffer = memoryview(b"")
        self._seekable.seek(target)
        self.size = target


def _checked(name: str, where: str, *, shown: str | None = None) -> str:
    """Return ``name`` as it is; DataError if it leads out of the archive."""
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise DataError(f"{where}: a name that leads out of it: {shown or name!r}")
    return name


def _missing(name: str, where: str) -> DataError:
    return DataError(f"{where} has no file {name}", hint="it is damaged, or was not written whole: write it again")
