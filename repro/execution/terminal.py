"""A person's terminal, joined to a container: what is typed goes in, what is shown comes out, as if it were its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.runtime.container import Running
    from repro.runtime.spec import ContainerResult

_PIECE = 64 << 10
_LOOK = 0.5  # seconds between looks at the terminal's size


def join(start: Callable[[int], Running], stdin: int, stdout: int) -> ContainerResult:
    """Start a container on a terminal of its own and join that to the caller's until the container ends.

    Args:
        start: starts it, given the descriptor that is to be its stdin, stdout and stderr.
        stdin: descriptor of the caller's terminal, which is as it was afterwards.
        stdout: another one of the same.
    """
    ours, theirs = os.openpty()
    with open(ours, "r+b", buffering=0):
        with open(theirs, "r+b", buffering=0):
            _take_size(stdin, ours)
            running = start(theirs)
        with _raw(stdin):
            _copy(stdin, stdout, ours)
    return running.wait()


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Hand every key on as it is, Ctrl-C among them, while the block runs."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _copy(stdin: int, stdout: int, ours: int) -> None:
    reading = [stdin, ours]
    while True:
        ready = select.select(reading, [], [], _LOOK)[0]
        _take_size(stdin, ours)
        if stdin in ready:
            typed = os.read(stdin, _PIECE)
            if not typed:
                reading.remove(stdin)
            _write(ours, typed)
        if ours in ready:
            try:
                shown = os.read(ours, _PIECE)
            except OSError:  # EIO: nobody has the other end any more
                return
            if not shown:
                return
            _write(stdout, shown)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _take_size(terminal: int, ours: int) -> None:
    """Give the container's terminal the size of the caller's; the kernel tells what runs there if that is new."""
    size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    if fcntl.ioctl(ours, termios.TIOCGWINSZ, bytes(8)) != size:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, size)
