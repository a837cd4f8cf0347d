"""Layers compressed for registries: gzip, or zstd where that is asked for; each with digest and size of the blob.

gzip is written by ISA-L at its first level, several times as fast as zlib's and as small. Its bytes depend on the
processor, so that who sends a layer twice names the blob of the first time (`repro.oci.known`). zlib writes where ISA-L
is not there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from repro.digest import Digest
from repro.errors import UsageError
from repro.oci.model import Descriptor, MediaTypes

if TYPE_CHECKING:
    from typing import BinaryIO

    from repro.oci.store import Store

FORMATS = ("gzip", "zstd")
_BLOCK = 1 << 20  # what is compressed at once: the blob must not depend on the pieces that it came in
_TYPES = {"gzip": MediaTypes.LAYER_GZIP, "zstd": MediaTypes.LAYER_ZSTD}


class _Engine(Protocol):
    """Compresses piece by piece."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Return what can be written so far."""

    def flush(self) -> bytes:
        """Return the rest."""


class _Blob:
    """Compresses what is written to it into ``file``, in blocks of one size."""

    def __init__(self, file: BinaryIO, engine: _Engine) -> None:
        self._file = file
        self._engine = engine
        self._waiting = bytearray()
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: memoryview, /) -> None:
        """Take the next bytes of the tar."""
        self._waiting += data
        whole = len(self._waiting) - len(self._waiting) % _BLOCK
        if whole:
            with memoryview(self._waiting) as view:
                for start in range(0, whole, _BLOCK):
                    self._put(self._engine.compress(view[start : start + _BLOCK]))
            del self._waiting[:whole]

    def finish(self) -> Digest:
        """Write the rest; return the blob's digest."""
        self._put(self._engine.compress(bytes(self._waiting)))
        self._put(self._engine.flush())
        return Digest(self._hash.hexdigest())

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)


def compress_layer(store: Store, diff_id: Digest, file: BinaryIO, kind: str = "gzip") -> Descriptor:
    """Write the layer's tar, compressed, to ``file``; return the blob.

    Raises:
        UsageError: zstd is asked for, and its module is not there.
        CorruptError: the layer in the store is damaged.
    """
    blob = _Blob(file, _engine(kind))
    store.write_layer(diff_id, blob)
    digest = blob.finish()
    return Descriptor(_TYPES[kind], digest, blob.size)


def _engine(kind: str) -> _Engine:
    if kind == "zstd":
        try:
            import zstandard  # noqa: PLC0415 - an extra: few registries' users ask for it
        except ImportError as error:
            raise UsageError(
                "zstd is not there to compress with", hint="pip install zstandard, or leave --compression out"
            ) from error
        engine: _Engine = zstandard.ZstdCompressor(level=3).compressobj()
        return engine
    try:
        from isal import isal_zlib  # noqa: PLC0415 - only to push
    except ImportError:  # no wheel for this processor
        import zlib  # noqa: PLC0415

        return zlib.compressobj(1, wbits=31)
    fast: _Engine = isal_zlib.compressobj(1, wbits=31)
    return fast
