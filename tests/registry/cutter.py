"""A road to a server that breaks: connections are cut after so many bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Cutter:
    """Forwards a port of the loopback to ``target`` (host:port).

    ``up`` and ``down`` are, connection by connection, the bytes after which it is cut in that direction; then none is.
    """

    def __init__(self, target: str, *, up: tuple[int, ...] = (), down: tuple[int, ...] = ()) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._up, self._down = list(up), list(down)
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            _close(one)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            limits = (self._up.pop(0) if self._up else None, self._down.pop(0) if self._down else None)
            for source, target, limit in ((client, server, limits[0]), (server, client, limits[1])):
                thread = threading.Thread(target=self._forward, args=(source, target, limit), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while limit is None or limit > 0:
                data = source.recv(65536 if limit is None else min(limit, 65536))
                if not data:
                    break
                target.sendall(data)
                if limit is not None:
                    limit -= len(data)
            if limit == 0:
                self.cut += 1
        _close(source)
        _close(target)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
