"""A web server on the loopback for the cases that download."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conformance.cases import Case
from tests.conformance.layout import file_time, make_entry


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Served:
    """Serves each case's files below its name; ``stop`` ends the server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def put(self, case: Case) -> str:
        """Make the case's files there for fetching; return the address that they stand below."""
        place = self._folder / case.name
        if not place.exists():
            place.mkdir()
            for name, given in case.serve.items():
                make_entry(place, name, given, file_time(case))
        return f"http://127.0.0.1:{self._server.server_port}/{case.name}"

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
