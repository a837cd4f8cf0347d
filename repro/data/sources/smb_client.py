"""One connection to an SMB server, for one thread at a time, and what its errors mean.

The client (`smbprotocol`) shares a connection's credits (MS-SMB2 3.2.4.1.2) between threads without waiting for more:
a second thread's request may fail, or come back empty. It also waits without an end for a server that hangs.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import struct
import threading
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from repro.data.answers import Broken
from repro.data.credentials import smb_login
from repro.data.sources.model import DeniedError, ExistsError
from repro.data.sources.shares import failure
from repro.errors import FetchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.data.sources.model import Reach
    from repro.names import DataUri

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_PORT = 445
_DELETE = 0x10000  # MS-SMB2 2.2.13.1.1, DELETE
_LOGIN_HINT = "set username= and password= in ~/.smbcredentials (REPRO_SMB_CREDENTIALS), or a machine in ~/.netrc"
# MS-ERREF 2.3.1
_MEANINGS = {
    0xC0000034: errno.ENOENT,  # OBJECT_NAME_NOT_FOUND
    0xC000003A: errno.ENOENT,  # OBJECT_PATH_NOT_FOUND
    0xC000000F: errno.ENOENT,  # NO_SUCH_FILE
    0xC0000225: errno.ENOENT,  # NOT_FOUND
    0xC00000CC: errno.ENOENT,  # BAD_NETWORK_NAME
    0xC0000103: errno.ENOTDIR,  # NOT_A_DIRECTORY
    0xC00000BA: errno.EISDIR,  # FILE_IS_A_DIRECTORY
    0xC0000035: errno.EEXIST,  # OBJECT_NAME_COLLISION
    0xC0000101: errno.ENOTEMPTY,  # DIRECTORY_NOT_EMPTY
    0xC0000033: errno.EINVAL,  # OBJECT_NAME_INVALID
    0xC0000022: errno.EACCES,  # ACCESS_DENIED
    0xC00000CA: errno.EACCES,  # NETWORK_ACCESS_DENIED
    0xC0000056: errno.EACCES,  # DELETE_PENDING
    0xC0000061: errno.EACCES,  # PRIVILEGE_NOT_HELD
    0xC0000121: errno.EACCES,  # CANNOT_DELETE
    0xC00000A2: errno.EROFS,  # MEDIA_WRITE_PROTECTED
    0xC000007F: errno.ENOSPC,  # DISK_FULL
    0xC0000044: errno.EDQUOT,  # QUOTA_EXCEEDED
    0xC0000043: errno.EAGAIN,  # SHARING_VIOLATION
    0xC0000054: errno.EAGAIN,  # FILE_LOCK_CONFLICT
    0xC0000205: errno.EAGAIN,  # INSUFF_SERVER_RESOURCES
    0xC000009A: errno.EAGAIN,  # INSUFFICIENT_RESOURCES
    0xC0000466: errno.EAGAIN,  # SERVER_UNAVAILABLE
    0xC00000B5: errno.ETIMEDOUT,  # IO_TIMEOUT
    0xC0000203: errno.ESTALE,  # USER_SESSION_DELETED
    0xC000035C: errno.ESTALE,  # NETWORK_SESSION_EXPIRED
    0xC00000C9: errno.ESTALE,  # NETWORK_NAME_DELETED
    0xC0000128: errno.ESTALE,  # FILE_CLOSED
}
# NOT_SUPPORTED, INVALID_DEVICE_REQUEST, INVALID_INFO_CLASS, NOT_IMPLEMENTED, INVALID_PARAMETER
_NO_LINKS = frozenset({0xC00000BB, 0xC0000010, 0xC0000003, 0xC0000002, 0xC000000D})
_LOGIN_REFUSED = {
    0xC000006D: "unknown user or wrong password",
    0xC000006A: "wrong password",
    0xC0000064: "unknown user",
    0xC000006E: "the account is restricted",
    0xC0000071: "the password has expired",
    0xC0000072: "the account is disabled",
    0xC0000193: "the account has expired",
    0xC0000224: "the password must be changed",
    0xC0000234: "the account is locked",
}


class SmbClient:
    """A connection that is made, and on which the caller is logged in.

    Every operation raises the client's errors, which `meaning` explains, or TimeoutError; after an error that `meaning`
    calls `Broken` the connection is of no more use.
    """

    def __init__(self, host: str, timeout: float, settings: dict[str, Any]) -> None:
        self._host = host
        self._timeout = timeout
        self._settings = settings  # what each call of the library is given; its connection is in it
        self._silent = False

    @property
    def connections(self) -> list[Any]:
        """The library's connections: one, or none after `close`."""
        return list(self._settings["connection_cache"].values())

    def do(self, operation: str, *names: str, then: Callable[[Any], Any] | None = None, **options: Any) -> Any:
        """Return what an operation of the library returns, or what ``then`` makes of it."""
        import smbclient  # noqa: PLC0415 - an extra, and large

        function = getattr(smbclient, operation)

        def do() -> Any:
            result = function(*names, **options, **self._settings)
            return result if then is None else then(result)

        return self.within(do)

    def place(self, old: str, new: str) -> None:
        """Give a file another name within its share; the library's error where it is taken.

        By a hard link (MS-FSCC, FileLinkInformation): of two at once the file system refuses one. Samba's rename
        looks whether the name is taken, then replaces what is there. A server without hard links is asked to rename.
        """
        from smbprotocol.file_info import FileLinkInformation  # noqa: PLC0415 - an extra, and large

        try:
            self._set_name(old, new, FileLinkInformation(), replace=False)
        except Exception as error:
            if getattr(error, "status", 0) not in _NO_LINKS:
                raise
            self.rename(old, new, replace=False)
        else:
            self.do("remove", old)

    def rename(self, old: str, new: str, *, replace: bool) -> None:
        """Rename a file within its share, in one operation of the server (MS-FSCC, FileRenameInformation).

        The library's own would first open the file that is replaced for execution, which servers deny.
        """
        from smbprotocol.file_info import FileRenameInformation  # noqa: PLC0415 - an extra, and large

        self._set_name(old, new, FileRenameInformation(), replace=replace)

    def _set_name(self, old: str, new: str, wanted: Any, *, replace: bool) -> None:
        wanted["replace_if_exists"] = replace
        wanted["file_name"] = new.split("\\", 4)[4]
        options = {"mode": "rb", "buffering": 0, "share_access": "rwd", "desired_access": _DELETE}
        self.do("open_file", old, then=lambda file: _set(file, wanted), **options)

    def within(self, call: Callable[[], _T]) -> _T:
        """Return what ``call`` returns; TimeoutError where it takes longer than the silence that is borne.

        It has a thread of its own, which is left to itself then.
        """
        try:
            return _within(self._timeout, call)
        except TimeoutError:
            self._silent = True
            raise

    def drop(self, file: Any) -> None:
        """Close an open file, or forget it where the connection is gone."""
        try:
            if not self._silent:  # else it is not waited for once more
                self.within(file.close)
        except Exception:  # whatever the library says of a handle that nobody needs any more
            _LOG.debug("a file on %s could not be closed", self._host, exc_info=True)
        if not file.closed:
            file.fd = type(file.fd)(file.fd.tree_connect, file.fd.file_name)  # else it warns once it is collected

    def close(self, *, polite: bool = True) -> None:
        """Close the connection without waiting longer than for a moment; a ``polite`` end is told to the server."""
        _close(self._settings["connection_cache"], polite=polite)


def connect(uri: DataUri, reach: Reach) -> SmbClient:
    """Connect and log in: encrypted if that can be had, else signed.

    Raises:
        DeniedError: the login is refused, or the server neither encrypts nor signs.
        Broken: there is no such host, or it does not answer.
        UsageError: the library is not installed.
    """
    try:
        import smbclient  # noqa: PLC0415 - an extra, and large
        from smbprotocol import exceptions  # noqa: PLC0415 - as above
        from smbprotocol.connection import Connection  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UsageError(
            "smb:// addresses need a client", hint="pip install 'repro-workflow[smb]', or mount the share"
        ) from error
    for name in ("smbclient", "smbprotocol", "spnego"):  # what they say of a broken connection, we say
        logging.getLogger(name).addHandler(logging.NullHandler())
    host, port = host_and_port(uri.host)
    login = smb_login(reach.environ, uri.host, uri.user)
    cache: dict[str, Any] = {}
    settings = {
        "username": login.name if login else uri.user or None,
        "password": login.password if login else None,
        "port": port,
        "connection_timeout": reach.timeout,
        "connection_cache": cache,
        "encrypt": True,
    }

    def log_in() -> None:
        # Two connections with one GUID are one client to a server, which then has one process serve both.
        connection = Connection(uuid.uuid4(), host, port, require_signing=True)
        cache[f"{host.lower()}:{port}"] = connection  # where the library looks for one
        connection.connect(timeout=reach.timeout)
        settings["encrypt"] = True if connection.supports_encryption else None
        smbclient.register_session(host, **settings)

    try:
        _within(reach.timeout, log_in)
    except (exceptions.SMBAuthenticationError, exceptions.SMBResponseException) as error:
        _close(cache, polite=False)
        raise _refused(host, _LOGIN_REFUSED.get(getattr(error, "status", 0), "the login failed")) from error
    except (exceptions.SMBException, OSError, ValueError, *_garbled()) as error:
        _close(cache, polite=False)
        if "as a guest" in str(error):
            raise DeniedError(
                f"the SMB server {host} is not to be trusted with data",
                why="it takes us for a guest, and so neither encrypts nor signs what it sends",
                hint="log in as a user that it knows",
            ) from error
        raise Broken(f"cannot connect to {host}: {_reason(error)}") from error
    return SmbClient(host, reach.timeout, settings)


def meaning(error: Exception, host: str, address: str) -> Broken | FetchError | ExistsError | None:
    """Return what an error of the library means, which came up about ``address``; None for what is not its own."""
    from smbprotocol.exceptions import SMBException, SMBOSError, SMBResponseException  # noqa: PLC0415 - as above

    if not isinstance(error, SMBOSError | SMBResponseException):
        # no answer of the server, but the lack of one
        if isinstance(error, (SMBException, OSError, ValueError, *_garbled())):
            return Broken(f"the connection to {host} broke: {_reason(error)}")
        return None
    status = error.ntstatus if isinstance(error, SMBOSError) else error.status
    if status in _LOGIN_REFUSED:
        return _refused(host, _LOGIN_REFUSED[status])
    number = _MEANINGS.get(status, 0)
    return failure(OSError(number, os.strerror(number) if number else f"the server says 0x{status:08x}"), address)


def _refused(host: str, why: str) -> DeniedError:
    return DeniedError(f"the SMB server {host} refuses the login", why=why, hint=_LOGIN_HINT)


def _set(file: Any, wanted: Any) -> None:
    """Set information of an open file, and close it."""
    from smbprotocol.open import SMB2SetInfoRequest  # noqa: PLC0415 - an extra, and large

    request = SMB2SetInfoRequest()
    request["info_type"] = wanted.INFO_TYPE
    request["file_info_class"] = wanted.INFO_CLASS
    request["file_id"] = file.fd.file_id
    request["buffer"] = wanted
    tree = file.fd.tree_connect
    with file:
        connection = file.fd.connection
        connection.receive(connection.send(request, sid=tree.session.session_id, tid=tree.tree_connect_id))


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """Return what ``call`` returns, in a thread of its own; TimeoutError where it takes longer."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, name="smb", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
    return results[0]


def _close(cache: dict[str, Any], *, polite: bool) -> None:
    def close() -> None:
        for connection in list(cache.values()):
            with contextlib.suppress(Exception):
                connection.disconnect(close=polite)
        cache.clear()

    if cache:
        thread = threading.Thread(target=close, name="smb-close", daemon=True)
        thread.start()
        thread.join(1 if polite else 0.1)


def host_and_port(authority: str) -> tuple[str, int]:
    """Return the host without brackets, and the port; UsageError for what is no number."""
    found = re.fullmatch(r"\[?(.*?)\]?(?::(\d{1,5}))?", authority)
    if found is None or (":" in found[1] and not authority.startswith("[")):
        raise UsageError(f"not a host and a port: {authority!r}", hint="smb://host:445/share/path")
    return found[1], int(found[2] or _PORT)


def _garbled() -> tuple[type[Exception], ...]:
    """Return the classes of what is raised where what came is not what the server sealed and sent."""
    from cryptography.exceptions import InvalidSignature, InvalidTag  # noqa: PLC0415 - comes with the library

    return (InvalidSignature, InvalidTag, struct.error)


def _reason(error: Exception) -> str:
    """Return what the client says, in one line and without addresses."""
    if isinstance(error, _garbled()):
        return "what came was changed on its way"
    cause = error.__cause__ if isinstance(error, ValueError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error).partition("\n")[0]
