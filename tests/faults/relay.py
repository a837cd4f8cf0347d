"""A wire between a client and a server of any protocol over TCP, which a test cuts, slows, silences or garbles."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 16
_LARGE = _PIECE // 8  # bytes of a piece that is not only about something
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing says RST, as a host does on which nobody listens


class Relay:
    """Listens on ``port`` of the loopback, and passes bytes on to and from ``target`` there.

    ``passed`` counts them by direction: ``up`` to the server, ``down`` from it. ``pause`` is how long each piece of 64
    KiB takes, in seconds. While it is ``deaf``, what comes is lost.
    """

    def __init__(self, target: int) -> None:
        self.passed = {"up": 0, "down": 0}
        self.pause = 0.0
        self.deaf = False
        self._target = target
        self._marks: list[tuple[str, int, Callable[[], object]]] = []
        self._garbled: list[str] = []
        self._silent: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._guard = threading.RLock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def at(self, direction: str, count: int, act: Callable[[], object]) -> None:
        """Call ``act`` once, when ``count`` more bytes have passed; meanwhile all wait."""
        self._marks.append((direction, self.passed[direction] + count, act))

    def garble(self, direction: str) -> None:
        """Change a bit in the middle of the next large piece that passes."""
        self._garbled.append(direction)

    def silence(self) -> None:
        """Pass nothing more over the connections that there are; they stay open, and new ones are served."""
        with self._guard:
            self._silent |= self._open

    def cut(self) -> None:
        """End all connections."""
        with self._guard:
            for end in self._open:
                _end(end)

    def honest(self) -> None:
        """Pass everything on from now, over new connections."""
        self._marks.clear()
        self._garbled.clear()
        self.pause = 0.0
        self.deaf = False
        self.cut()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            server.settimeout(None)
            with self._guard:
                self._open |= {client, server}
            ended: list[socket.socket] = []
            for source, sink, direction in ((client, server, "up"), (server, client, "down")):
                thread = threading.Thread(target=self._pass, args=(source, sink, direction, ended), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, direction: str, ended: list[socket.socket]) -> None:
        """Pass on what one end sends until it ends; the second to end closes both."""
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                self._count(direction, len(data))
                if self.deaf or source in self._silent:
                    continue  # it is lost
                if direction in self._garbled and len(data) > _LARGE:
                    self._garbled.remove(direction)
                    middle = len(data) // 2
                    data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
                if self.pause and len(data) > _LARGE:
                    time.sleep(self.pause * len(data) / _PIECE)
                sink.sendall(data)
        _end(sink)
        with self._guard:
            ended.append(source)
            if len(ended) == 2:
                self._open.difference_update(ended)
                self._silent.difference_update(ended)
                for end in ended:
                    end.close()

    def _count(self, direction: str, count: int) -> None:
        with self._guard:
            self.passed[direction] += count
            due = [mark for mark in self._marks if mark[0] == direction and self.passed[direction] >= mark[1]]
            for mark in due:
                self._marks.remove(mark)
                mark[2]()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
