"""HTTP servers for faults: one whose answers a test writes, and a proxy that sees what goes to a real server."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

Request = tuple[str, str, dict[str, str]]  # method, path and query, headers with names in lower case
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


class Between:
    """Answers every request as ``handle`` does, over TLS where ``tls`` is given; ``requests`` are those that came."""

    def __init__(
        self, handle: Callable[[BaseHTTPRequestHandler, Request, bytes], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                request = (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
                body = self.rfile.read(int(request[2].get("content-length", 0)))
                outer.requests.append(request)
                handle(self, request, body)

            def log_message(self, *arguments: object) -> None:
                """Keep quiet."""

        for method in _METHODS:
            setattr(Handler, f"do_{method}", Handler.answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, client: None  # a client that hung up
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests with ``part`` in their path came."""
        return sum(request[0] == method and part in request[1] for request in self.requests)


def proxy() -> Between:
    """Return a proxy that hands on each request, and what the server says (RFC 9112, 3.2.2)."""

    def hand_on(handler: BaseHTTPRequestHandler, request: Request, body: bytes) -> None:
        method, url, headers = request
        parts = urlsplit(url)
        server = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            server.request(method, url.removeprefix(f"http://{parts.netloc}"), body or None, headers)
            answer = server.getresponse()
            data = answer.read()
        finally:
            server.close()
        sent = {name.lower(): value for name, value in answer.getheaders()}
        reply(handler, answer.status, data, {name: sent[name] for name in sent if name != "transfer-encoding"})

    return Between(hand_on)


def reply(
    handler: BaseHTTPRequestHandler, status: int, data: bytes = b"", headers: dict[str, str] | None = None
) -> None:
    """Answer with ``data``; of a HEAD only with its headers."""
    handler.send_response_only(status)
    for name, value in {"content-length": str(len(data)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)


def failure(status: int, code: str) -> Callable[[BaseHTTPRequestHandler, Request, bytes], None]:
    """Answer as S3 does where something is wrong; its words name the access key, as some servers' do."""
    text = f"<Error><Code>{code}</Code><Message>reproadmin may not</Message><AWSAccessKeyId>x</AWSAccessKeyId></Error>"
    return lambda handler, request, body: reply(
        handler, status, text.encode(), {"content-type": "application/xml", "retry-after": "7"}
    )
