"""Builds for programs: each event as a line of JSON on standard error, and nothing else there."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING

from repro.events import event_json

if TYPE_CHECKING:
    from repro.digest import Json
    from repro.errors import ReproError
    from repro.events import Event


class JsonProgress:
    """A sink that writes events as the journal keeps them, ``kind`` first; an error is a line of kind ``error``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, event: Event) -> None:
        """Write one event; safe from any thread."""
        self._write(event_json(event))

    def failed(self, error: ReproError) -> None:
        """Write the error that ended the build."""
        self._write(
            {
                "kind": "error",
                "code": error.code,
                "message": error.message,
                "where": None if error.where is None else str(error.where),
                "why": error.why,
                "hint": error.hint,
            }
        )

    def finish(self) -> None:
        """Leave everything as it is."""

    def _write(self, value: dict[str, Json]) -> None:
        with self._lock:
            if self._broken:
                return
            try:
                sys.stderr.write(json.dumps(value, ensure_ascii=False) + "\n")
                sys.stderr.flush()
            except OSError:  # its reader is gone: the work goes on
                self._broken = True
