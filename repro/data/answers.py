"""What a server's answer, or the lack of one, means: bytes, an error that is final, or another attempt."""

from __future__ import annotations

import http.client
import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from repro.data.addresses import redacted
from repro.data.sources.model import DeniedError
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import urllib3
    from urllib3.response import BaseHTTPResponse

PIECE = 1 << 18  # bytes per read
WANTS_LOGIN = "wants a user name and a password, or others"
PROXY_LOGIN = "name them in the proxy's variable: http://USER:PASSWORD@HOST:PORT"
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class NotThereError(FetchError):
    """The server was reached and says that it does not have what was asked for."""


class UnreachableError(FetchError):
    """No attempt got a whole answer: the network, a proxy or the server is down."""


class Broken(Exception):  # noqa: N818 - caught where attempts are counted
    """An attempt failed in a way that may pass; ``pause`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def body(response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """Yield the bytes as the server stores them; `Broken` when the connection ends too early."""
    import urllib3  # noqa: PLC0415

    try:
        yield from response.stream(PIECE, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Broken(f"the connection to {urlsplit(url).hostname} broke") from error


def check_status(response: BaseHTTPResponse, url: str) -> None:
    """Return where the body is what was asked for (or 416); else close it and raise FetchError or `Broken`."""
    status = response.status
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        return
    response.close()
    name = (
        HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else response.reason or "unknown status"
    )
    what = f"cannot fetch {redacted(url)}"
    if status in TRY_AGAIN:
        raise Broken(f"the server answered {status} {name}", pause=retry_after(response.headers.get("Retry-After")))
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise NotThereError(what, why=f"the server does not have it ({status} {name})")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        raise DeniedError(what, why=f"access was denied ({status} {name})")
    raise FetchError(what, why=f"the server answered {status} {name}")


def retry_after(value: str | None) -> float | None:
    """Return the pause that a Retry-After header asks for (RFC 9110, 10.2.3), in seconds."""
    if value is None:
        return None
    import urllib3  # noqa: PLC0415

    try:
        return urllib3.Retry().parse_retry_after(value)
    except urllib3.exceptions.InvalidHeader:
        return None


def plain(error: urllib3.exceptions.HTTPError, url: str, proxy: str = "") -> Broken | FetchError:
    """Return urllib3's error in plain words; a FetchError where another attempt cannot help.

    ``proxy`` is the address of the one between, where there is one; its user name and password are not shown.
    """
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
            return _proxy_failure(error, url, redacted(proxy))
        case exceptions.NameResolutionError():
            return Broken(f"the host {host} is not known here: is the network up?")
        case exceptions.NewConnectionError():
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
            return Broken(f"cannot connect to {host}: {reason or error}")
        case exceptions.ConnectTimeoutError() | exceptions.ReadTimeoutError():
            return Broken(f"no answer from {host} in time")
        case _:
            return Broken(f"the connection to {host} broke: {_cause(error)}")


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    """Return why a connection broke, without the names of Python's classes."""
    cause = error.args[1] if len(error.args) > 1 else None
    if isinstance(cause, http.client.RemoteDisconnected):
        return "it was closed before an answer came"
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)


def _proxy_failure(error: urllib3.exceptions.ProxyError, url: str, proxy: str) -> Broken | FetchError:
    """Return what the failure of a proxy means: none is there, or it does not let us through."""
    cause = error.original_error
    why = str(cause)
    refused = re.search(r"Tunnel connection failed: (4\d\d)", why)  # http.client's words for an answer to CONNECT
    if refused and refused[1] in ("401", "407"):  # some say the one, and mean the other
        return FetchError(f"cannot fetch {redacted(url)}", why=f"the proxy {proxy} {WANTS_LOGIN}", hint=PROXY_LOGIN)
    if refused and int(refused[1]) not in TRY_AGAIN:
        return FetchError(f"cannot fetch {redacted(url)}", why=f"the proxy {proxy} does not let us through: {why}")
    if isinstance(cause.__cause__, OSError) and cause.__cause__.strerror:
        why = cause.__cause__.strerror
    return Broken(f"the proxy {proxy} for {urlsplit(url).hostname} cannot be used: {why}")
