"""What is published to a network file system: staged beside its place, then put there by one operation.

It is staged inside the target's folder, so on the same file system, in a folder that nobody else looks for::

    <target>/.repro-staging-<16 hex digits>/<16 hex digits>     the bytes of one file, under way or whole

A file is put in place under its name by one operation of the server, which fails where the name is taken. Permissions
are those that the server gives a new file.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, ExistsError, Found
from repro.data.sources.shares import STAGING, Pace, below
from repro.digest import CHUNK, Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from repro.data.sources.shares import Entry, Share
    from repro.digest import Json

_STAGED = re.compile(rf"{re.escape(STAGING)}[0-9a-f]{{16}}/[0-9a-f]{{16}}")


class ShareTarget:
    """The folder at ``root``, made when first written to, as a `Target`.

    A token holds ``staged``, the path of the staged file from ``root``, and ``identity`` once it is whole, by which a
    `commit` whose answer was lost knows its own file. Where it is empty such a commit raises ExistsError, and whoever
    called it has to read the bytes.
    """

    unguarded = False

    def __init__(self, share: Share, root: str) -> None:
        self._share = share
        self._root = root
        self._pace = Pace()

    def find(self, name: str) -> Found | None:
        """Return what is at ``name``; its digest is not known."""
        found = self._share.entry(below(self._root, name))
        return None if found is None else Found(found.size, etag=found.etag, settled=found.settled)

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
            elif replaces is not None and self._is(path, there, replaces):
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

    def _is(self, path: str, there: Entry, seen: Found) -> bool:
        """Return whether ``there``, at ``path``, is what was ``seen``."""
        if (there.size, there.etag) != (seen.size, seen.etag):
            return False
        return seen.settled or seen.digest is None or self._digest(path) == seen.digest

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
