"""The program that starts containers: run as ``python -I -S helper.py PARENT DESCRIPTOR``, one per launcher.

It has one thread, so it may clone(2); it holds no memory of its parent's, so a clone is cheap; and it is the
parent of every container, so they die with it. It ends, and with it all of them, when its parent does.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # -I keeps the script's folder off the path; the package is two folders up
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from repro.runtime import init, namespaces, seccomp, syscalls, wire

if TYPE_CHECKING:
    import resource

    from repro.runtime.wire import Failure, Order, Outcome


class Helper:
    """The containers of one launcher, by the number that it gave each."""

    def __init__(self, connection: socket.socket, parent: int) -> None:
        self.connection = connection
        self.parent = parent
        self.program = seccomp.fake_owners(syscalls.MACHINE) if seccomp.known(syscalls.MACHINE) else None
        self.numbers: dict[int, int] = {}  # pid -> number
        self.pids: dict[int, int] = {}  # number -> pid
        self.controls: dict[int, socket.socket] = {}  # pid -> our end
        self.started: dict[int, float] = {}  # pid -> time.monotonic()

    def serve(self) -> None:
        """Do as the parent says until it is gone, then end every container."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        poll.register(reader, select.POLLIN)
        watch = _watch(self.parent)
        if watch is not None:
            poll.register(watch, select.POLLIN)
        alive = True
        while alive:
            for descriptor, _event in poll.poll():
                if descriptor == reader:
                    os.read(reader, 4096)
                    self._reap(os.WNOHANG)
                elif descriptor == watch:
                    alive = False
                else:
                    alive = alive and self._obey()
        self._end()

    def _obey(self) -> bool:
        """Take one message; false when there will be no other."""
        try:
            message, descriptors = wire.receive(self.connection)
        except OSError:
            return False
        if "order" in message:
            self._start(message["number"], message["order"], descriptors)
        else:
            self._signal(message["number"], message["signal"])
        return True

    def _start(self, number: int, order: Order, stdio: list[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            program = self.program if order["fake_owners"] else None
            pid = syscalls.clone(namespaces.flags(single=order["single"], own_network=order["own_network"]))
            if pid == 0:
                init.main(order, stdio, theirs, program)
        except OSError as error:
            ours.close()
            failure = {"step": "create the namespaces", "errno": error.errno, "text": error.strerror}
            self._tell(number, failure)
        else:
            self.numbers[pid] = number
            self.pids[number] = pid
            self.controls[pid] = ours
            self.started[pid] = time.monotonic()
        finally:
            theirs.close()
            for descriptor in stdio:
                os.close(descriptor)

    def _signal(self, number: int, what: int) -> None:
        """Kill the whole container by SIGKILL; any other signal goes to its command through pid 1."""
        pid = self.pids.get(number)
        if pid is None:
            return
        if what == signal.SIGKILL:
            os.kill(pid, signal.SIGKILL)
            return
        try:
            self.controls[pid].send(bytes([what]), socket.MSG_NOSIGNAL)
        except OSError:
            return  # it has just ended

    def _reap(self, flags: int) -> None:
        """Reap the containers that ended, and tell the parent how."""
        while self.pids:
            pid, status, used = os.wait4(-1, flags)
            if pid == 0:
                return
            number = self.numbers.pop(pid)
            del self.pids[number]
            wall = time.monotonic() - self.started.pop(pid)
            with self.controls.pop(pid) as control:
                try:
                    message, _descriptors = wire.receive(control)
                except OSError:  # it had no time for a word
                    message = _unsaid(os.waitstatus_to_exitcode(status), wall, used)
            self._tell(number, message)

    def _tell(self, number: int, message: Any) -> None:
        try:
            wire.send(self.connection, {**message, "number": number})
        except OSError:
            return  # the parent is gone, which the next poll shows

    def _end(self) -> None:
        for pid in self.numbers:
            os.kill(pid, signal.SIGKILL)
        self._reap(0)


def _unsaid(code: int, wall: float, used: resource.struct_rusage) -> Outcome | Failure:
    """Return what became of a container whose pid 1 was killed before it could tell."""
    if code != -signal.SIGKILL:
        return {"step": "run pid 1", "errno": 0, "text": f"it ended with {code}"}
    return {
        "exit_status": 128 + signal.SIGKILL,
        "wall": wall,
        "user": used.ru_utime,
        "system": used.ru_stime,
        "max_rss": used.ru_maxrss * 1024,
        "made": [],
    }


def _noted(number: int, frame: object) -> None:
    """Do nothing: the wake-up descriptor has the number already."""


def _watch(parent: int) -> int | None:
    """Return a descriptor that becomes readable when ``parent`` ends (pidfd_open(2), Linux 5.3), or None.

    The socket's end says the same, unless a fork of the parent still holds it.
    """
    try:
        descriptor = os.pidfd_open(parent)
    except OSError:
        return None
    if os.getppid() != parent:  # it ended before we looked; the number may be another's now
        os._exit(1)
    return descriptor


def main(arguments: list[str]) -> None:
    """Serve the given parent on the given descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent, which decides what becomes of us
    connection = socket.socket(fileno=int(arguments[1]))
    connection.set_inheritable(False)
    gc.freeze()  # a collection in a clone would copy every page that we share
    gc.disable()
    Helper(connection, int(arguments[0])).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
