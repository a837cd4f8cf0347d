"""A registry whose every answer a test writes: it lies, stalls, dies and leads astray as told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """Answers ``METHOD path`` by the first of ``answers`` of it (the last one stays); else 404.

    A key without the query matches any query.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Callable[[Handler], None]]] = {}
        self.seen: list[Seen] = []
        self.stop = threading.Event()
        outer = self

        class Bound(Handler):
            script = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def on(self, key: str, *answers: Callable[[Handler], None]) -> None:
        """Set what is answered to ``METHOD path``, one after the other."""
        self.answers[key] = list(answers)

    def asked(self, start: str) -> list[Seen]:
        """Return the requests whose ``METHOD path`` begins so."""
        return [seen for seen in self.seen if f"{seen.method} {seen.path}".startswith(start)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection; ``body`` is what the request carried, None until `read_body`."""

    protocol_version = "HTTP/1.1"
    script: Scripted

    def _any(self) -> None:
        key = f"{self.command} {self.path}"
        answers = self.script.answers.get(key) or self.script.answers.get(key.partition("?")[0]) or [reply(404)]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.body = b""
        try:
            if not getattr(answer, "early", False):
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.script.seen.append(Seen(self.command, self.path, dict(self.headers), self.body))
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - http.server's names

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


def reply(status: int, data: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    """Answer with a status, headers (``_`` stands for ``-``) and a body."""

    def answer(handler: Handler) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **named}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)

    return answer


def ranged(data: bytes, *, announced: int | None = None, sent: int | None = None) -> Callable[[Handler], None]:
    """Serve a blob, from where Range says; of it, hang up after ``sent`` bytes."""

    def answer(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(announced if announced is not None else len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:] if sent is None else data[start : start + sent])
        if sent is not None:
            handler.close_connection = True

    return answer


def endless(handler: Handler) -> None:
    """Send bytes until nobody listens."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    handler.end_headers()
    handler.close_connection = True
    while not handler.script.stop.is_set():
        handler.wfile.write(b" " * 65536)


def stalled(data: bytes) -> Callable[[Handler], None]:
    """Announce a body, send half of it, and say nothing more."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) or 100))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        handler.wfile.flush()
        handler.script.stop.wait(10)
        handler.close_connection = True

    return answer


def hang_up(taking: int) -> Callable[[Handler], None]:
    """Take the first bytes of the body, and hang up without an answer."""

    def answer(handler: Handler) -> None:
        while (left := taking - len(handler.body)) > 0:
            handler.body += handler.rfile.read1(min(left, 65536))
        time.sleep(0.02)
        handler.close_connection = True

    answer.early = True  # type: ignore[attr-defined]
    return answer
