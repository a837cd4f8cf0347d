"""The functions that run another program on the host: to its end, or beside this one."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING

from repro.errors import HostError, ReproError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
) -> bytes:
    """Return the standard output of ``argv``; ReproError with what it said when it fails.

    No shell is involved. ``env`` replaces the environment, ``timeout`` is in seconds. HostError if the program is
    not installed.
    """
    _log.debug("run %s", argv)
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, input=stdin, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed", hint=f"install {argv[0]} and try again") from error
    except subprocess.TimeoutExpired as error:
        raise ReproError(f"{argv[0]} did not end within {timeout:.0f} s" if timeout else str(error)) from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()  # some programs tell their errors on standard output
        tail = said.decode(errors="replace")[-2000:]
        raise ReproError(f"{argv[0]} ended with exit status {done.returncode}", why=tail or None)
    return done.stdout


def start(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Return ``argv`` as a process under way, in a session of its own: Ctrl-C in the terminal does not reach it.

    What it prints is appended to ``log``. HostError if the program is not installed.
    """
    try:
        with log.open("ab") as file:
            return subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed", hint=f"install {argv[0]} and try again") from error
