"""The command in a project, as people run it; and a folder served on the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.accounts import PROJECT
from tests.build.conftest import MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def repro_in(project: Path, store: Path, *arguments: object, status: int = 0, **env: str) -> str:
    """Run the command in ``project``; return its standard output, or all it said where ``status`` is a failure's."""
    settings = {"PYTHONPATH": str(PROJECT), "REPRO_STORE": str(store), "REPRO_MODE": MODE.value}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("REPRO_") and key != "CI"}
    command = [sys.executable, "-m", "repro", "-C", str(project), *map(str, arguments)]
    done = subprocess.run(command, env={**kept, **settings, **env}, text=True, capture_output=True, check=False)
    assert status == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def locked_images(project: Path) -> dict[str, dict[str, str]]:
    """Return the image IDs that the project's lock has: by environment, then by mode."""
    lock = json.loads((project / "workflow.lock").read_text())
    return {name: entry["images"] for name, entry in lock["environments"].items()}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback; give its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
