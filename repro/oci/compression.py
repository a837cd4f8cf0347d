"""Compressed layers: told by their first bytes, decompressed as they are read."""

from __future__ import annotations

import zlib
from typing import Protocol

from repro.errors import DataError

_BUFFER = 1 << 20


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


def decompressed(stream: Source) -> Source:
    """Return the tar in ``stream``, which may be gzipped (told by its first bytes); DataError for zstd."""
    start = _read_exactly(stream, 4)
    plain = _Joined(start, stream)
    if start[:2] == b"\x1f\x8b":
        return _Gunzip(plain)
    if start == b"\x28\xb5\x2f\xfd":
        raise DataError("the layer is compressed with zstd, which cannot be read", hint="push it with gzip")
    return plain


def _read_exactly(stream: Source, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = stream.read(count - len(data))
        if not piece:
            break
        data += piece
    return data


class _Joined:
    """A stream with bytes put back in front of it."""

    def __init__(self, start: bytes, stream: Source) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        if self._start:
            start, self._start = self._start[:size], self._start[size:]
            return start
        return self._stream.read(size)


class _Gunzip:
    """A gzip stream, decompressed as it is read; members may follow each other (RFC 1952, 2.2)."""

    def __init__(self, stream: Source) -> None:
        self._stream = stream
        self._pending = b""
        self._engine = zlib.decompressobj(wbits=31)
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end; DataError for what is no gzip or cut short."""
        try:
            while True:
                data = self._pending or self._stream.read(_BUFFER)
                if not data:
                    if self._begun:
                        raise DataError("the gzip stream is cut short")
                    return b""
                self._begun = True
                out = self._engine.decompress(data, size)
                self._pending = self._engine.unconsumed_tail
                if self._engine.eof:
                    self._pending = self._engine.unused_data
                    self._engine = zlib.decompressobj(wbits=31)
                    self._begun = bool(self._pending)
                if out:
                    return out
        except zlib.error as error:
            raise DataError("the gzip stream is broken", why=str(error)) from error
