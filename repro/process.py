"""The one function that runs another program on the host."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING

from repro.errors import HostError, ReproError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


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
    log.debug("run %s", argv)
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
