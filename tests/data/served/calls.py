"""What the suite of all sources asks for, done in this process or in one of another user's.

A request is a tuple: the name of a function below, the address, the environment variables of the caller, arguments. The
empty one closes what earlier ones opened.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from repro.data.answers import Broken
from repro.data.sources.model import Reach
from repro.data.sources.opening import open_source, open_target
from repro.digest import Digest
from repro.errors import ReproError
from repro.names import DataUri
from repro.workflow.model import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repro.data.sources.model import Found, Source, SourceFile, Target
    from tests.accounts import Account

_THREADS = 8
_SECONDS = 20.0  # of silence


class _Stopped(Exception):  # noqa: N818 - no mistake of anybody
    """Stands for a process that dies in the middle of `stage`."""


def stat(source: Source, name: str = "") -> SourceFile:
    """Look at a file."""
    return source.stat(name)


def files(source: Source) -> list[SourceFile]:
    """List all files."""
    return sorted(source.files())


def read(source: Source, file: SourceFile, start: int = 0) -> bytes:
    """Read a file from an offset on."""
    return b"".join(source.pieces(file, start))


def read_many(source: Source, wanted: list[SourceFile]) -> list[bytes]:
    """Read files in many threads at once."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda file: read(source, file), wanted))


def stage(
    target: Target, name: str, file: str, *, before: Mapping | None = None, stop: bool = False, digest: str = ""
) -> Mapping:
    """Stage a local file, or ``stop`` at the first bytes that arrive; return the last token."""
    data = Path(file).read_bytes()
    notes: list[Mapping] = []

    def told(count: int) -> None:
        if stop and count:
            raise _Stopped

    wanted = Digest.parse(digest) if digest else Digest.of(data)
    try:
        return target.stage(name, Path(file), wanted, len(data), before=before, note=notes.append, told=told)
    except _Stopped:
        return notes[-1]


def commit(target: Target, name: str, token: Mapping, replaces: Found | None = None) -> Found:
    """Put what was staged in place."""
    return target.commit(name, token, replaces=replaces)


def find(target: Target, name: str) -> Found | None:
    """Look at what is at a target."""
    return target.find(name)


def read_target(target: Target, name: str) -> bytes:
    """Read what is at a target."""
    return target.read(name)


def discard(target: Target, name: str, token: Mapping) -> None:
    """Remove what was staged."""
    target.discard(name, token)


def withdraw(target: Target, name: str, placed: Found) -> None:
    """Take back what was put in place."""
    target.withdraw(name, placed)


_OF_SOURCES = {function.__name__: function for function in (stat, files, read, read_many)}
_OF_TARGETS = {function.__name__: function for function in (stage, commit, find, read_target, discard, withdraw)}


_open: dict[str, Source | Target] = {}


def perform(function: str, address: str, settings: Mapping[str, str], *arguments: object, **more: object) -> object:
    """Do what a request asks; a source, or a target, stays open for the next request about its address."""
    made: Callable = open_source if function in _OF_SOURCES else open_target
    key = f"{made.__name__} {address}"
    if key not in _open:
        reach = Reach(settings, os.getuid(), os.getgid(), timeout=_SECONDS)
        _open[key] = made(DataUri.parse(address), Access(), reach)
    return {**_OF_SOURCES, **_OF_TARGETS}[function](_open[key], *arguments, **more)


def close_all() -> None:
    """Close all that `perform` opened."""
    while _open:
        _open.popitem()[1].close()


class Other:
    """A process of another user that performs requests, with copies of his own of a server's files for its clients."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._homes: dict[str, str] = {}
        self._process = subprocess.Popen(
            account.command(account.python, "-W", "error", "-m", "tests.data.served.calls"),
            cwd=account.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def perform(
        self, function: str, address: str, settings: Mapping[str, str], *arguments: object, **more: object
    ) -> object:
        """Return the answer, or raise it where it is an error."""
        own = {**settings, "HOME": self._home(settings["HOME"])}
        return self._ask((function, address, own, *arguments), more)

    def close_all(self) -> None:
        """Have it close all that it opened."""
        self._ask((), {})

    def _ask(self, request: tuple, more: Mapping[str, object]) -> object:
        pickle.dump((request, more), self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _home(self, home: str) -> str:
        """Return the user's own copy of a home: files with logins are for their owners' eyes only."""
        if home not in self._homes:
            copy = self._account.home / f"home-{self._process.pid}-{len(self._homes)}"
            shutil.copytree(home, copy)
            self._homes[home] = str(self._account.give(copy))
        return self._homes[home]

    def close(self) -> None:
        """Let it end."""
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def _serve() -> None:
    """Perform the requests on standard input until it ends."""
    while True:
        try:
            request, more = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = perform(*request, **more) if request else close_all()
        except (ReproError, Broken) as error:
            answer = error
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
