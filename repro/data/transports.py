"""Bytes from outside: http(s):// and file:// addresses, with retries, resumed where the connection broke.

A `Transports` is built from the environment variables that it may honour (``http_proxy``, ``https_proxy``,
``all_proxy``, ``no_proxy``, ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``) and is safe to use from many threads.
Nothing here knows what the bytes should be: who downloads compares digests.
"""

from __future__ import annotations

import os
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from repro.data.addresses import proxy_for, redacted, user
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import urllib3
    from urllib3.response import BaseHTTPResponse

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5
LONGEST_PAUSE = 60.0  # seconds between attempts, also where Retry-After asks for more
SMALL = 256 << 20  # bytes that `get` takes at most by default
_PIECE = 1 << 18  # bytes per read
_REDIRECTS = 5
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})


class NotThereError(FetchError):
    """The server was reached and says that it does not have what was asked for."""


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """An attempt failed in a way that may pass; ``pause`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Target(Protocol):
    """Takes the bytes of a download in order."""

    def write(self, data: bytes) -> object:
        """Take the next bytes."""

    def tell(self) -> int:
        """Return how many bytes it holds."""

    def restart(self) -> None:
        """Forget all bytes: the server begins again at the first one."""


class _Memory:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def tell(self) -> int:
        return len(self.data)

    def restart(self) -> None:
        self.data.clear()


class Transports:
    """Fetches from http, https and file addresses, honouring the proxies and CA bundle ``environ`` names.

    ``pause`` is the first pause between attempts, in seconds; it doubles with each.
    """

    def __init__(self, environ: Mapping[str, str], *, pause: float = 0.5) -> None:
        self._environ = dict(environ)
        self._pause = pause
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def get(self, url: str, *, limit: int = SMALL) -> bytes:
        """Return the bytes at ``url``; FetchError where they cannot be had or exceed ``limit`` bytes."""
        memory = _Memory()
        self.download(url, memory, limit=limit)
        return bytes(memory.data)

    def download(self, url: str, out: Target, *, size: int | None = None, limit: int | None = None) -> None:
        """Write the bytes at ``url`` to ``out``, continuing after the bytes it holds where the server can.

        Args:
            url: an http, https or file address.
            out: may hold the first bytes of an earlier, broken download.
            size: how many bytes there must be; another number is a FetchError.
            limit: how many bytes there may be.

        Raises:
            NotThereError: the server says 404 or 410; the file does not exist.
            FetchError: anything else, after `ATTEMPTS` attempts where it may pass.
        """
        most = size if size is not None else limit
        scheme = urlsplit(url).scheme
        if scheme == "file":
            _copy(url, out, size, most)
            return
        if scheme not in ("http", "https"):
            raise FetchError(
                f"cannot fetch {redacted(url)}",
                why=f"{scheme or 'no scheme'}: not an address that is known here",
                hint="http://, https:// and file:// addresses can be fetched",
            )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._attempt(url, out, size, most)
            except _Broken as broken:
                if attempt == ATTEMPTS:
                    raise FetchError(
                        f"cannot fetch {redacted(url)}", why=f"{broken} (tried {ATTEMPTS} times)"
                    ) from broken
                pause = self._pause * 2 ** (attempt - 1) if broken.pause is None else broken.pause
                time.sleep(min(pause, LONGEST_PAUSE))
            else:
                return

    def _attempt(self, url: str, out: Target, size: int | None, most: int | None) -> None:
        """Ask once, from the byte at which ``out`` ends."""
        start = out.tell()
        if size is not None and start >= size:
            out.restart()
            start = 0
        response = self._open(url, start)
        try:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                out.restart()
                raise _Broken("the server cannot continue where the connection broke", pause=0.0)
            resumed = response.status == HTTPStatus.PARTIAL_CONTENT
            # A server may ignore Range and send all of it (RFC 9110, 14.2), or send another range.
            if start and not (resumed and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                out.restart()
                if resumed:
                    raise _Broken("the server sent another part of the file than asked for", pause=0.0)
            for piece in _body(response, url):
                if most is not None and out.tell() + len(piece) > most:
                    raise FetchError(f"cannot fetch {redacted(url)}", why=f"more than the {most} bytes expected came")
                out.write(piece)
        finally:
            # What was not read cannot be skipped cheaply: such a connection is closed, a finished one kept.
            response.release_conn() if response.closed else response.close()
        if size is not None and out.tell() < size:
            out_size = out.tell()
            raise _Broken(f"truncated: {out_size} of {size} bytes came")

    def _open(self, url: str, start: int) -> BaseHTTPResponse:
        """Return the answer whose body is to be read; its status is 200, 206 or 416."""
        import urllib3  # noqa: PLC0415 - 60 ms that only a download pays

        headers = {"Accept-Encoding": "identity", "User-Agent": "repro"}
        if start:
            headers["Range"] = f"bytes={start}-"
        current = url
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(current)
            name = user(current)
            sent = headers | (dict(urllib3.util.make_headers(basic_auth=name)) if name else {})
            try:
                response = self._pool(current).request(
                    "GET",
                    redacted(current),
                    headers=sent,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
                )
            except urllib3.exceptions.HTTPError as error:
                raise _plain(error, current) from error
            if response.status not in _MOVED:
                _check_status(response, current)
                return response
            response.close()
            current = urljoin(current, response.headers.get("Location", ""))
            target = urlsplit(current).scheme
            if target not in ("http", "https") or (parts.scheme == "https" and target == "http"):
                raise FetchError(
                    f"cannot fetch {redacted(url)}",
                    why=f"it leads to {redacted(current)}, which is not followed",
                )
        raise FetchError(f"cannot fetch {redacted(url)}", why=f"more than {_REDIRECTS} redirections")

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connection pool for ``url``: a proxy's, or the one for direct connections."""
        import urllib3  # noqa: PLC0415

        proxy = proxy_for(url, self._environ)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                bundle = self._environ.get("SSL_CERT_FILE") or self._environ.get("REQUESTS_CA_BUNDLE") or None
                if bundle is not None and not os.path.isfile(bundle):
                    raise FetchError(f"the CA bundle {bundle} is not there", hint="correct or unset SSL_CERT_FILE")
                try:
                    if proxy:
                        headers = urllib3.util.make_headers(proxy_basic_auth=user(proxy))
                        pool = urllib3.ProxyManager(redacted(proxy), maxsize=16, proxy_headers=headers, ca_certs=bundle)
                    else:
                        pool = urllib3.PoolManager(maxsize=16, ca_certs=bundle)
                except urllib3.exceptions.HTTPError as error:
                    raise FetchError(
                        f"the proxy {redacted(proxy)} cannot be used",
                        why=str(error),
                        hint="http:// and https:// proxies work",
                    ) from error
                self._pools[proxy] = pool
            return pool


def _body(response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the bytes as the server stores them; `_Broken` when the connection ends too early."""
    import urllib3  # noqa: PLC0415

    try:
        yield from response.stream(_PIECE, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise _Broken(f"the connection to {urlsplit(url).hostname} broke") from error


def _check_status(response: BaseHTTPResponse, url: str) -> None:
    status = response.status
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        return
    response.close()
    name = (
        HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else response.reason or "unknown status"
    )
    what = f"cannot fetch {redacted(url)}"
    if status in _TRY_AGAIN:
        raise _Broken(f"the server answered {status} {name}", pause=_retry_after(response.headers.get("Retry-After")))
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotThereError(what, why=f"the server does not have it ({status} {name})")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        raise FetchError(what, why=f"access was denied ({status} {name})")
    raise FetchError(what, why=f"the server answered {status} {name}")


def _retry_after(value: str | None) -> float | None:
    """Return the pause that a Retry-After header asks for (RFC 9110, 10.2.3), in seconds."""
    if value is None:
        return None
    import urllib3  # noqa: PLC0415

    try:
        return urllib3.Retry().parse_retry_after(value)
    except urllib3.exceptions.InvalidHeader:
        return None


def _plain(error: urllib3.exceptions.HTTPError, url: str) -> _Broken | FetchError:
    """Return urllib3's error in plain words; a FetchError where another attempt cannot help."""
    from urllib3 import exceptions  # noqa: PLC0415

    host = urlsplit(url).hostname
    match error:
        case exceptions.SSLError():
            return FetchError(
                f"cannot fetch {redacted(url)}",
                why=f"the certificate of {host} was not accepted: {error}",
                hint="behind a proxy that inspects TLS, name its CA bundle in SSL_CERT_FILE",
            )
        case exceptions.LocationValueError() | exceptions.LocationParseError():
            return FetchError(f"cannot fetch {redacted(url)}", why="not a valid address")
        case exceptions.ProxyError():
            return _Broken(f"the proxy for {host} cannot be used: {error.original_error}")
        case exceptions.NameResolutionError():
            return _Broken(f"the host {host} is not known here: is the network up?")
        case exceptions.NewConnectionError():
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
            return _Broken(f"cannot connect to {host}: {reason or error}")
        case exceptions.ConnectTimeoutError() | exceptions.ReadTimeoutError():
            return _Broken(f"no answer from {host} in time")
        case _:
            return _Broken(f"the connection to {host} broke: {error}")


def _copy(url: str, out: Target, size: int | None, most: int | None) -> None:
    """Write a local file to ``out``."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"cannot fetch {url}", why=f"file: addresses name files of this host, not of {parts.netloc}")
    out.restart()
    try:
        with open(unquote(parts.path), "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                if most is not None and out.tell() + len(piece) > most:
                    raise FetchError(f"cannot fetch {url}", why=f"it has more than the {most} bytes expected")
                out.write(piece)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"cannot fetch {url}", why="there is no such file") from error
    except OSError as error:
        raise FetchError(f"cannot fetch {url}", why=error.strerror) from error
    if size is not None and out.tell() < size:
        raise FetchError(f"cannot fetch {url}", why=f"truncated: it has {out.tell()} of {size} bytes")
