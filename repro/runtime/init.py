"""A container's pid 1: sets everything up, runs the command, reaps, forwards signals."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from typing import TYPE_CHECKING, NoReturn

from repro.runtime import command, credentials, namespaces, rooted, rootfs, syscalls, wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from repro.runtime.wire import Failure, Order, Outcome

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_SIGNALLED = 128


def main(order: Order, stdio: Sequence[int], control: socket.socket, program: bytes | None) -> NoReturn:
    """Be pid 1 of the container; never returns.

    Called right after clone(2), in a copy of the helper. ``stdio`` are the command's descriptors. ``control``
    leads to the helper: it brings one byte per signal to forward, takes one `Failure` or `Outcome`, and when
    the helper is gone, this process ends and the kernel kills the rest of the namespace.
    """
    step = ["start"]
    try:
        _guard(control, stdio)
        outcome = _run(order, control, program, step)
        wire.send(control, outcome)
    except OSError as error:
        _report(control, step[0], error)
    except BaseException as error:  # a fault of ours: the copy of the helper must end here, and tell
        failure: Failure = {"step": step[0], "errno": 0, "text": f"{error!r} {_place(error)}"}
        wire.send(control, failure)
    finally:
        os._exit(0)


def _place(error: BaseException) -> str:
    """Return the function and line that raised ``error``; the traceback module is too much for here."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace else ""


def _report(control: socket.socket, step: str, error: OSError) -> None:
    text = error.strerror or str(error)
    if error.filename and not str(error.filename).startswith("/proc/self/fd/"):
        text = f"{error.filename}: {text}"
    failure: Failure = {"step": step, "errno": error.errno or 0, "text": text}
    wire.send(control, failure)


def _guard(control: socket.socket, stdio: Sequence[int]) -> None:
    """Die with the helper, keep none of its descriptors, and take signals as bytes (see `_Signals`)."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number, descriptor in enumerate(stdio):
        os.dup2(descriptor, number)
    kept = control.fileno()
    syscalls.close_range(3, kept - 1)
    syscalls.close_range(kept + 1, 0x7FFFFFFF)
    os.umask(0o022)


def _run(order: Order, control: socket.socket, program: bytes | None, step: list[str]) -> Outcome:
    def now(text: str) -> None:
        step[0] = text

    now("map the user")
    if order["single"]:
        namespaces.map_one(order["user"], order["ids"])
    now("set the host name")
    namespaces.set_host_name(order["hostname"])
    if order["own_network"]:
        now("bring up the loopback interface")
        namespaces.bring_up_loopback()
    made = rootfs.enter(order, now)
    now("open the working folder")
    _make_folder(order["cwd"])
    now("prepare the command")
    signals = _Signals()
    _become(order, program)
    started = time.monotonic()
    child, status = command.start(order["argv"], order["env"])
    _let_go()
    if child:
        status = _supervise(child, control, signals)
    wall = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "exit_status": status,
        "wall": wall,
        "user": used.ru_utime,
        "system": used.ru_stime,
        "max_rss": used.ru_maxrss * 1024,
        "made": made,
    }


def _become(order: Order, program: bytes | None) -> None:
    """Turn into what the command is to be: it inherits everything, and nobody in the container is above it.

    Not dumpable, this process cannot be traced by the others, which have the same rights (ptrace(2)).
    """
    credentials.become(order, program)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of credentials has cleared it
    os.umask(order["umask"])
    os.chdir(order["cwd"])


def _make_folder(path: str) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(rooted.ensure(root, path, folder=True))
    finally:
        os.close(root)


class _Signals:
    """The signals that reach pid 1, readable as bytes from ``descriptor``."""

    def __init__(self) -> None:
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *_FORWARDED):
            signal.signal(number, _noted)

    def read(self) -> bytes:
        """Return the numbers of the signals that came, one byte each."""
        try:
            return os.read(self.descriptor, 4096)
        except BlockingIOError:
            return b""


def _noted(number: int, frame: object) -> None:
    """Do nothing: the wake-up descriptor has the number already."""


def _supervise(child: int, control: socket.socket, signals: _Signals) -> int:
    """Forward signals and reap until the command has ended; then end and reap everything else.

    Returns the command's exit status as a shell would give it.
    """
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(signals.descriptor, select.POLLIN)
    status: int | None = None
    while status is None:
        for descriptor, _event in poll.poll():
            if descriptor == signals.descriptor:
                numbers = signals.read()
            else:
                numbers = control.recv(64)
                if not numbers:  # the helper is gone
                    os._exit(_SIGNALLED + signal.SIGKILL)
            for number in numbers:
                if number != signal.SIGCHLD or descriptor != signals.descriptor:
                    os.kill(child, number)
        status = _reap(child)
    _end_others()
    return status


def _reap(child: int) -> int | None:
    """Reap whatever has ended; return the command's status when it was among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else _SIGNALLED - code


def _end_others() -> None:
    """Kill what the command left behind, so that its use counts and nothing writes after the end."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
        except InterruptedError:
            continue


def _let_go() -> None:
    """Put /dev/null in place of the command's descriptors here, so that its pipes end when it closes them."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
