"""The launcher: starts containers for a process that has threads, from a small helper that has none."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Any

from repro.errors import ContainerError
from repro.runtime import orders, wire
from repro.runtime.spec import ContainerResult, Mode

if TYPE_CHECKING:
    from repro.runtime.spec import ContainerSpec
    from repro.runtime.wire import Failure

_HELPER = os.fspath(Path(__file__).with_name("helper.py"))  # not imported here: it loads ctypes and more
_LOADER = ("LD_LIBRARY_PATH",)  # without it a cluster's own Python may not find its library
_NO_NAMESPACES = "run `repro doctor`: it says what this host refuses and what its administrator can do"
_HINTS = {
    ("create the namespaces", errno.EPERM): _NO_NAMESPACES,
    ("create the namespaces", errno.EACCES): _NO_NAMESPACES,
    ("create the namespaces", errno.EINVAL): _NO_NAMESPACES,
    ("create the namespaces", errno.ENOSPC): "a limit in /proc/sys/user/max_*_namespaces is reached; "
    "run fewer containers at once or have it raised",
    ("map the user", errno.EPERM): _NO_NAMESPACES,
    ("mount the overlay", errno.EINVAL): "the folder of the changes must lie on a file system with extended "
    "attributes and d_type (ext4, xfs with ftype=1, btrfs; no NFS), and not on another overlay",
    ("mount the overlay", errno.ENODEV): "load the kernel's module: modprobe overlay",
    ("mount the overlay", errno.EPERM): "rootless overlay needs Linux 5.11 or later",
    ("mount /proc", errno.EPERM): "this host's own /proc is partly hidden (as in another container), so the "
    "kernel gives no new one; run the outer container with an unmasked /proc",
}


class Running:
    """A container that was started."""

    def __init__(self, launcher: Launcher, number: int) -> None:
        self._launcher = launcher
        self._number = number
        self._ended = threading.Event()
        self._result: ContainerResult | None = None
        self._failure: Failure | None = None

    def wait(self) -> ContainerResult:
        """Wait, and return how it ended; ContainerError if it could not be set up. May be called again."""
        self._ended.wait()
        if self._result is not None:
            return self._result
        assert self._failure is not None
        step, number, text = self._failure["step"], self._failure["errno"], self._failure["text"]
        raise ContainerError(f"cannot {step}", why=text, hint=_HINTS.get((step, number)))

    def kill(self, signal: int) -> None:
        """Send ``signal`` to the command (SIGKILL: to the whole container); a dead one is left alone."""
        if not self._ended.is_set():
            self._launcher._signal(self._number, signal)  # noqa: SLF001 - two halves of one thing

    def _settle(self, message: dict[str, Any]) -> None:
        if "step" in message:
            self._failure = {"step": message["step"], "errno": message["errno"], "text": message["text"]}
        else:
            self._result = ContainerResult(
                exit_status=message["exit_status"],
                wall=message["wall"],
                user=message["user"],
                system=message["system"],
                max_rss=message["max_rss"],
                made=tuple(message["made"]),
            )
        self._ended.set()


class Launcher:
    """Starts containers; safe to use from many threads.

    The helper is started with the first container. It dies with this process, however that ends, and every
    container dies with the helper.
    """

    def __init__(self, mode: Mode, *, python: str | None = None) -> None:
        self.mode = mode
        self._python = python or os.path.realpath(sys.executable)
        self._sending = threading.Lock()  # guards whole frames on the connection, and what makes and ends it
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._complaints = -1  # the helper's stderr, in memory
        self._closed = False
        self._count = 0
        self._lock = threading.Lock()  # guards the next; apart, so that reading never waits for sending
        self._running: dict[int, Running] = {}

    def start(self, spec: ContainerSpec, *, stdin: int, stdout: int, stderr: int) -> Running:
        """Start the container with these three open descriptors, of which the caller keeps its copies.

        ContainerError for a spec that cannot be, and when the helper is gone.
        """
        order = orders.order(spec, self.mode)
        _check_open(stdin, stdout, stderr)
        with self._sending:
            connection = self._connected()
            self._count += 1
            running = Running(self, self._count)
            with self._lock:
                self._running[self._count] = running
            try:
                wire.send(connection, {"number": self._count, "order": order}, (stdin, stdout, stderr))
            except BaseException as error:
                with self._lock:
                    self._running.pop(self._count, None)
                with contextlib.suppress(OSError):  # a frame may be torn, which nothing mends: all must end
                    connection.shutdown(socket.SHUT_WR)
                if not isinstance(error, OSError):
                    raise
                why = self._last_words()
                raise ContainerError("the containers' helper process is gone", why=why) from error
        return running

    def run(self, spec: ContainerSpec, *, stdin: int, stdout: int, stderr: int) -> ContainerResult:
        """Start it and wait; a wait that is cut short (Ctrl-C) kills it and sees its end."""
        running = self.start(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        with contextlib.ExitStack() as cut_short:
            cut_short.callback(running._ended.wait)  # noqa: SLF001 - two halves of one thing; after the kill
            cut_short.callback(running.kill, SIGKILL)
            result = running.wait()
            cut_short.pop_all()
        return result

    def close(self) -> None:
        """End the helper and every container still running; idempotent."""
        with self._sending:
            self._closed = True
            connection, process, reader = self._connection, self._process, self._reader
            self._connection = self._process = self._reader = None
        if connection is None or process is None or reader is None:
            return
        with contextlib.suppress(OSError):  # it may have ended by itself
            connection.shutdown(socket.SHUT_WR)
        process.wait()
        reader.join()
        connection.close()
        os.close(self._complaints)

    def _signal(self, number: int, signal: int) -> None:
        with self._sending:
            if self._connection is None:
                return
            try:
                wire.send(self._connection, {"number": number, "signal": int(signal)})
            except OSError:
                return  # the helper is gone, and every container with it

    def _connected(self) -> socket.socket:
        """Return the connection to the helper, which is started when there is none; the lock is held."""
        if self._closed:
            raise ContainerError("the launcher is closed")
        if self._connection is not None:
            return self._connection
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._complaints = os.memfd_create("repro-helper")
            numbers = [str(os.getpid()), str(theirs.fileno())]
            try:
                # Not through process.run: this one lives as long as we do and talks.
                self._process = subprocess.Popen(
                    [self._python, "-I", "-S", "-X", "utf8", _HELPER, *numbers],
                    cwd="/",
                    env={name: os.environ[name] for name in _LOADER if name in os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._complaints,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                os.close(self._complaints)
                raise ContainerError(f"cannot start {self._python}", why=error.strerror) from error
        self._reader = threading.Thread(target=self._read, args=(ours,), name="repro-containers", daemon=True)
        self._reader.start()
        self._connection = ours
        return ours

    def _read(self, connection: socket.socket) -> None:
        """Settle containers as the helper reports them; at its end, all that are left."""
        while True:
            try:
                message, _descriptors = wire.receive(connection)
            except OSError:
                break
            with self._lock:
                running = self._running.pop(message["number"], None)
            if running is not None:
                running._settle(message)  # noqa: SLF001 - two halves of one thing
        with self._lock:
            left, self._running = self._running, {}
            words = self._last_words()
        for running in left.values():
            running._settle({"step": "keep the helper process", "errno": 0, "text": words})  # noqa: SLF001

    def _last_words(self) -> str:
        """Return what the helper wrote to its stderr, or what can be said without."""
        said = os.pread(self._complaints, 4096, max(0, os.fstat(self._complaints).st_size - 4096))
        return said.decode(errors="replace").strip() or "it was killed"


def _check_open(*descriptors: int) -> None:
    for descriptor in descriptors:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise ContainerError(f"descriptor {descriptor} is not open", why=error.strerror) from error
