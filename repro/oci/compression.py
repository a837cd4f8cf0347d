"""Compressed layers: told by their first bytes, decompressed as they are read.

gzip is read by ISA-L where the package ``isal`` is there, in half the time that zlib takes. zstd is read by Python
itself from 3.14 on, else by the package ``zstandard``. What swells beyond all measure is refused (`repro.oci.limits`).
"""

from __future__ import annotations

import importlib
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from repro.errors import DataError, HostError
from repro.oci.limits import DEFAULT_LIMITS, raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.digest import Source
    from repro.oci.limits import Swelling

_BUFFER: Final = 1 << 20
_FIRST: Final = 4 << 10  # bytes of the input that a gzip member is begun with
_MANY: Final = 10_000  # gzip members, from which on each is to hold _LEAST bytes on average
_LEAST: Final = 64  # a tar's smallest entry has 512
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_GUNZIP: Final = 31  # zlib's window bits for a gzip member, its header and checksum included
_RAISED: Final = raised("ratio")


def decompressed(stream: Source, limit: Swelling = DEFAULT_LIMITS.swelling, hint: str = _RAISED) -> Source:
    """Return the tar in ``stream``, which may be gzipped or compressed with zstd: told by its first bytes.

    Reading raises DataError where the stream is broken, cut short, or swells beyond ``limit``; then ``hint`` is
    the error's. (The package ``zstandard`` does not tell a stream that is cut short from one that has ended: its reader
    must.)

    Raises:
        HostError: it is zstd, and nothing here can read that.
    """
    start = _read_exactly(stream, len(_ZSTD))
    plain = _Joined(start, stream)
    match packing(start):
        case "gzip":
            return Measured(_Gunzip(plain), lambda: plain.taken, limit, hint)
        case "zstd":
            return Measured(_unzstd(plain), lambda: plain.taken, limit, hint)
        case _:
            return plain


def packing(start: bytes) -> str | None:
    """Return how a stream that begins with these four bytes is compressed: ``gzip``, ``zstd``; None: not at all."""
    if start.startswith(_GZIP):
        return "gzip"
    return "zstd" if start.startswith(_ZSTD) else None


def _read_exactly(stream: Source, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = stream.read(count - len(data))
        if not piece:
            break
        data += piece
    return data


class _Joined:
    """A stream with bytes put back in front of it; ``taken`` counts what was read."""

    def __init__(self, start: bytes, stream: Source) -> None:
        self._start = start
        self._stream = stream
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
        else:
            data = self._stream.read(size)
        self.taken += len(data)
        return data


class Measured:
    """A decompressed stream that may not swell beyond its limit.

    ``taken`` says what was read for it so far; ``hint`` what to do where it is trusted.
    """

    def __init__(
        self,
        plain: Source,
        taken: Callable[[], int],
        limit: Swelling = DEFAULT_LIMITS.swelling,
        hint: str = _RAISED,
    ) -> None:
        self._hint = hint
        self._plain = plain
        self._taken = taken
        self._limit = limit
        self._given = 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end; DataError beyond the limit."""
        data = self._plain.read(size)
        self._given += len(data)
        if self._given > self._limit.free and self._given > self._limit.ratio * self._taken():
            raise DataError(
                f"{self._taken()} compressed bytes swell to more than {self._given}",
                why=f"beyond {self._limit.free} bytes, more than {self._limit.ratio}-fold is taken for an attack",
                hint=self._hint,
            )
        return data


class _Inflating(Protocol):
    """What zlib and ISA-L decompress a member with."""

    @property
    def eof(self) -> bool:
        """Whether the member's end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What follows that end."""

    @property
    def unconsumed_tail(self) -> bytes:
        """What was not needed yet."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return up to ``max_length`` bytes."""


def _inflater() -> tuple[Callable[[], _Inflating], type[Exception]]:
    """Return a maker of gzip decompressors, and what they raise: ISA-L's, else zlib's."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - only where something is compressed
    except ImportError:  # a processor that there is no wheel for
        return lambda: zlib.decompressobj(wbits=_GUNZIP), zlib.error
    broken: type[Exception] = isal_zlib.error  # type: ignore[assignment] # its stub says that it is an instance
    return lambda: isal_zlib.decompressobj(wbits=_GUNZIP), broken


class _Gunzip:
    """A gzip stream, decompressed as it is read; members may follow each other (RFC 1952, 2.2).

    An engine gives back what it did not need of its input, so a member is begun with little of it: else a stream of
    tiny members would be copied as a whole for each. And each costs an engine, so too many tiny ones are refused.
    """

    def __init__(self, stream: Source) -> None:
        self._stream = stream
        self._held = b""
        self._at = 0  # in what is held
        self._piece = _FIRST
        self._new, self._error = _inflater()
        self._engine = self._new()
        self._begun = False
        self._members = self._given = 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end; DataError for what is no gzip, cut short, or a flood."""
        try:
            while True:
                data = self._next()
                if not data and not self._begun:
                    return b""
                self._begun = True
                out = self._engine.decompress(data, size)  # also of nothing: ISA-L may hold some back
                if not (data or out or self._engine.eof):
                    raise DataError("the gzip stream is cut short")
                self._given += len(out)
                self._took(len(data))
                if out:
                    return out
        except self._error as error:
            raise DataError("the gzip stream is broken", why=str(error)) from error

    def _next(self) -> bytes:
        """Return the next piece of the input; none at its end."""
        if self._at == len(self._held):
            self._held, self._at = self._stream.read(_BUFFER), 0
        return self._held[self._at : self._at + self._piece]

    def _took(self, count: int) -> None:
        """Go on behind what the engine needed of ``count`` bytes; with a new one where its member has ended."""
        ended = self._engine.eof
        left = len(self._engine.unused_data if ended else self._engine.unconsumed_tail)
        self._at += count - left
        if not ended:
            self._piece = self._piece if left else min(2 * self._piece, _BUFFER)
            return
        self._members += 1
        if self._members > _MANY and self._given < self._members * _LEAST:
            raise DataError(
                f"{self._members} gzip members hold {self._given} bytes",
                why=f"beyond {_MANY} members, less than {_LEAST} bytes in each is taken for an attack",
                hint="if you trust it, compress it anew",
            )
        self._engine, self._begun, self._piece = self._new(), False, _FIRST


class _Unzstd:
    """A zstd stream, read by another's reader, whose errors are told as DataError."""

    def __init__(self, reader: Source, error: type[Exception]) -> None:
        self._reader = reader
        self._errors = (error, EOFError)

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end; DataError for what is no zstd."""
        try:
            return self._reader.read(size)
        except self._errors as error:
            raise DataError("the zstd stream is broken", why=str(error)) from error


def _unzstd(stream: Source) -> Source:
    """Return the stream decompressed by what can do it here; HostError where nothing can."""
    for name in ("compression.zstd", "zstandard"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "zstandard":  # several frames may follow each other (RFC 8878, 3)
            return _Unzstd(module.ZstdDecompressor().stream_reader(stream, read_across_frames=True), module.ZstdError)
        return _Unzstd(module.ZstdFile(stream, "rb"), module.ZstdError)
    raise HostError(
        "what is compressed with zstd cannot be read by this Python",
        hint="run `pip install zstandard` where repro is installed, or use Python 3.14 or later",
    )
