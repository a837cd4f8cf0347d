"""Commands of `repro` as processes of their own that start warm: forked from one that has done the imports.

A table of a hundred faults runs some hundred commands, and the clients of all protocols take longer to import than most
of these commands to run. What a command does is what ``python -m repro`` does, from its arguments on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROJECT = Path(__file__).resolve().parents[2]
_IMPORTED = (
    *("repro.cli.main", "repro.cli.data", "repro.cli.lock", "repro.cli.publish", "repro.api.data_put"),
    *("repro.data.sources.opening", "repro.data.sources.web", "repro.data.publication", "repro.data.pinning"),
    *("s3fs", "botocore.exceptions", "botocore.parsers", "paramiko", "smbclient", "nfs4fs", "urllib3", "aiohttp"),
)
_LONGEST = 60  # seconds that a command may take
_POLL = 0.01


@dataclass(frozen=True)
class Done:
    """A command that ended: ``status`` is negative where a signal ended it; it took so many ``seconds``."""

    status: int
    out: str
    error: str
    seconds: float


class Running:
    """A command under way."""

    def __init__(self, warm: Warm, pid: int, files: Path) -> None:
        self.pid = pid
        self._warm = warm
        self._files = files
        self._started = time.monotonic()

    def alive(self) -> bool:
        """Return whether it has not ended."""
        return self._warm.status(self.pid, 0) is None

    def kill(self) -> bool:
        """Kill it as by kill -9, and wait for its end; return whether it was still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self._warm.status(self.pid, _LONGEST) == -signal.SIGKILL

    def end(self, seconds: float = _LONGEST) -> Done:
        """Wait for its end; none has a traceback, or ends as a mistake of repro's."""
        status = self._warm.status(self.pid, seconds)
        if status is None:
            self.kill()
        out, error = ((self._files / name).read_text() for name in ("out", "error"))
        assert status is not None, f"it does not end: {out}{error}"
        assert "Traceback" not in error, error
        assert status != 70, error
        return Done(status, out, error, time.monotonic() - self._started)


class Warm:
    """The process that has done the imports, and forks commands; a context. ``folder`` is for what they say."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self._ended: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.faults.warm"],
            cwd=_PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest = b""
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def start(self, arguments: tuple[str, ...], env: Mapping[str, str], folder: Path) -> Running:
        """Start `repro` with arguments in ``folder``; ``env`` are all its environment variables."""
        self._count += 1
        files = self._folder / str(self._count)
        files.mkdir()
        request = {"arguments": arguments, "env": dict(env), "folder": str(folder), "files": str(files)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        until = time.monotonic() + _LONGEST
        while not (files / "pid").exists():
            assert self._process.poll() is None, "the process that forks has ended"
            assert time.monotonic() < until
            time.sleep(_POLL)
        return Running(self, int((files / "pid").read_text()), files)

    def status(self, pid: int, seconds: float) -> int | None:
        """Return how a command ended; None where it has not within so many seconds."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(BlockingIOError):
                self._rest += os.read(self._process.stdout.fileno(), 1 << 16)
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                ended, status = map(int, line.split())
                self._ended[ended] = status
            if pid in self._ended or time.monotonic() >= until:
                return self._ended.get(pid)
            time.sleep(_POLL)


def _serve() -> None:
    """Fork a command for each line on standard input; say on standard output which ended how, until that is closed."""
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin.buffer, selectors.EVENT_READ)
    os.set_blocking(sys.stdin.fileno(), False)
    children: set[int] = set()
    rest = b""
    while True:
        if waiting.select(_POLL):
            data = os.read(sys.stdin.fileno(), 1 << 16)
            if not data:
                for child in children:
                    os.kill(child, signal.SIGKILL)
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                children.add(_fork(json.loads(line)))
        for child in sorted(children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                children.remove(child)
                os.write(1, b"%d %d\n" % (child, os.waitstatus_to_exitcode(status)))


def _fork(request: dict) -> int:
    files = Path(request["files"])
    if pid := os.fork():
        (files / "new").write_text(str(pid))
        (files / "new").rename(files / "pid")
        return pid
    status = 1
    try:
        for number, name in ((1, "out"), (2, "error")):
            os.dup2(os.open(files / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["repro", *request["arguments"]]
        from repro.cli.start import main

        status = main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
