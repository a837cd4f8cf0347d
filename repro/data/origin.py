"""Patience with other machines: a question or a transfer that breaks is tried again, and goes on where it broke.

An attempt counts as failed when it brought nothing new: a slow server, or one that drops each connection after a
while, gets as many attempts as it needs, and one that is down gets `Reach.attempts`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from repro.data.answers import Broken, UnreachableError
from repro.data.sources.model import ChangedError
from repro.data.transports import LONGEST_PAUSE
from repro.errors import FetchError
from repro.names import hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.data.sources.model import Reach, Source, SourceFile
    from repro.data.transports import Target

Answer = TypeVar("Answer")


def patiently(
    ask: Callable[[], Answer], reach: Reach, address: str, sleep: Callable[[float], object] = time.sleep
) -> Answer:
    """Return what ``ask`` returns, asked again while it is `Broken`; UnreachableError names ``address``."""
    failed = 0
    while True:
        try:
            return ask()
        except Broken as broken:
            failed += 1
            _wait(broken, failed, reach, address, sleep)


class Origin:
    """One ``file`` of a ``source``; ``address`` is the source's, for messages.

    ``whole`` says that the server replaces files as a whole, as S3 does: bytes read under one ETag are of one state.
    """

    def __init__(self, source: Source, file: SourceFile, reach: Reach, address: str, *, whole: bool = False) -> None:
        self._source = source
        self._file = file
        self._reach = reach
        self._whole = bool(file.version) or (whole and bool(file.etag))
        self.address = hidden(address) + file.name

    def download(
        self,
        out: Target,
        *,
        size: int | None,
        verified: bool = True,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Write the file's bytes to ``out``, after those that it holds.

        Args:
            out: may hold the first bytes of an earlier, broken download of the same state of the file.
            size: how many bytes there must be; None where nobody knows.
            verified: the caller knows the digest that must come out, so that bytes of two states of the file are
                noticed. Where not, a file that nothing vouches for (`SourceFile`) is begun anew when a transfer
                breaks, and after the transfer its state must still be the one listed.
            sleep: waits between attempts; what it raises ends the transfer, as does what ``out.write`` raises.

        Raises:
            NotThereError: there is no such file.
            ChangedError: its state is not the one listed; where ``size`` is given also: it has another size now.
            UnreachableError: attempts that brought nothing new failed in ways that may pass.
            FetchError: the source refuses, or more than ``size`` bytes came.
        """
        steady = verified or bool(self._file.version or (self._file.etag and self._file.settled))
        if not steady or (size is not None and out.tell() > size):
            out.restart()
        failed = 0
        while True:
            before = out.tell()
            try:
                self._stream(out, size)
                if not verified:
                    self._check_unchanged()
            except Broken as broken:
                failed = 0 if steady and out.tell() > before else failed + 1
                _wait(broken, failed, self._reach, self.address, sleep)
                if not steady:
                    out.restart()
            else:
                return

    def _stream(self, out: Target, size: int | None) -> None:
        """Write what one connection brings; `Broken` where that is not all."""
        for piece in self._source.pieces(self._file, out.tell()):
            if size is not None and out.tell() + len(piece) > size:
                self._check_size(size)
                raise FetchError(f"cannot fetch {self.address}", why=f"more than the {size} bytes expected came")
            out.write(piece)
        if size is not None and out.tell() < size:
            self._check_size(size)
            raise Broken(f"truncated: {out.tell()} of {size} bytes came")

    def _check_size(self, size: int) -> None:
        """Return where another attempt can bring ``size`` bytes, as far as the server says."""
        now = self._source.stat(self._file.name, self._file.version)
        if now.size not in (None, size):
            raise ChangedError(
                f"{self.address} is not what it was", why=f"it has {now.size} bytes, and {size} are expected"
            )

    def _check_unchanged(self) -> None:
        """Return where the file still is as listed: its bytes, read while it was written to, may be of no state."""
        if self._whole:
            return
        now = self._source.stat(self._file.name)
        if (now.size, now.etag) != (self._file.size, self._file.etag):
            raise ChangedError(
                f"{self.address} changed while it was read", hint="wait until nothing writes to it, then run it again"
            )


class _Memory:
    """Takes a file of at most ``limit`` bytes; FetchError where it has more."""

    def __init__(self, address: str, limit: int) -> None:
        self.data = bytearray()
        self._address = address
        self._limit = limit

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > self._limit:
            raise FetchError(f"cannot fetch {self._address}", why=f"it has more than {self._limit} bytes")

    def tell(self) -> int:
        return len(self.data)

    def restart(self) -> None:
        self.data.clear()


def read_small(source: Source, reach: Reach, address: str, limit: int) -> bytes:
    """Return the bytes of the file that ``source`` is; FetchError as `Origin.download`, and beyond ``limit`` bytes."""
    file = patiently(source.stat, reach, address)
    memory = _Memory(hidden(address), limit)
    Origin(source, file, reach, address).download(memory, size=file.size, verified=False)
    return bytes(memory.data)


def _wait(broken: Broken, failed: int, reach: Reach, address: str, sleep: Callable[[float], object]) -> None:
    """Wait before the next attempt; UnreachableError after the last."""
    if failed >= reach.attempts:
        why = f"{broken} (tried {failed} times)" if failed > 1 else str(broken)
        raise UnreachableError(f"cannot fetch {hidden(address)}", why=why) from broken
    pause = reach.pause * 2 ** max(failed - 1, 0) if broken.pause is None else broken.pause
    sleep(min(pause, LONGEST_PAUSE))
