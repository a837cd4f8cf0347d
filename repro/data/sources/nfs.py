"""NFS 4.1 and 4.2 without a mount (`nfs4fs`, the extra ``nfs``): ``nfs://host[:port]/export/path``.

The path is that of the server's pseudo file system (RFC 8881 section 7.3). The caller is named by AUTH_SYS: the number
of its user and its group, which the server believes or not.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import DeniedError
from repro.data.sources.share_publishing import ShareTarget
from repro.data.sources.shares import Entry, ShareSource, failure
from repro.errors import FetchError, UsageError
from repro.runtime import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from repro.data.sources.model import Reach
    from repro.names import DataUri

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
_NOT_EMPTY = 66  # RFC 8881 section 15.1, NFS4ERR_NOTEMPTY: the client gives it as it came


class NfsShare:
    """The files of an NFS server, as a `repro.data.sources.shares.Share`.

    One session serves all threads. When it breaks it is of no more use, to anybody: the next call makes a new one.
    """

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        self._host = uri.host
        self._reach = reach
        self._caller = (reach.uid, reach.gid)
        self._guard = threading.Lock()
        self._open: Any = None

    def address(self, path: str) -> str:
        """Return the address of ``path``."""
        return f"nfs://{self._host}{path}"

    def entry(self, path: str) -> Entry | None:
        """Return what is at ``path``, links followed."""
        try:
            with self._session(path) as session:
                return _entry(session.info(path))
        except NotThereError:
            return None

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder."""
        with self._session(path) as session:
            return [_entry(said) for said in session.ls(path)]

    @contextlib.contextmanager
    def reader(self, path: str) -> Iterator[_File]:
        """Open a file; what it is, is asked after it was opened."""
        with self._session(path) as session, session.open(path, "rb", cache_type="none") as file:
            yield _File(file, _entry(session.info(path)))

    @contextlib.contextmanager
    def writer(self, path: str, *, new: bool) -> Iterator[_File]:
        """Open a file for writing; each write is on its way when it returns, and kept when the file is closed."""
        with self._session(path) as session, session.open(path, "xb" if new else "r+b") as file:
            yield _File(file, _entry(session.info(path)))

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it."""
        with self._session(path) as session:
            session.makedirs(path, exist_ok=True)

    def place(self, staged: str, path: str) -> None:
        """Give a file the name ``path`` by LINK (RFC 8881 section 18.9), which fails where there is one."""
        with self._session(path) as session:
            session.hardlink(staged, path)
            session.rm_file(staged)

    def replace(self, staged: str, path: str) -> None:
        """Rename ``staged`` to ``path``."""
        with self._session(path) as session:
            session.mv(staged, path)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._session(path) as session, contextlib.suppress(FileNotFoundError):
            session.rm_file(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder where it is empty."""
        with self._session(path) as session:
            try:
                session.rmdir(path)
            except OSError as error:
                if not isinstance(error, FileNotFoundError) and error.errno != _NOT_EMPTY:
                    raise

    def close(self) -> None:
        """Let go of the session."""
        with self._guard:
            session, self._open = self._open, None
        if session is not None:
            _let_go(session)

    @contextlib.contextmanager
    def _session(self, path: str) -> Iterator[Any]:
        """Give the session; what goes wrong while it is used is told as errors about ``path``."""
        session = self._connected()
        try:
            yield session
        except ConnectionError as error:
            self._drop(session)
            raise Broken(f"the connection to {self._host} broke") from error
        except OSError as error:
            raise failure(error, self.address(path)) from error
        except ValueError as error:
            if not session.closed:
                raise FetchError(f"{self.address(path)} cannot be used", why=str(error)) from error
            raise Broken(f"the connection to {self._host} broke") from error  # in another thread

    def _connected(self) -> Any:
        """Return the session; made where there is none. `Broken` where the server does not answer."""
        with self._guard:
            if self._open is None:
                self._open = self._connect()
            return self._open

    def _connect(self) -> Any:
        try:
            import nfs4fs  # noqa: PLC0415 - an extra, and large
        except ImportError as error:
            raise UsageError(
                "nfs:// addresses need a client", hint="pip install 'repro-workflow[nfs]', or mount the export"
            ) from error
        # an RPC is answered within this time or tried once more: together the silence that is borne
        wait = max(self._reach.timeout / 2, 0.5)

        def connect() -> Any:
            return nfs4fs.Nfs4FileSystem(
                host=self._host,
                auth="auth_sys",
                connect_timeout=wait,
                request_timeout=wait,
                auto_reconnect=False,
                use_listings_cache=False,
                skip_instance_cache=True,
            )

        try:
            return connect() if (os.geteuid(), os.getegid()) == self._caller else self._as_caller(connect)
        except (ConnectionError, TimeoutError) as error:
            raise Broken(f"cannot connect to {self._host}: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            raise FetchError(f"{self.address('/')} cannot be used", why=_reason(error)) from error

    def _as_caller(self, connect: Callable[[], Any]) -> Any:
        """Return what ``connect`` returns in a thread that has the caller's IDs.

        The client asks the kernel who it is when it connects, and the answer in a user namespace is 0.
        """

        def run() -> Any:
            try:
                syscalls.act_as(*self._caller)
            except OSError as error:
                raise DeniedError(
                    f"{self._host} would take {self._caller[0]}:{self._caller[1]} for {os.geteuid()}:{os.getegid()}",
                    why="NFS names the IDs of this process, which has not yours in its user namespace",
                    hint="mount the export (a mounted one is found by itself), or use REPRO_MODE=one",
                ) from error
            return connect()

        with ThreadPoolExecutor(1) as one:
            return one.submit(run).result()

    def _drop(self, session: Any) -> None:
        """Forget a session that broke."""
        with self._guard:
            if self._open is not session:
                return
            self._open = None
        _let_go(session)


class _File:
    """An open file; it stands for what the server had under its name, also when the name is another file's now."""

    def __init__(self, file: Any, entry: Entry) -> None:
        self.entry = entry
        self._file = file

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        self._file.seek(offset)
        return bytes(self._file.read(size))

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        self._file.seek(offset)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


class NfsSource(ShareSource):
    """A file or a folder on an NFS server, as a `repro.data.sources.model.Source`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(NfsShare(uri, reach), uri.path)


class NfsTarget(ShareTarget):
    """A folder on an NFS server, as a `repro.data.sources.model.Target`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(NfsShare(uri, reach), uri.path)


def _entry(said: Mapping[str, Any]) -> Entry:
    """Return the attributes of a file; ``change`` is another after every change (RFC 8881 section 5.8.1.4)."""
    size, mode = int(said["size"]), int(said["mode"])
    return Entry(
        name=str(said["name"]).rpartition("/")[2].replace("%25", "%"),  # the client escapes only that
        kind=_KINDS.get(stat.S_IFMT(mode), "other"),
        size=size,
        etag=f"{size}-{said['modified_ns']}-{said['change']}",
        identity=f"{said['fs_id']}-{said['fileid']}",
    )


def _let_go(session: Any) -> None:
    """Close a session without waiting: a server that is gone does not answer."""

    def close() -> None:
        with contextlib.suppress(OSError, ValueError):
            session.close()

    threading.Thread(target=close, name="nfs-close", daemon=True).start()


def _reason(error: Exception) -> str:
    """Return what the client says, without the address that it adds."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rpartition(": '")[0] or str(error)
