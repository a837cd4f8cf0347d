"""Builds told again: a rebuild of which nothing changed says what it said, without importing what builds.

Most of a fully cached rebuild is Python importing the builder, to find that every instruction is cached. So a build in
which all of them were leaves a record of all that decided it and of what it said; the same command finds it by the
digest of its arguments and surroundings, and, where all is as it was, says that again. The record is only ever a
shortcut: whatever is doubtful (a file written moments ago, a store that lost a layer, a name that moved on) makes the
command build.

A record is ``$REPRO_STORE/replays/HEX``: fields that end in NUL, three to an entry::

    stamp  PATH  dev inode mode size mtime ctime   a file, folder or link of the context, or a module of this program
    bytes  PATH  what the file holds               names and facts in the store
    there  PATH  (nothing)                         the image's parts in the store
    out    (nothing)  TEXT                         what to write to stdout; err: to stderr
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time

from repro import __version__
from repro.home import store_root

TYPE_CHECKING = False  # this module is imported before it is known whether any other is needed
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from repro.api.image_build import Evidence

_FORMAT = "repro-replay/1"
_OF_SHELLS = ("_", "OLDPWD", "PWD", "SHLVL")  # variables that change from one command to the next
_RACY_NS = 2_000_000_000  # as in repro.data.clocks: a write this close to a reading may leave the times as they were
_MOST_RECORDS = 200
_MOST_TEXT = 1 << 20  # characters that a build may say and still be told again
# What decides how this process may make containers, and so in which form the store keeps layers for it.
_SURROUNDINGS = (
    "/etc/subuid",
    "/etc/subgid",
    "/proc/self/uid_map",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
)
_STATUS = (b"CapEff:", b"CapBnd:", b"NoNewPrivs:", b"Seccomp:")  # of /proc/self/status, for the same reason

_command: tuple[str, int] | None = None  # the name of this process's record, and when the process started


def told_again(argv: Sequence[str]) -> int | None:
    """Write what the command ``argv`` of this process wrote before and return 0; None where it must be run."""
    global _command  # noqa: PLW0603 - a process runs one command
    if "build" not in argv or "--debug" in argv:
        return None
    try:
        _command = _name(argv), time.time_ns()
        root = store_root(os.environ, os.getcwd())
        if os.stat(root).st_uid != os.geteuid():
            return None
        said = _said(_read(os.path.join(root, "replays", _command[0])))
    except OSError:
        return None
    return None if said is None else _write(said)


def _name(argv: Sequence[str]) -> str:
    """Return the name of the record of a command in this process's surroundings."""
    import hashlib  # noqa: PLC0415 - only for builds

    status = [line for line in _read("/proc/self/status").splitlines() if line.startswith(_STATUS)]
    environ = sorted(item for item in os.environb.items() if os.fsdecode(item[0]) not in _OF_SHELLS)
    screens = [os.get_terminal_size(number) if os.isatty(number) else None for number in (1, 2)]
    decisive = [_FORMAT, __version__, argv, os.getcwd(), os.getresuid(), os.getresgid(), environ, screens, status]
    texts = [_read(path) if os.path.exists(path) else None for path in _SURROUNDINGS]
    return hashlib.sha256(repr([*decisive, texts]).encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: str | bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _said(record: bytes) -> list[tuple[int, bytes]] | None:
    """Return what to write to which descriptor; None unless all is as the record says."""
    fields = record.split(b"\0")
    if fields[0] != _FORMAT.encode() or fields[-1] != b"whole":
        return None
    said = []
    entries = iter(fields[1:-1])
    for kind, path, value in zip(entries, entries, entries, strict=True):
        if kind == b"stamp":
            if _stamp(path)[0] != value:
                return None
        elif kind == b"bytes":
            if _read(path) != value:
                return None
        elif kind == b"there":
            os.lstat(path)
        else:
            said.append((1 if kind == b"out" else 2, value))
    return said


def _stamp(path: bytes) -> tuple[bytes, int]:
    """Return what tells one state of a file from another, and when it was last changed; of a link also its target's."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return b"", 0
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    text = b"%d %d %o %d %d %d" % (
        status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip
    if stat.S_ISLNK(status.st_mode):
        target, later = _stamp(os.path.realpath(path))
        return b"%s, %s" % (text, target), max(changed, later)
    return text, changed


def _write(said: list[tuple[int, bytes]]) -> int:
    for descriptor, text in said:
        left = text
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except BrokenPipeError:
            if descriptor == 1:
                return 128 + 13  # SIGPIPE
        except OSError:
            if descriptor == 1:
                return 74  # EX_IOERR
    return 0


class Heard:
    """What a command wrote to stdout and stderr, in order."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []
        self._size = 0

    def add(self, stream: str, text: str) -> None:
        """Keep a piece; too much of it is not worth keeping."""
        self._size += len(text)
        if self._size <= _MOST_TEXT:
            self.texts.append((stream, text))

    @property
    def whole(self) -> bool:
        """Whether it is all there, and can be kept."""
        return self._size <= _MOST_TEXT and not any("\0" in text for _, text in self.texts)


class _Ear:
    """A text stream that also tells what is written to it."""

    def __init__(self, stream: TextIO, name: str, heard: Heard) -> None:
        self._stream = stream
        self._name = name
        self._heard = heard

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write on, and tell."""
        self._heard.add(self._name, text)
        return self._stream.write(text)


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Give what the block writes to `sys.stdout` and `sys.stderr`."""
    heard = Heard()
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Ear(out, "out", heard), _Ear(err, "err", heard)
    try:
        yield heard
    finally:
        sys.stdout, sys.stderr = out, err


def keep(root: Path, heard: Heard, evidence: Evidence) -> None:
    """Leave a record of this process's command in the store ``root``, unless something in it is doubtful."""
    if _command is None or not heard.whole:
        return
    name, started = _command
    fields = [_FORMAT.encode()]
    modules = [getattr(module, "__file__", None) for key, module in sys.modules.items() if key.startswith("repro")]
    for path in sorted({*evidence.looked, *(file for file in modules if file)}):
        text, changed = _stamp(os.fsencode(path))
        if changed > started - _RACY_NS:
            return
        fields += [b"stamp", os.fsencode(path), text]
    for file, data in evidence.texts:
        fields += [b"bytes", os.fsencode(file), data]
    for file in evidence.there:
        fields += [b"there", os.fsencode(file), b""]
    for stream, said in heard.texts:
        fields += [stream.encode(), b"", said.encode("utf-8", "surrogateescape")]
    from repro.files import write_atomic  # noqa: PLC0415 - told again, it is not needed

    folder = root / "replays"
    with contextlib.suppress(OSError):  # only time is lost
        folder.mkdir(exist_ok=True)
        write_atomic(folder / name, b"\0".join([*fields, b"whole"]), durable=False)
        records = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in records[:-_MOST_RECORDS]:
            path.unlink(missing_ok=True)
