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
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from repro.data.addresses import proxy_for, redacted, user
from repro.data.answers import PIECE, Broken, NotThereError, UnreachableError, body, check_status, plain
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import urllib3
    from urllib3.response import BaseHTTPResponse

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 60.0  # seconds without a byte
ATTEMPTS = 5
LONGEST_PAUSE = 60.0  # seconds between attempts, also where Retry-After asks for more
SMALL = 256 << 20  # bytes that `get` takes at most by default
_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})


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

    ``pause`` is the first pause between attempts, in seconds; it doubles with each. ``timeout`` is how many seconds a
    server may be silent.
    """

    def __init__(self, environ: Mapping[str, str], *, pause: float = 0.5, timeout: float = READ_TIMEOUT) -> None:
        self._environ = dict(environ)
        self._pause = pause
        self._timeout = timeout
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def get(self, url: str, *, limit: int = SMALL) -> bytes:
        """Return the bytes at ``url``; FetchError where they cannot be had or exceed ``limit`` bytes."""
        memory = _Memory()
        self.download(url, memory, limit=limit)
        return bytes(memory.data)

    def download(self, url: str, out: Target, *, size: int | None = None, limit: int | None = None) -> str | None:
        """Write the bytes at ``url`` to ``out``, continuing after the bytes it holds where the server can.

        Returns the server's Last-Modified, as it spells it; None where it does not say.

        Args:
            url: an http, https or file address.
            out: may hold the first bytes of an earlier, broken download.
            size: how many bytes there must be; another number is a FetchError.
            limit: how many bytes there may be.

        Raises:
            NotThereError: the server says 404 or 410; the file does not exist.
            UnreachableError: `ATTEMPTS` attempts failed in ways that may pass.
            FetchError: anything else.
        """
        most = size if size is not None else limit
        scheme = urlsplit(url).scheme
        if scheme == "file":
            _copy(url, out, size, most)
            return None
        if scheme not in ("http", "https"):
            raise FetchError(
                f"cannot fetch {redacted(url)}",
                why=f"{scheme or 'no scheme'}: not an address that is known here",
                hint="http://, https:// and file:// addresses can be fetched",
            )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(url, out, size, most)
            except Broken as broken:
                if attempt == ATTEMPTS:
                    raise UnreachableError(
                        f"cannot fetch {redacted(url)}", why=f"{broken} (tried {ATTEMPTS} times)"
                    ) from broken
                pause = self._pause * 2 ** (attempt - 1) if broken.pause is None else broken.pause
                time.sleep(min(pause, LONGEST_PAUSE))
        raise AssertionError("the last attempt returns or raises")

    def has(self, url: str) -> bool:
        """Return whether there is a file at ``url``, without fetching it; asked once.

        Raises:
            UnreachableError: there was no answer, or one that says to come again.
            FetchError: the answer was neither yes nor no.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            return os.path.isfile(unquote(parts.path))
        try:
            self.ask(url, method="HEAD")[0].close()
        except NotThereError:
            return False
        except Broken as broken:
            raise UnreachableError(f"cannot ask for {redacted(url)}", why=str(broken)) from broken
        return True

    def _attempt(self, url: str, out: Target, size: int | None, most: int | None) -> str | None:
        """Ask once, from the byte at which ``out`` ends; return Last-Modified."""
        try:
            return receive(url, out, lambda start: self.ask(url, start)[0], size, most)
        except OverflowError as error:
            raise FetchError(f"cannot fetch {redacted(url)}", why=str(error)) from error

    def ask(
        self,
        url: str,
        start: int = 0,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        login: str | None = None,
    ) -> tuple[BaseHTTPResponse, str]:
        """Ask once, following redirections; return the answer, of status 200, 206 or 416, and the address that gave it.

        The body is still to be read, and the answer to be closed.

        Args:
            url: an http or https address.
            start: the byte from which on the body is asked for; a server may send all of it nevertheless (200).
            method: GET or HEAD.
            headers: more headers of the request.
            login: ``name:password`` for the server at ``url``; no other server gets it, wherever it leads. None: as
                ``url`` holds it.

        Raises:
            NotThereError, DeniedError, FetchError, Broken: as `repro.data.answers.check_status` and `plain` say.
        """
        import urllib3  # noqa: PLC0415 - 60 ms that only a download pays

        wanted = {"Accept-Encoding": "identity", "User-Agent": "repro", **(headers or {})}
        if start:
            wanted["Range"] = f"bytes={start}-"
        current = url
        for _ in range(_REDIRECTS + 1):
            name = login if login is not None and _server(current) == _server(url) else user(current)
            sent = wanted | (dict(urllib3.util.make_headers(basic_auth=name)) if name else {})
            try:
                response = self._pool(current).request(
                    method,
                    redacted(current),
                    headers=sent,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                    timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, self._timeout), read=self._timeout),
                )
            except urllib3.exceptions.HTTPError as error:
                raise plain(error, current, proxy_for(current, self._environ)) from error
            if response.status not in _MOVED:
                check_status(response, current)
                return response, redacted(current)
            response.close()
            secure = urlsplit(current).scheme == "https"
            current = urljoin(current, response.headers.get("Location", ""))
            target = urlsplit(current).scheme
            if target not in ("http", "https") or (secure and target == "http"):
                raise FetchError(
                    f"cannot fetch {redacted(url)}",
                    why=f"it leads to {redacted(current)}, which is not followed",
                )
        raise FetchError(f"cannot fetch {redacted(url)}", why=f"more than {_REDIRECTS} redirections")

    def close(self) -> None:
        """Let go of all connections; idempotent."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connection pool for ``url``: a proxy's, or the one for direct connections."""
        proxy = proxy_for(url, self._environ)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                bundle = self._environ.get("SSL_CERT_FILE") or self._environ.get("REQUESTS_CA_BUNDLE") or None
                if bundle is not None and not os.path.isfile(bundle):
                    raise FetchError(f"the CA bundle {bundle} is not there", hint="correct or unset SSL_CERT_FILE")
                pool = make_pool(proxy, ca_certs=bundle)
                self._pools[proxy] = pool
            return pool


def _server(url: str) -> tuple[str, str | None, int | None]:
    """Return what makes a server the same: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def make_pool(proxy: str, **settings: Any) -> urllib3.PoolManager:
    """Return a pool of connections through ``proxy``, or of direct ones where it is empty.

    FetchError where the proxy's address cannot be used. ``settings`` are urllib3's, for the connections' TLS.
    """
    import urllib3  # noqa: PLC0415

    if not proxy:
        return urllib3.PoolManager(maxsize=16, **settings)
    try:
        headers = urllib3.util.make_headers(proxy_basic_auth=user(proxy))
        return urllib3.ProxyManager(redacted(proxy), maxsize=16, proxy_headers=headers, **settings)
    except urllib3.exceptions.HTTPError as error:
        raise FetchError(
            f"the proxy {redacted(proxy)} cannot be used", why=str(error), hint="http:// and https:// proxies work"
        ) from error


def receive(
    url: str, out: Target, ask: Callable[[int], BaseHTTPResponse], size: int | None, most: int | None
) -> str | None:
    """Write the rest of what ``ask`` gets to ``out``, once; return the server's Last-Modified.

    Args:
        url: where the bytes are from, for messages.
        out: what it holds is continued where the server can, else forgotten.
        ask: returns the answer to a request for the bytes from an offset; its status is 200, 206 or 416.
        size: how many bytes there must be.
        most: how many bytes there may be.

    Raises:
        Broken: not all came; ``out`` has what did.
        OverflowError: more came.
    """
    start = out.tell()
    if size is not None and start >= size:
        out.restart()
        start = 0
    response = ask(start)
    try:
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            out.restart()
            raise Broken("the server cannot continue where the connection broke", pause=0.0)
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        # A server may ignore Range and send all of it (RFC 9110, 14.2), or send another range.
        if start and not (resumed and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
            out.restart()
            if resumed:
                raise Broken("the server sent another part of the file than asked for", pause=0.0)
        for piece in body(response, url):
            if most is not None and out.tell() + len(piece) > most:
                raise OverflowError(f"more than the {most} bytes expected came")
            out.write(piece)
    finally:
        # What was not read cannot be skipped cheaply: such a connection is closed, a finished one kept.
        response.release_conn() if response.closed else response.close()
    if size is not None and out.tell() < size:
        raise Broken(f"truncated: {out.tell()} of {size} bytes came")
    return response.headers.get("Last-Modified")


def _copy(url: str, out: Target, size: int | None, most: int | None) -> None:
    """Write a local file to ``out``."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"cannot fetch {url}", why=f"file: addresses name files of this host, not of {parts.netloc}")
    out.restart()
    try:
        with open(unquote(parts.path), "rb", buffering=0) as file:
            while piece := file.read(PIECE):
                if most is not None and out.tell() + len(piece) > most:
                    raise FetchError(f"cannot fetch {url}", why=f"it has more than the {most} bytes expected")
                out.write(piece)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThereError(f"cannot fetch {url}", why="there is no such file") from error
    except OSError as error:
        raise FetchError(f"cannot fetch {url}", why=error.strerror) from error
    if size is not None and out.tell() < size:
        raise FetchError(f"cannot fetch {url}", why=f"truncated: it has {out.tell()} of {size} bytes")
