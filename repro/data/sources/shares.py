"""What network file systems have in common: files with a size and times, and files put in place by one operation.

A protocol gives the operations (`Share`); over them `ShareSource` is a `Source`, which leaves out the folders in which
something is staged, and `repro.data.sources.share_publishing.ShareTarget` a `Target`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, DeniedError, ExistsError, SourceFile
from repro.dataclass import dataclass
from repro.digest import CHUNK
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

STAGING = ".repro-staging-"  # begins the names of folders in which something is staged
_LOOK = "see that there is room, that no name is too long, and that you may use it"  # some servers say only: failure
_SMALLEST = 1 << 16  # bytes at a time over the slowest line
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.EBADF})


@dataclass(frozen=True, slots=True)
class Entry:
    """What a server says of a name: ``kind`` is ``file``, ``folder``, ``link`` or another.

    ``etag`` is another once the bytes of a ``settled`` file are (`SourceFile`); ``identity`` stays while the file is
    renamed, and is no other file's; it is empty, and proves nothing, for files of a protocol that has none.
    """

    name: str
    kind: str
    size: int
    etag: str
    identity: str
    settled: bool = True


class Reader(Protocol):
    """An open file; ``entry`` is what it was when it was opened."""

    entry: Entry

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; none at the end."""


class Writer(Protocol):
    """A file that is open for writing."""

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""


class Share(Protocol):
    """The operations of a protocol on absolute paths; many threads may use one.

    They raise what `Source` says, and `Broken` after a connection was lost: the next call makes a new one.
    """

    def address(self, path: str) -> str:
        """Return the address of ``path``, for messages; DataError where the protocol has no such name."""

    def entry(self, path: str) -> Entry | None:
        """Return what is at ``path``, links followed; None where nothing is."""

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder, links as such; NotThereError where there is none."""

    def reader(self, path: str) -> AbstractContextManager[Reader]:
        """Open a file, until the block ends; others may write it meanwhile."""

    def writer(self, path: str, *, new: bool) -> AbstractContextManager[Writer]:
        """Open a file for writing, a ``new`` one or one that is there; its bytes are safe when the block has ended."""

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it, where they are not there."""

    def place(self, staged: str, path: str) -> None:
        """Give a file the name ``path`` and take ``staged`` from it; ExistsError where the name is taken."""

    def replace(self, staged: str, path: str) -> None:
        """Rename ``staged`` to ``path``, in place of what is there."""

    def remove(self, path: str) -> None:
        """Remove a file; idempotent."""

    def remove_folder(self, path: str) -> None:
        """Remove a folder where it is empty; idempotent."""

    def close(self) -> None:
        """Let go of connections; idempotent."""


def failure(error: OSError, address: str) -> Broken | FetchError | ExistsError:
    """Return what an errno that a server gave for ``address`` means."""
    number = error.errno or 0
    why = error.strerror or str(error)
    if number in _ABSENT:
        return NotThereError(f"there is no {address}", why=why)
    if number in _DENIED:
        return DeniedError(f"the server refuses {address}", why=why, hint="ask who runs it for the right to this path")
    if number == errno.EROFS:
        return DeniedError(f"{address} can only be read", why=why, hint="publish to another place, or have it writable")
    if number == errno.EEXIST:
        return ExistsError(f"{address} is there already")
    if number in _FULL:
        return FetchError(f"there is no room for {address}", why=why, hint="free space or quota on the server")
    if number in _PASSING:
        return Broken(f"{address}: {why}")
    return FetchError(f"{address} cannot be used", why=why, hint=_LOOK)


def below(root: str, name: str) -> str:
    """Return the path of ``name``, relative with ``/``, below the folder ``root``; DataError where it leads out."""
    if not name:
        return root
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise DataError(f"not a name below a folder: {name!r}")
    return f"{root.rstrip('/')}/{name}"


class Pace:
    """How many bytes are asked for, or sent, at a time: ``piece``. Fewer after a transfer in its block broke.

    These clients count a whole operation as silence: over a slow line a large one takes longer than is borne.
    """

    def __init__(self) -> None:
        self.piece = CHUNK

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Broken):
            self.piece = max(self.piece // 4, _SMALLEST)


class ShareSource:
    """The file or the folder at ``root``, as a `Source`."""

    def __init__(self, share: Share, root: str) -> None:
        self._share = share
        self._root = root
        self._pace = Pace()

    def stat(self, name: str = "", version: str = "") -> SourceFile:
        """Return a file as it is now; FetchError for a version, which no file system has."""
        path = below(self._root, name)
        address = self._share.address(path)
        if version:
            raise FetchError(f"{address} has no versions", hint="leave out `version`: the checksum pins the bytes")
        found = self._share.entry(path)
        if found is None:
            raise NotThereError(f"there is no {address}", why="the server was asked, and has nothing there")
        if found.kind == "folder":
            raise NotThereError(f"{address} is a folder, no file", hint="end the address with a slash")
        if found.kind != "file":
            raise NotThereError(f"{address} is neither a file nor a folder")
        return SourceFile(name, found.size, etag=found.etag, settled=found.settled)

    def files(self) -> Iterator[SourceFile]:
        """Yield all files below, folder after folder; a link whose file is gone is left out."""
        top = self._share.entry(self._root)
        if top is None or top.kind != "folder":
            why = "nothing is there" if top is None else "it is no folder"
            raise NotThereError(f"there is no folder {self._share.address(self._root)}", why=why)
        waiting = [("", frozenset({top.identity}))]
        while waiting:
            folder, above = waiting.pop()
            for entry in self._share.entries(below(self._root, folder)):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.kind == "folder":
                    # what a server shows in place of a link may be a folder that we are in
                    if entry.identity not in above and not entry.name.startswith(STAGING):
                        waiting.append((name, above | {entry.identity}))
                    continue
                found = self._share.entry(below(self._root, name)) if entry.kind == "link" else entry
                if found is not None and found.kind == "file":
                    yield SourceFile(name, found.size, etag=found.etag, settled=found.settled)

    def pieces(self, file: SourceFile, start: int) -> Iterator[bytes]:
        """Yield the bytes from ``start``; what the file is, is looked at before the first and after the last."""
        path = below(self._root, file.name)
        with self._pace, self._share.reader(path) as reader:
            self._check(file, reader.entry, path)
            offset, size = start, reader.entry.size
            while offset < size:
                piece = reader.read(min(self._pace.piece, size - offset), offset)
                if not piece:
                    break
                offset += len(piece)
                yield piece
        now = self._share.entry(path)
        if offset != max(start, size) or now is None:
            raise ChangedError(f"{self._share.address(path)} changed while it was read")
        self._check(file, now, path)

    def _check(self, file: SourceFile, now: Entry, path: str) -> None:
        """Raise ChangedError where a file is not the one that was listed."""
        if (file.size is not None and now.size != file.size) or (file.etag and now.etag != file.etag):
            was = f"{file.size} bytes ({file.etag})"
            raise ChangedError(
                f"{self._share.address(path)} is not as it was listed", why=f"{was}, now {now.size} bytes ({now.etag})"
            )

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._share.close()
