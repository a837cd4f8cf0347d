"""Starting a container's command, from its pid 1."""

from __future__ import annotations

import errno
import os
import signal

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as Docker's
_CANNOT_EXECUTE, _NOT_FOUND = 126, 127
_NOT_HERE = {errno.ENOENT, errno.ENOTDIR}


def start(argv: list[str], env: dict[str, str]) -> tuple[int, int]:
    """Start the command in a session of its own, with every signal at its default.

    It gets this process's user, capabilities, filter, umask, folder and first three descriptors. posix_spawn(3)
    lends it our memory until its exec, which costs less than a fork.

    Returns:
        Its pid and 0; or, when it cannot be started, which is said on stderr, 0 and the status that Docker gives:
        127 not found, 126 not executable.
    """
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN]
    worst: OSError | None = None
    for path in _candidates(argv[0], env):
        try:
            return os.posix_spawn(path, argv, env, setsid=True, setsigmask=(), setsigdef=ignored), 0
        except OSError as error:
            missing = error.errno in _NOT_HERE
            if not missing:
                worst = error
            elif os.path.exists(path):
                error.strerror = "its interpreter or dynamic loader does not exist here"
                worst = worst or error
            if not missing and error.errno != errno.EACCES:  # as execvp(3): go on past what we may not execute
                break
    if worst is None:
        text, status = f"{argv[0]}: not found in the container", _NOT_FOUND
    else:
        text, status = f"{argv[0]}: {worst.strerror}", _NOT_FOUND if worst.errno in _NOT_HERE else _CANNOT_EXECUTE
    _say(f"repro: {text}\n")
    return 0, status


def _candidates(name: str, env: dict[str, str]) -> list[str]:
    """Return the paths to try, in order."""
    if "/" in name:
        return [name]
    found = [f"{folder or '.'}/{name}" for folder in env.get("PATH", _DEFAULT_PATH).split(":")]
    return [path for path in found if os.path.lexists(path)]


def _say(text: str) -> None:
    """Write to the command's stderr, if anybody still listens."""
    try:
        os.write(2, text.encode(errors="surrogateescape"))
    except OSError:
        return  # the exit status says it too
