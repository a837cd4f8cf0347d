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
from repro.oci.behind import Behind
from repro.oci.model import Descriptor, MediaTypes

if TYPE_CHECKING:
    from typing import BinaryIO

    from repro.oci.store import Store

FORMATS = ("gzip", "zstd")
_TYPES = {"gzip": MediaTypes.LAYER_GZIP, "zstd": MediaTypes.LAYER_ZSTD}


class _Engine(Protocol):
    """Compresses piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what can be written so far."""

    def flush(self) -> bytes:
        """Return the rest."""


class _Blob:
    """Compresses the blocks that are given to it into ``file``."""

    def __init__(self, file: BinaryIO, engine: _Engine) -> None:
        self._file = file
        self._engine = engine
        self._hash = hashlib.sha256()
        self.size = 0

    def take(self, block: bytes) -> None:
        """Compress the next block of the tar."""
        self._put(self._engine.compress(block))

    def finish(self) -> Digest:
        """Write the rest; return the blob's digest."""
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
    with Behind(blob.take) as blocks:  # of one size: the blob must not depend on the pieces that the tar comes in
        store.write_layer(diff_id, blocks)
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
