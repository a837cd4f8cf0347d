"""A job's container from start to end: its output goes to the log, without secrets, and its time is limited."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

    from repro.execution.masking import Mask
    from repro.runtime.container import Launcher, Running
    from repro.runtime.spec import ContainerResult, ContainerSpec

GRACE = 10  # seconds between SIGTERM and SIGKILL
_PIECE = 64 << 10  # bytes read at once of what a job with secrets prints


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended, and whether it was ended because its time was over."""

    result: ContainerResult
    late: bool


def contain(
    spec: ContainerSpec,
    log: Path,
    *,
    launcher: Launcher,
    watch: Callable[[Running], None],
    mask: Mask,
    limit: float | None = None,
) -> Ended:
    """Run the container and return how it ended.

    Args:
        spec: the container.
        log: file that takes what it prints; what was there is replaced.
        launcher: starts it.
        watch: told of the container once it runs, so that it can be killed.
        mask: keeps secrets out of the log.
        limit: seconds after which it is asked to end (SIGTERM), and killed `GRACE` seconds later; None: no limit.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    with open(os.devnull, "rb") as nothing, open(os.open(log, flags, 0o666), "wb", buffering=0) as output:
        if not mask:
            running = launcher.start(spec, stdin=nothing.fileno(), stdout=output.fileno(), stderr=output.fileno())
            watch(running)
            with _limited(running, limit) as late:
                return Ended(running.wait(), late.is_set())
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as pipe:
            try:
                running = launcher.start(spec, stdin=nothing.fileno(), stdout=writing, stderr=writing)
            finally:
                os.close(writing)
            watch(running)
            with _limited(running, limit) as late:
                _copy_masked(pipe, output, running, mask)
                return Ended(running.wait(), late.is_set())


@contextlib.contextmanager
def _limited(running: Running, seconds: float | None) -> Iterator[threading.Event]:
    """Give an event that tells whether the time was over before the block ended; then the container is made to end."""
    late, over = threading.Event(), threading.Event()
    if seconds is None:
        yield late
        return

    def end() -> None:
        if over.wait(seconds):
            return
        late.set()
        running.kill(signal.SIGTERM)
        if not over.wait(GRACE):
            running.kill(signal.SIGKILL)

    watcher = threading.Thread(target=end, name="repro-time-limit", daemon=True)
    watcher.start()
    try:
        yield late
    finally:
        over.set()
        watcher.join()


def _copy_masked(pipe: IO[bytes], output: IO[bytes], running: Running, mask: Mask) -> None:
    stream = mask.stream()
    try:
        while piece := pipe.read(_PIECE):
            _write(output, stream.feed(piece))
        _write(output, stream.finish())
    except BaseException:  # the log takes no more: the job must not wait for a reader, nor go on without a log
        running.kill(signal.SIGKILL)
        running.wait()
        raise


def _write(output: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[output.write(view) :]
