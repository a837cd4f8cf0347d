"""Connections to a registry, and to the servers that it sends us to: TLS, proxies, timeouts, one request at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from repro.data.addresses import proxy_for, redacted
from repro.data.answers import Broken, body, plain
from repro.data.transports import CONNECT_TIMEOUT, READ_TIMEOUT, make_pool
from repro.dataclass import dataclass
from repro.errors import FetchError, Interrupted
from repro.names import API_HOSTS
from repro.registry.answers import LyingError
from repro.registry.settings import lines_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import urllib3
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import BaseHTTPResponse

    from repro.registry.settings import Settings, Trust

Body: TypeAlias = "bytes | Callable[[], Iterator[bytes]] | None"
_NAMES = {host: name for name, host in API_HOSTS.items()}
# What OpenSSL calls an answer that is no TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")


_DISMISSED = 64 << 10  # bytes that are cheaper to read than a new connection is to make
MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient we are, in seconds: to connect, without a byte, first pause, longest pause between attempts.

    ``attempts`` that bring nothing are made before an error is final.
    """

    connect: float = CONNECT_TIMEOUT
    read: float = READ_TIMEOUT
    pause: float = 0.5
    longest_pause: float = 60.0
    attempts: int = 5

    @classmethod
    def of(cls, trust: Trust) -> Timing:
        """Return how patient the user wants us to be with a registry."""
        usual = cls()
        read = usual.read if trust.timeout is None else trust.timeout
        attempts = usual.attempts if trust.attempts is None else trust.attempts
        return cls(connect=min(usual.connect, read), read=read, attempts=attempts)


def origin(url: str) -> tuple[str, str, int]:
    """Return what Authorization is bound to: scheme, host and port (RFC 6454, 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def check_address(url: str, what: str) -> None:
    """Return where ``url`` is one of a server; FetchError for any other kind that a server may have sent us."""
    parts = urlsplit(url)
    try:
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        known = False
    if not known:
        raise FetchError(what, why=f"the registry leads to {redacted(url)[:200]!r}, which is not followed")


class Connections:
    """Connections for one registry, safe to use from many threads."""

    def __init__(self, host: str, settings: Settings, environ: Mapping[str, str], timing: Timing) -> None:
        self.timing = timing
        self._host = host
        self._settings = settings
        self._environ = dict(environ)
        self._trust = settings.of(host)
        self._pools: dict[tuple[str, str, str], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.ended = threading.Event()
        scheme = "http" if self._trust.insecure else "https"
        self.base = f"{scheme}://{API_HOSTS.get(host, host)}"

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()
            self._pools.clear()

    def abort(self) -> None:
        """End requests under way in other threads, and all that would follow: each raises `Broken` or Interrupted.

        Who waits for a silent server notices at once, and not when its patience ends.
        """
        self.ended.set()
        with self._lock:
            opened = list(self._sockets)
        for one in opened:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(one, socket.SHUT_RDWR)  # not TLS's own, which would wait for the server

    def check(self) -> None:
        """Raise Interrupted after `abort`."""
        if self.ended.is_set():
            raise Interrupted("what a registry was asked for is not wanted any more")

    def may_be_plain(self, url: str) -> bool:
        """Return whether ``url`` may be asked: over TLS always, without it where the user said so of either host."""
        if urlsplit(url).scheme == "https":
            return True
        return self._trust.insecure or self._settings.of(_host_of(url)).insecure

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Body = None,
        *,
        what: str,
        patience: float | None = None,
    ) -> BaseHTTPResponse:
        """Return the answer to one request, its body unread, whatever its status; redirections are not followed.

        Args:
            method: of HTTP.
            url: an http or https address.
            headers: sent as they are, beside ours.
            content: the body: bytes, or a function that gives them piece by piece (``headers`` say how many).
            what: what cannot be done if this fails, for messages.
            patience: seconds without a byte; `Timing.read` by default.

        Raises:
            Broken: it failed in a way that may pass.
            FetchError: it failed for good: the certificate, the proxy's or the server's address.
        """
        import urllib3  # noqa: PLC0415 - 60 ms that only a command with a registry pays

        self.check()
        timeout = urllib3.Timeout(connect=self.timing.connect, read=patience or self.timing.read)
        try:
            return self._pool(url).request(
                method,
                url,
                body=content() if callable(content) else content,
                headers={"Accept-Encoding": "identity", "User-Agent": "repro", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=timeout,
            )
        except urllib3.exceptions.SSLError as error:
            raise self._tls_failure(error, url, what) from error
        except urllib3.exceptions.HTTPError as error:
            failure = plain(error, url, proxy_for(url, self._environ))
            if isinstance(failure, FetchError):
                failure.message = what
            raise failure from error

    def _tls_failure(self, error: urllib3.exceptions.SSLError, url: str, what: str) -> FetchError | Broken:
        """Return what a failure of TLS means, with the lines for registries.toml where those help."""
        host = _host_of(url)
        cause = error.args[0] if error.args else None
        reason = getattr(cause, "reason", None) or str(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"the certificate of {host} was not accepted: {cause.verify_message}"
            line, condition = 'ca = "PATH of the authority\'s certificate"', "if you know who signed it"
        elif any(sign in str(reason) for sign in _NO_TLS):
            why = f"{host} does not speak TLS but, it seems, plain HTTP"
            line, condition = "insecure = true", "if nobody can listen in between"
        else:
            return Broken(f"TLS with {host} failed: {reason}")
        return FetchError(what, why=why, hint=f"{condition}, write to {self._settings.file}:{lines_for(host, line)}")

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the pool for ``url``: one for each host's TLS and proxy."""
        host = _host_of(url)
        proxy = proxy_for(url, self._environ)
        key = (urlsplit(url).scheme, host, proxy)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                context = None if urlsplit(url).scheme == "http" else self._context(host)
                pool = self._pools[key] = make_pool(proxy, ssl_context=context)
                pool.pool_classes_by_scheme = _watched(pool.pool_classes_by_scheme, self._opened)
            return pool

    def _opened(self, opened: object) -> None:
        """Note a socket, for `abort`; TLS within the TLS of a proxy is none."""
        if isinstance(opened, socket.socket):
            with self._lock:
                self._sockets.add(opened)
        self.check()

    def _context(self, host: str) -> ssl.SSLContext:
        """Return how a server proves itself: to the system's authorities, the host's own and the registry's.

        A registry's own authority counts for the servers that it sends us to: who holds it could answer for them.
        """
        bundle = self._environ.get("SSL_CERT_FILE") or self._environ.get("REQUESTS_CA_BUNDLE") or None
        if bundle is not None and not os.path.isfile(bundle):
            raise FetchError(f"the CA bundle {bundle} is not there", hint="correct or unset SSL_CERT_FILE")
        context = ssl.create_default_context(cafile=bundle)
        trust = self._settings.of(host)
        authorities = sorted({*trust.authorities, *self._trust.authorities})
        if authorities:  # a lab's own seldom writes certificates with all that RFC 5280 demands
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        for file in authorities:
            with _usable(file):
                context.load_verify_locations(file)
        for certificate, key in trust.clients:
            with _usable(certificate):
                context.load_cert_chain(certificate, key)
        if not trust.verify:
            import urllib3  # noqa: PLC0415

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user said so, in writing
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _watched(
    pools: Mapping[str, type[HTTPConnectionPool]], opened: Callable[[object], None]
) -> dict[str, type[HTTPConnectionPool]]:
    """Return classes of pools by scheme whose connections tell ``opened`` their socket."""

    def watched(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        connection: Any = pool.ConnectionCls

        def connect(self: Any) -> None:
            connection.connect(self)
            opened(self.sock)

        made = type(connection.__name__, (connection,), {"connect": connect})
        return type(pool.__name__, (pool,), {"ConnectionCls": made})

    return {scheme: watched(pool) for scheme, pool in pools.items()}


@contextlib.contextmanager
def _usable(file: str) -> Iterator[None]:
    """Turn what OpenSSL says of a file into an error that names it."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise FetchError(f"the certificate {file} cannot be used", why=error.strerror or str(error)) from error


def _host_of(url: str) -> str:
    """Return the registry, as settings name it, that ``url`` is an address of."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    return _NAMES.get(host, host)


def small_body(response: BaseHTTPResponse, url: str, limit: int, what: str) -> bytes:
    """Return all of a body of at most ``limit`` bytes; LyingError for more, `Broken` where it ends early."""
    data = bytearray()
    try:
        for piece in body(response, url):
            data += piece
            if len(data) > limit:
                raise LyingError(what, why=f"more than {limit} bytes came from {_host_of(url)}")
    finally:
        response.release_conn() if response.closed else response.close()
    return bytes(data)


def dismiss(response: BaseHTTPResponse) -> None:
    """Have done with an answer whose body says nothing; its connection is kept where the body is short."""
    import urllib3  # noqa: PLC0415

    with contextlib.suppress(urllib3.exceptions.HTTPError):
        response.read(_DISMISSED, decode_content=False)
    response.release_conn() if response.closed else response.close()
