"""What network file systems have in common: files with a size and times, and files put in place by one operation.

A protocol gives the operations (`Share`); `ShareSource` and `ShareTarget` are a `Source` and a `Target` over them.

What is to be published is staged inside the target's folder, so on the same file system, in a folder that nobody else
looks for::

    <target>/.repro-staging-<16 hex digits>/<16 hex digits>     the bytes of one file, under way or whole

A file is put in place under its name by one operation of the server, which fails where the name is taken. Listings of
sources leave staging folders out. Permissions are those that the server gives a new file.
"""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, DeniedError, ExistsError, Found, SourceFile
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from repro.digest import Json

STAGING = ".repro-staging-"
_LOOK = "see that there is room, that no name is too long, and that you may use it"  # some servers say only: failure
_SMALLEST = 1 << 16  # bytes at a time over the slowest line
_STAGED = re.compile(rf"{re.escape(STAGING)}[0-9a-f]{{16}}/[0-9a-f]{{16}}")
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.EBADF})


@dataclass(frozen=True, slots=True)
class Entry:
    """What a server says of a name: ``kind`` is ``file``, ``folder``, ``link`` or another.

    ``etag`` is another once the bytes are; ``identity`` stays while the file is renamed, and is no other file's;
    it is empty, and proves nothing, for files of a protocol that has none.
    """

    name: str
    kind: str
    size: int
    etag: str
    identity: str


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
        return SourceFile(name, found.size, etag=found.etag)

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
                    yield SourceFile(name, found.size, etag=found.etag)

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


class ShareTarget:
    """The folder at ``root``, made when first written to, as a `Target`.

    A token holds ``staged``, the path of the staged file from ``root``, and ``identity`` once it is whole, by which a
    `commit` whose answer was lost knows its own file. Where it is empty such a commit raises ExistsError, and whoever
    called it has to read the bytes.
    """

    def __init__(self, share: Share, root: str) -> None:
        self._share = share
        self._root = root
        self._pace = Pace()

    def find(self, name: str) -> Found | None:
        """Return what is at ``name``; its digest is not known."""
        found = self._share.entry(below(self._root, name))
        return None if found is None else Found(found.size, etag=found.etag)

    def read(self, name: str) -> bytes:
        """Return the bytes at ``name``."""
        data = bytearray()
        with self._share.reader(below(self._root, name)) as reader:
            while piece := reader.read(CHUNK, len(data)):
                data += piece
        return bytes(data)

    def stage(
        self,
        name: str,
        file: Path,
        digest: Digest,
        size: int,
        *,
        before: Mapping[str, Json] | None,
        note: Callable[[Mapping[str, Json]], None],
        told: Callable[[int], None],
    ) -> Mapping[str, Json]:
        """Write the bytes into a staging folder.

        What an earlier attempt left is read back and continued only where it is how the file begins: a server that
        crashed may have lost bytes that it had taken.
        """
        self._share.address(below(self._root, name))  # a name that cannot be there is refused before any byte is sent
        staged = "" if before is None else _staged(before)
        with _opened(file) as local:
            start = self._continued(staged, local, size) if staged else 0
            new = start == 0
            if new:
                if before is not None:
                    self.discard(name, before)
                staged = f"{STAGING}{secrets.token_hex(8)}/{secrets.token_hex(8)}"
                note({"staged": staged})
                self._share.make_folders(below(self._root, staged.partition("/")[0]))
            told(start)
            sent = self._send(local, below(self._root, staged), start, told, new=new)
            if sent != (digest, size):
                self.discard(name, {"staged": staged})
                raise DataError(f"{file} is not what it was: {sent[0]} instead of {digest}")
        whole = self._share.entry(below(self._root, staged))
        if whole is None or whole.size != size:
            raise Broken(f"the server did not keep what was written to {self._share.address(self._root)}")
        token: dict[str, Json] = {"staged": staged, "identity": whole.identity}
        note(token)
        return token

    def _continued(self, staged: str, local: BinaryIO, size: int) -> int:
        """Return how many bytes of a staged file are those that ``local`` begins with; 0 where others are there."""
        path = below(self._root, staged)
        entry = self._share.entry(path)
        if entry is None or entry.kind != "file" or not 0 < entry.size <= size:
            return 0
        offset = 0
        with self._pace, self._share.reader(path) as reader:
            while offset < entry.size:
                piece = reader.read(min(self._pace.piece, entry.size - offset), offset)
                if not piece or piece != b"".join(_read(local, len(piece))):
                    return 0
                offset += len(piece)
        return offset

    def _send(
        self, local: BinaryIO, path: str, start: int, told: Callable[[int], None], *, new: bool
    ) -> tuple[Digest, int]:
        """Write ``local`` from ``start`` on; return the digest and the number of all its bytes."""
        state, offset = hashlib.sha256(), 0
        local.seek(0)
        with self._pace, self._share.writer(path, new=new) as writer:
            for piece in _read(local, piece=self._pace.piece):
                state.update(piece)
                begin = max(start - offset, 0)
                if begin < len(piece):
                    writer.write(piece[begin:], offset + begin)
                    told(len(piece) - begin)
                offset += len(piece)
        return Digest(state.hexdigest()), offset

    def commit(self, name: str, token: Mapping[str, Json], *, replaces: Found | None) -> Found:
        """Give the staged file its name; where ``replaces`` is still there it is renamed over that."""
        path, staged = below(self._root, name), below(self._root, _staged(token))
        self._share.make_folders(path.rpartition("/")[0])
        there = self._share.entry(path)
        ours = there is not None and there.identity and there.identity == token.get("identity")
        if not ours:  # else an earlier commit came this far
            if there is None:
                self._place(staged, path)
            elif replaces is not None and (there.size, there.etag) == (replaces.size, replaces.etag):
                self._share.replace(staged, path)
            else:
                raise ExistsError(
                    f"{self._share.address(path)} is there already",
                    why="it was put there by something else" if replaces is None else "it changed in the meantime",
                    hint="publish to another place, or remove it first",
                )
        self.discard(name, token)
        found = self.find(name)
        if found is None:
            raise ChangedError(f"{self._share.address(path)} was removed while it was published")
        return found

    def _place(self, staged: str, path: str) -> None:
        """Give a staged file its name."""
        try:
            self._share.place(staged, path)
        except NotThereError as error:
            what = self._share.address(path)
            raise NotThereError(f"what was staged for {what} is gone", why=error.why, hint="publish again") from error

    def withdraw(self, name: str, placed: Found) -> None:
        """Remove what is at ``name`` where it is still what was put there.

        Where files have no identity their bytes decide; ExistsError where they are not those of ``placed.digest``.
        """
        path = below(self._root, name)
        there = self._share.entry(path)
        if there is None or (there.size, there.etag) != (placed.size, placed.etag):
            return
        if not there.identity and self._digest(path) != placed.digest:
            what = self._share.address(path)
            raise ExistsError(f"{what} is not known to be what was put there, and stays", hint="look at it")
        self._share.remove(path)

    def _digest(self, path: str) -> Digest:
        """Return the digest of the bytes at ``path``."""
        state, offset = hashlib.sha256(), 0
        with self._pace, self._share.reader(path) as reader:
            while piece := reader.read(self._pace.piece, offset):
                state.update(piece)
                offset += len(piece)
        return Digest(state.hexdigest())

    def discard(self, name: str, token: Mapping[str, Json]) -> None:  # noqa: ARG002 - `Target` has it
        """Remove a staged file, and its folder."""
        staged = _staged(token)
        if staged:
            self._share.remove(below(self._root, staged))
            with suppress(Broken, FetchError):  # empty it harms nobody
                self._share.remove_folder(below(self._root, staged.partition("/")[0]))

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._share.close()


def _opened(file: Path) -> BinaryIO:
    """Open the local file that is to be published; DataError where that fails."""
    try:
        return file.open("rb")
    except OSError as error:
        raise DataError(f"{file} cannot be read", why=error.strerror) from error


def _read(local: BinaryIO, size: int = -1, *, piece: int = CHUNK) -> Iterator[bytes]:
    """Yield up to ``size`` bytes of a local file, or all, some at a time; DataError where they cannot be read.

    What goes wrong here must not be taken for the server's failure.
    """
    while size:
        try:
            data = local.read(piece if size < 0 else min(piece, size))
        except OSError as error:
            raise DataError(f"{local.name} cannot be read", why=error.strerror) from error
        if not data:
            return
        size -= len(data) if size > 0 else 0
        yield data


def _staged(token: Mapping[str, Json]) -> str:
    """Return the path of the staged file that a token names; DataError where it names another."""
    staged = token.get("staged")
    if not isinstance(staged, str) or _STAGED.fullmatch(staged) is None:
        raise DataError("not a token of this target", hint="remove the journal of the publication that broke off")
    return staged
