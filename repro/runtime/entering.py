"""This process's move into a user namespace with subordinate IDs, where it is root of all of them.

Layers keep their true owners only if whoever writes, reads and removes them has those IDs. So not a helper but the
whole process moves: store, build and launcher then do as they do for root, and nothing of theirs has to be asked
for over a pipe. There is no way back (ADR 7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING, NoReturn

from repro.errors import HostError, ReproError
from repro.process import run
from repro.runtime import syscalls
from repro.runtime.identities import mapper, present
from repro.runtime.settings import threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.runtime.identities import Identities, Span


def enter(wanted: Identities) -> None:
    """Move this process into a new user namespace with the IDs ``wanted``; it must have one thread.

    A child is born in the namespace and holds it open while newuidmap and newgidmap map the IDs; then this process
    joins it. So all that can fail has failed before anything of this process is changed. However it ends, the child
    ends with it: it waits at a pipe that nobody else has. Files, groups, terminal and parent stay as they are; to the
    world outside this process goes on being the caller's.

    HostError says what was refused.
    """
    programs = [(mapper("uid"), wanted.uids), (mapper("gid"), wanted.gids)]
    if threads() > 1:
        raise HostError(
            "this process cannot enter a user namespace",
            why=f"it has {threads()} threads, and the kernel moves a process with one only",
            hint="use the `repro` command, or set REPRO_MODE=one",
        )
    with _held_namespace() as pid:
        for program, spans in programs:
            _map(program, pid, spans)
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(descriptor, syscalls.CLONE_NEWUSER)
        except OSError as error:
            raise HostError("cannot enter the new user namespace", why=error.strerror) from error
        finally:
            os.close(descriptor)
    if present() != wanted:  # never seen; what follows would give files to the wrong users
        raise HostError("the new user namespace has not the IDs that were asked for", why=f"it has {present()}")


@contextlib.contextmanager
def _held_namespace() -> Iterator[int]:
    """Give the pid of a child in a new user namespace, which it holds open until the block ends."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the child has our handlers, too
    try:
        pid = syscalls.clone(syscalls.CLONE_NEWUSER)
        if pid == 0:
            _wait(reader, writer)
    except OSError as error:
        os.close(writer)
        raise HostError("cannot make a user namespace", why=error.strerror, hint=_hint(error)) from error
    finally:
        os.close(reader)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        yield pid
    finally:
        os.close(writer)
        with contextlib.suppress(ChildProcessError):  # a caller that ignores SIGCHLD has no children to wait for
            os.waitpid(pid, 0)


def _wait(reader: int, writer: int) -> NoReturn:
    """Be the child: end when the other end of the pipe is closed, by the parent or by its end."""
    try:
        os.close(writer)
        os.read(reader, 1)
    finally:
        os._exit(0)


def _hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "a limit in /proc/sys/user/max_user_namespaces is reached; end other containers or have it raised"
    return "run `repro doctor`: it says what this host refuses and what its administrator can do"


def _map(program: str, pid: int, spans: tuple[Span, ...]) -> None:
    numbers = [str(number) for span in spans for number in (span.inside, span.outside, span.count)]
    try:
        run([program, str(pid), *numbers])
    except ReproError as error:
        raise HostError(
            "the subordinate IDs cannot be had",
            why=error.why or error.message,
            hint="run `repro doctor`, or set REPRO_MODE=one to do without them",
        ) from error
