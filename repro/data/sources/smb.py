"""SMB 2 and 3 without a mount (`smbprotocol`, the extra ``smb``): ``smb://[user@]host[:port]/share/path``.

Messages are encrypted where the server can (SMB 3), else signed; a server that can do neither is refused. A file's etag
is its size, the time of its last write and that of its last change; samba gives the former for both.
"""

from __future__ import annotations

import contextlib
import errno
import re
import stat
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from repro.data.answers import Broken, NotThereError
from repro.data.sources.share_publishing import ShareTarget
from repro.data.sources.shares import Entry, ShareSource
from repro.data.sources.smb_client import connect, host_and_port, meaning
from repro.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.data.sources.model import Reach
    from repro.data.sources.smb_client import SmbClient
    from repro.names import DataUri

_REPARSE_POINT, _DIRECTORY = 0x400, 0x10  # MS-FSCC 2.6, file attributes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# MS-FSCC 2.1.5: characters that no name may have; Windows drops a dot or a blank at a name's end
_REFUSED = re.compile(r'[\x00-\x1f"*:<>?\\|]|[. ]$')


class SmbShare:
    """The files of an SMB server, as a `repro.data.sources.shares.Share`. Its paths begin with the name of the share.

    As many connections are made as threads use it at once; idle ones are kept.
    """

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        self._uri = uri
        self._reach = reach
        self._host, _ = host_and_port(uri.host)
        self._guard = threading.Lock()
        self._idle: list[SmbClient] = []
        if not uri.path.strip("/"):
            raise UsageError(f"no share in {uri}", hint="smb://host/share/path")

    def address(self, path: str) -> str:
        """Return the address of ``path``; DataError where SMB has no such name."""
        for part in path.strip("/").split("/"):
            if _REFUSED.search(part):
                raise DataError(
                    f"no file on an SMB share can be called {part!r}",
                    why='a name there has none of " * : < > ? \\ | and does not end in a dot or a blank',
                    hint="rename it",
                )
        return f"smb://{self._uri.host}{path}"

    def entry(self, path: str) -> Entry | None:
        """Return what is at ``path``, links followed."""
        try:
            with self._client(path) as client:
                return _stat(client, self._unc(path))
        except NotThereError:
            return None

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder."""

        def scan(found: Any) -> list[Entry]:
            with found:
                return [_listed(one) for one in found]

        with self._client(path) as client:
            entries: list[Entry] = client.do("scandir", self._unc(path), then=scan)
            return entries

    @contextlib.contextmanager
    def reader(self, path: str) -> Iterator[_File]:
        """Open a file; others may write, rename and remove it."""
        with self._client(path) as client, _opened(client, self._unc(path), "rb", "rwd") as file:
            yield file

    @contextlib.contextmanager
    def writer(self, path: str, *, new: bool) -> Iterator[_File]:
        """Open a file for writing, and have the server flush it at the end."""
        with self._client(path) as client, _opened(client, self._unc(path), "xb" if new else "r+b", "r") as file:
            yield file
            file.flush()

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it."""
        if path.strip("/").count("/"):  # a share is there or not
            with self._client(path) as client:
                client.do("makedirs", self._unc(path), exist_ok=True)

    def place(self, staged: str, path: str) -> None:
        """Give a file the name ``path`` and take ``staged`` from it; the server refuses a name that is taken."""
        with self._client(path) as client:
            client.place(self._unc(staged), self._unc(path))

    def replace(self, staged: str, path: str) -> None:
        """Rename ``staged`` to ``path``, in place of what is there."""
        with self._client(path) as client:
            client.rename(self._unc(staged), self._unc(path), replace=True)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with contextlib.suppress(NotThereError), self._client(path) as client:
            client.do("remove", self._unc(path))

    def remove_folder(self, path: str) -> None:
        """Remove a folder where it is empty."""
        with contextlib.suppress(NotThereError), self._client(path) as client:
            try:
                client.do("rmdir", self._unc(path))
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise

    def close(self) -> None:
        """Let go of connections, and say so to the server."""
        self._forget(polite=True)

    def _unc(self, path: str) -> str:
        """Return the name of ``path`` as Windows writes it."""
        self.address(path)
        parts = "\\".join(path.strip("/").split("/"))
        return rf"\\{self._host}\{parts}"

    @contextlib.contextmanager
    def _client(self, path: str) -> Iterator[SmbClient]:
        """Lend a connection until the block ends; what goes wrong in it is told as errors about ``path``."""
        address = self.address(path)
        with self._guard:
            client = self._idle.pop() if self._idle else None
        client = client or connect(self._uri, self._reach)
        usable = True
        try:
            yield client
        except Exception as error:
            meant = error if isinstance(error, Broken) else meaning(error, self._host, address)
            usable = not isinstance(meant, Broken)
            if meant is None or meant is error:
                raise
            raise meant from error
        except BaseException:  # Ctrl-C, or a reader that was given up: an answer may be on its way
            usable = False
            raise
        finally:
            if usable:
                with self._guard:
                    self._idle.append(client)
            else:
                client.close(polite=False)
                self._forget(polite=False)  # most likely they broke, too

    def _forget(self, *, polite: bool) -> None:
        """Close the idle connections."""
        with self._guard:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close(polite=polite)


class _File:
    """An open file."""

    def __init__(self, client: SmbClient, file: Any, entry: Entry) -> None:
        self.entry = entry
        self._client = client
        self._file = file

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""

        def read() -> bytes:
            self._file.seek(offset)
            return bytes(self._file.read(size))

        return self._client.within(read)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""

        def write() -> None:
            self._file.seek(offset)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

        self._client.within(write)

    def flush(self) -> None:
        """Have the server write it to its disk."""
        self._client.within(self._file.flush)


class SmbSource(ShareSource):
    """A file or a folder on an SMB share, as a `repro.data.sources.model.Source`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(SmbShare(uri, reach), uri.path)


class SmbTarget(ShareTarget):
    """A folder on an SMB share, as a `repro.data.sources.model.Target`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(SmbShare(uri, reach), uri.path)


@contextlib.contextmanager
def _opened(client: SmbClient, name: str, mode: str, others: str) -> Iterator[_File]:
    """Give an open file that ``others`` may (r)ead, (w)rite or (d)elete meanwhile."""
    file = client.do("open_file", name, mode=mode, buffering=0, share_access=others)
    try:
        yield _File(client, file, _stat(client, name))
    finally:
        client.drop(file)


def _stat(client: SmbClient, name: str) -> Entry:
    """Return what is at ``name``, links followed."""
    said = client.do("stat", name)
    kind = "folder" if stat.S_ISDIR(said.st_mode) else "file" if stat.S_ISREG(said.st_mode) else "other"
    etag = _etag(said.st_size, said.st_mtime_ns // 1000, said.st_chgtime_ns // 1000)
    return Entry(name.rpartition("\\")[2], kind, said.st_size, etag, str(said.st_ino))


def _listed(found: Any) -> Entry:
    """Return what a listing says of a name, in the words of `SmbShare.entry`."""
    said = found.smb_info
    kind = (
        "link" if said.file_attributes & _REPARSE_POINT else "folder" if said.file_attributes & _DIRECTORY else "file"
    )
    modified, changed = ((time - _EPOCH) // _MICROSECOND for time in (said.last_write_time, said.change_time))
    return Entry(found.name, kind, said.end_of_file, _etag(said.end_of_file, modified, changed), str(said.file_id))


def _etag(size: int, modified: int, changed: int) -> str:
    """Return an etag; the times are in microseconds, for the client rounds those of a listing."""
    return f"{size}-{modified}-{changed}"
