"""A man in the middle of a client and a registry: passes all on, and lies, stalls or cuts where a test says so."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 16
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing says RST, as a host does on which nobody listens


@dataclass
class Answer:
    """What the registry answered; a test changes it. ``length`` is announced: by default, what ``data`` has."""

    status: int
    headers: dict[str, str]
    data: bytes
    length: int | None = None


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class _Mark:
    """What to do, once, when so many bytes of bodies have gone ``up`` or ``down``."""

    direction: str
    count: int
    act: Callable[[], object]
    done: bool = field(default=False)


class Middleman:
    """Passes requests for ``host`` on to the registry ``target``; `rule` and `at` say what else.

    ``passed`` counts the bytes of bodies by direction, ``seen`` are the requests. While ``flows`` is not set, nothing
    goes on.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.seen: list[Seen] = []
        self.passed = {"up": 0, "down": 0}
        self.flows = threading.Event()
        self.flows.set()
        self.stop = threading.Event()
        self._rules: list[tuple[str, re.Pattern[str], list[Callable[[Handler], None]]]] = []
        self._marks: list[_Mark] = []
        self._lock = threading.Lock()

        class Bound(Handler):
            script = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients that are cut off are what this is for
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def rule(self, method: str, pattern: str, *acts: Callable[[Handler], None]) -> None:
        """Have requests whose path has ``pattern`` answered by ``acts``, one after the other; the last one stays."""
        self._rules.append((method, re.compile(pattern), list(acts)))

    def at(self, direction: str, count: int, act: Callable[[], object]) -> None:
        """Call ``act`` once when ``count`` more bytes of bodies have passed; meanwhile they wait."""
        self._marks.append(_Mark(direction, self.passed[direction] + count, act))

    def honest(self) -> None:
        """Pass everything on from now."""
        self._rules.clear()
        self._marks.clear()
        self.seen.clear()
        self.flows.set()

    def act_for(self, method: str, path: str) -> Callable[[Handler], None] | None:
        """Return what a test wants to be done with a request; None: pass it on."""
        with self._lock:
            for wanted, pattern, acts in self._rules:
                if wanted == method and pattern.search(path):
                    return acts.pop(0) if len(acts) > 1 else acts[0]
        return None

    def went(self, direction: str, count: int) -> None:
        """Count bytes, and do what is to be done when there are so many."""
        with self._lock:
            self.passed[direction] += count
            due = [
                mark
                for mark in self._marks
                if mark.direction == direction and not mark.done and self.passed[direction] >= mark.count
            ]
            for mark in due:
                mark.done = True
                mark.act()
        self.flows.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.flows.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    script: Middleman

    def _any(self) -> None:
        self.script.seen.append(Seen(self.command, self.path, dict(self.headers)))
        self._unread = int(self.headers.get("Content-Length") or 0)
        act = self.script.act_for(self.command, self.path)
        with contextlib.ExitStack() as self._closing:
            try:
                (act or Handler.pass_on)(self)
            except (OSError, http.client.HTTPException):
                self.cut()
        if self._unread:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - http.server's names

    def cut(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self.connection.close()

    def take(self) -> bytes:
        """Return all of the request's body."""
        data = self.rfile.read(self._unread)
        self._unread = 0
        return data

    def ask(self) -> http.client.HTTPResponse:
        """Return the registry's answer to the request, its body unread."""
        upstream = http.client.HTTPConnection(self.script.target, timeout=30)
        self._closing.callback(upstream.close)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders()
        while self._unread:
            piece = self.rfile.read1(min(_PIECE, self._unread))
            if not piece:
                raise ConnectionResetError
            self._unread -= len(piece)
            upstream.send(piece)
            self.script.went("up", len(piece))
        return self._closing.enter_context(upstream.getresponse())

    def pass_on(self) -> None:
        """Have the registry answer."""
        response = self.ask()
        length = response.getheader("Content-Length")
        if length is None:
            self.give(Answer(response.status, _kept(response), response.read()))
            return
        self.head(response.status, _kept(response), int(length))
        while piece := response.read1(_PIECE):
            self.wfile.write(piece)
            self.script.went("down", len(piece))
        if response.length:
            raise ConnectionResetError  # it died

    def asked(self) -> Answer:
        """Return all of what the registry answers."""
        response = self.ask()
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        return Answer(response.status, _kept(response), response.read(), None if length is None else int(length))

    def head(self, status: int, headers: dict[str, str], length: int | None) -> None:
        """Send the status and the headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None and status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def give(self, answer: Answer) -> None:
        """Send an answer; where it announces more than it has, hang up after that."""
        length = len(answer.data) if answer.length is None else answer.length
        self.head(answer.status, answer.headers, length)
        if self.command == "HEAD":
            return
        self.wfile.write(answer.data)
        self.script.went("down", len(answer.data))
        if length > len(answer.data):
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


def _kept(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name: value for name, value in response.getheaders() if name.lower() not in _HOP}


def changed(change: Callable[[Answer], object]) -> Callable[[Handler], None]:
    """Answer as the registry does, after ``change`` had its way with it."""

    def act(handler: Handler) -> None:
        answer = handler.asked()
        change(answer)
        handler.give(answer)

    return act


def instead(status: int, data: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    """Answer without the registry; ``_`` of a header's name stands for ``-``."""

    def act(handler: Handler) -> None:
        handler.take()
        handler.give(Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data))

    return act
