"""Files and folders of an SSH server, by SFTP (draft-ietf-secsh-filexfer-02, and what OpenSSH adds to it)."""

from __future__ import annotations

import contextlib
import posixpath
import stat
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import paramiko
from paramiko import sftp as protocol

from repro.data.answers import Broken, NotThereError
from repro.data.sources import ssh
from repro.data.sources.model import ExistsError
from repro.data.sources.share_publishing import ShareTarget
from repro.data.sources.shares import STAGING, Entry, ShareSource, failure
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.data.sources.model import Reach
    from repro.names import DataUri

_PIECE = 1 << 15  # bytes a request: what every server must take (draft, 3)
_UNDER_WAY = 64  # requests: with them 2 MiB, the window of an SSH channel
_SETTLED = 3600  # seconds: the protocol has whole seconds of a clock that it does not tell, and that may be wrong
_CHANNELS = 8  # of one connection; OpenSSH allows 10 (MaxSessions)
_HOME = "/~"  # where paths begin that are relative to the user's home


class SftpSource(ShareSource):
    """The file or the folder at an sftp address, as a `repro.data.sources.model.Source`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(_Sftp(uri, reach), _root(uri))


class SftpTarget(ShareTarget):
    """A folder at an sftp address, as a `repro.data.sources.model.Target`."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        super().__init__(_Sftp(uri, reach), _root(uri))


def _root(uri: DataUri) -> str:
    """Return the path on the server; one from the user's home is relative, as the server takes it."""
    if uri.path == _HOME or uri.path.startswith(f"{_HOME}/"):
        return f".{uri.path.removeprefix(_HOME)}"
    return uri.path


class _Sftp:
    """The operations of `repro.data.sources.shares.Share` on a server, over connections that threads share."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        self._uri = uri
        self._lines = _Lines(uri, reach)

    def address(self, path: str) -> str:
        """Return the address of ``path``."""
        shown = path if path.startswith("/") else f"{_HOME}{path.removeprefix('.')}"
        user = f"{self._uri.user}@" if self._uri.user else ""
        return f"sftp://{user}{self._uri.host}{shown}"

    def entry(self, path: str) -> Entry | None:
        """Return what is at ``path``, links followed."""
        try:
            with self._client(path) as client:
                return _entry(path, posixpath.basename(path), client.stat(path))
        except NotThereError:
            return None

    def entries(self, path: str) -> list[Entry]:
        """Return what is in a folder, links as such."""
        with self._client(path) as client:
            return [_entry(f"{path}/{one.filename}", one.filename, one) for one in client.listdir_attr(path)]

    @contextlib.contextmanager
    def reader(self, path: str) -> Iterator[_Reader]:
        """Open a file; it is read ahead of the one who reads."""
        with self._client(path) as client, client.open(path, "rb") as file:
            reader = _Reader(client, file.handle, _entry(path, posixpath.basename(path), file.stat()))
            yield reader
            reader.finish()

    @contextlib.contextmanager
    def writer(self, path: str, *, new: bool) -> Iterator[_Writer]:
        """Open a file for writing; each answer is awaited, and the bytes are synced where the server can."""
        with self._client(path) as client, client.open(path, "wbx" if new else "r+b") as file:
            writer = _Writer(client, file.handle)
            yield writer
            writer.finish()
            with contextlib.suppress(OSError):  # a server without fsync@openssh.com says that it is not known
                client._request(protocol.CMD_EXTENDED, "fsync@openssh.com", file.handle)  # noqa: SLF001 - no method has it

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it; only the user sees into one for staging."""
        missing = []
        while path not in ("", "/", "."):
            found = self.entry(path)
            if found is not None and found.kind == "folder":
                break
            if found is not None:
                raise ExistsError(f"{self.address(path)} is there already, and no folder")
            missing.append(path)
            path = posixpath.dirname(path)
        for folder in reversed(missing):
            self._make_folder(folder)

    def _make_folder(self, path: str) -> None:
        mode = 0o700 if posixpath.basename(path).startswith(STAGING) else 0o777
        try:
            with self._client(path) as client:
                client.mkdir(path, mode)
        except FetchError:  # the protocol does not say that it is there: another may have made it
            found = self.entry(path)
            if found is None or found.kind != "folder":
                raise

    def place(self, staged: str, path: str) -> None:
        """Rename a file; OpenSSH's rename is a link(2) and fails where the name is taken, as the draft asks (6.5)."""
        try:
            with self._client(path) as client:
                client.rename(staged, path)
        except FetchError as error:
            if self.entry(path) is not None and self.entry(staged) is not None:
                raise ExistsError(f"{self.address(path)} is there already") from error
            raise

    def replace(self, staged: str, path: str) -> None:
        """Rename ``staged`` to ``path``, in place of what is there (posix-rename@openssh.com)."""
        with self._client(path) as client:
            client.posix_rename(staged, path)

    def remove(self, path: str) -> None:
        """Remove a file; idempotent."""
        with contextlib.suppress(NotThereError), self._client(path) as client:
            client.remove(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder where it is empty; idempotent."""
        with contextlib.suppress(NotThereError), self._client(path) as client:
            client.rmdir(path)

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._lines.close()

    @contextlib.contextmanager
    def _client(self, path: str) -> Iterator[paramiko.SFTPClient]:
        """Give a channel until the block ends; what paramiko raises in it is said in our words."""
        with self._lines.channel() as client:
            try:
                yield client
            except (paramiko.SSHException, EOFError, OSError) as error:
                if not _only_refused(error, client):
                    raise Broken(f"the connection to {self._uri.host} broke: {ssh.reason(error)}") from error
                if isinstance(error, OSError) and error.errno:
                    raise failure(error, self.address(path)) from error
                why = f"the server says: {error}"
                hint = "see that there is room, and that you may do this there"  # SFTP 3 has no words for either
                raise FetchError(f"{self.address(path)} cannot be used", why=why, hint=hint) from error
            except UnicodeDecodeError as error:
                raise FetchError(f"{self.address(path)} has a name in it that is not UTF-8") from error


def _only_refused(error: Exception, client: paramiko.SFTPClient) -> bool:
    """Return whether an error is a server's answer, after which the connection goes on."""
    if isinstance(error, TimeoutError | ConnectionError | EOFError | paramiko.SSHException):
        return False
    channel = client.get_channel()
    return not channel.closed and bool(channel.get_transport().is_active())


class _Lines:
    """Connections to a server, and their idle channels. A thread has a channel for itself while it uses it."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        self._uri = uri
        self._reach = reach
        self._lock = threading.Lock()
        self._idle: list[paramiko.SFTPClient] = []
        self._open: dict[paramiko.Transport, int] = {}  # and the number of channels of each

    @contextlib.contextmanager
    def channel(self) -> Iterator[paramiko.SFTPClient]:
        """Give a channel until the block ends; after an error in it the channel is not used again."""
        client = self._take()
        try:
            yield client
        except NotThereError:
            self._give_back(client)
            raise
        except BaseException as error:
            self._drop(client, whole=isinstance(error, Broken))
            raise
        self._give_back(client)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            transports = list(self._open)
            self._open.clear()
            self._idle.clear()
        for transport in transports:
            transport.close()

    def _take(self) -> paramiko.SFTPClient:
        with self._lock:
            while self._idle:
                client = self._idle.pop()
                if _usable(client):
                    return client
                gone = client.get_channel().get_transport()
                if gone in self._open:  # else another thread dropped the connection that broke
                    self._open[gone] -= 1
            for transport in [one for one in self._open if not one.is_active()]:
                del self._open[transport]
            transport = next((one for one, count in self._open.items() if count < _CHANNELS), None)
            if transport is None:
                transport = ssh.connect(ssh.read_settings(self._uri.host, self._uri.user, self._reach), self._reach)
                self._open[transport] = 0
            self._open[transport] += 1
        try:
            client = paramiko.SFTPClient.from_transport(transport)
            client.get_channel().settimeout(self._reach.timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            with self._lock:
                self._open.pop(transport, None)
            transport.close()
            raise Broken(f"no SFTP channel to {self._uri.host}: {ssh.reason(error)}") from error
        return client

    def _give_back(self, client: paramiko.SFTPClient) -> None:
        with self._lock:
            if client.get_channel().get_transport() in self._open:
                self._idle.append(client)

    def _drop(self, client: paramiko.SFTPClient, *, whole: bool) -> None:
        """Close a channel, or the whole connection that broke."""
        transport = client.get_channel().get_transport()
        with self._lock:
            if whole:
                self._open.pop(transport, None)
            elif transport in self._open:
                self._open[transport] -= 1
        if whole:
            transport.close()
        else:
            client.close()


def _usable(client: paramiko.SFTPClient) -> bool:
    channel = client.get_channel()
    return not channel.closed and bool(channel.get_transport().is_active())


class _Requests:
    """Requests about one open file that are under way, answered in any order.

    paramiko reads ahead in a thread of its own, whose errors nobody hears, and does not look at the answers to writes
    that are under way; so this speaks to its channel directly.
    """

    def __init__(self, client: paramiko.SFTPClient, handle: bytes) -> None:
        self._client = client
        self._handle = handle
        self._answers: dict[int, tuple[int, paramiko.Message]] = {}
        self._numbers: deque[int] = deque()

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Take an answer: paramiko calls this."""
        self._answers[number] = (kind, message)

    def __len__(self) -> int:
        return len(self._numbers)

    def ask(self, kind: int, offset: int, what: int | bytes) -> None:
        """Send a request."""
        number = self._client._async_request(self, kind, self._handle, protocol.int64(offset), what)  # noqa: SLF001 - above
        self._numbers.append(number)

    def answer(self) -> bytes:
        """Return the data of the oldest request's answer, none at the file's end; OSError as the server says."""
        number = self._numbers.popleft()
        while number not in self._answers:
            self._client._read_response()  # noqa: SLF001 - see above
        kind, message = self._answers.pop(number)
        if kind == protocol.CMD_STATUS:
            with contextlib.suppress(EOFError):
                self._client._convert_status(message)  # noqa: SLF001 - see above
            return b""
        data: bytes = message.get_string()
        return data


class _Reader:
    """An open file that is read ahead as long as it is read in order."""

    def __init__(self, client: paramiko.SFTPClient, handle: bytes, entry: Entry) -> None:
        self.entry = entry
        self._requests = _Requests(client, handle)
        self._asked: deque[tuple[int, int]] = deque()  # offset and size of the requests under way
        self._at = 0  # offset of the next byte to be given
        self._next = 0  # offset of the next request
        self._rest = b""

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; none at the end."""
        if offset != self._at:
            self.finish()
            self._rest, self._at, self._next = b"", offset, offset
        found = bytearray()
        while len(found) < size and (piece := self._rest or self._piece()):
            taken = size - len(found)
            found += piece[:taken]
            self._rest = piece[taken:]
        self._at += len(found)
        return bytes(found)

    def finish(self) -> None:
        """Take the answers that are still to come."""
        while len(self._requests):
            self._requests.answer()
        self._asked.clear()

    def _piece(self) -> bytes:
        """Return the next bytes; none at the end."""
        while len(self._requests) < _UNDER_WAY and self._next < self.entry.size:
            size = min(_PIECE, self.entry.size - self._next)
            self._ask(size)
        if not self._asked:  # beyond the size that it had: it may have grown
            self._ask(_PIECE)
        offset, size = self._asked.popleft()
        data = self._requests.answer()
        if 0 < len(data) < size:  # a server may give less than asked for, also before the end
            self.finish()
            self._next = offset + len(data)
        return data

    def _ask(self, size: int) -> None:
        self._requests.ask(protocol.CMD_READ, self._next, size)
        self._asked.append((self._next, size))
        self._next += size


class _Writer:
    """A file that is written with many requests under way."""

    def __init__(self, client: paramiko.SFTPClient, handle: bytes) -> None:
        self._requests = _Requests(client, handle)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``; an error may be that of earlier bytes."""
        for start in range(0, len(data), _PIECE):
            if len(self._requests) >= _UNDER_WAY:
                self._requests.answer()
            self._requests.ask(protocol.CMD_WRITE, offset + start, data[start : start + _PIECE])

    def finish(self) -> None:
        """Take the answers that are still to come."""
        while len(self._requests):
            self._requests.answer()


def _entry(path: str, name: str, found: paramiko.SFTPAttributes) -> Entry:
    """Return what a server says of a name; a file has no identity, for the protocol has no number of it (draft, 5)."""
    mode = found.st_mode or 0
    kind = "other"
    if stat.S_ISREG(mode):
        kind = "file"
    elif stat.S_ISDIR(mode):
        kind = "folder"
    elif stat.S_ISLNK(mode):
        kind = "link"
    size, modified = found.st_size or 0, found.st_mtime or 0
    identity = path if kind == "folder" else ""
    return Entry(name, kind, size, f"{size}-{modified}", identity, settled=modified < time.time() - _SETTLED)
