"""Compressed streams of archives that users bring: told by their first bytes, decompressed as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from repro.errors import DataError
from repro.oci import compression

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.digest import Source

_GZIP: Final = b"\x1f\x8b\x08"
_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\0"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LONGEST: Final = 6  # of the marks above
_HINT: Final = "if you trust the archive, decompress it yourself"


def decompressed(file: BinaryIO) -> Source:
    """Return the bytes of ``file``, which is at its start and can be sought in, decompressed if they are compressed.

    Understood are gzip, bzip2, xz, and zstd where this Python has it (HostError where not). Reading raises DataError
    where the stream is broken, or swells beyond all measure (`repro.oci.limits`): of bzip2, 80 bytes can be 64 MiB.
    """
    start = file.read(_LONGEST)
    file.seek(0)
    if start.startswith((_GZIP, _ZSTD)):
        return compression.decompressed(file, hint=_HINT)
    if start.startswith(_BZIP2):
        import bz2  # noqa: PLC0415 - only where it is needed

        return compression.Measured(_Checked(bz2.BZ2File(file).read), file.tell, hint=_HINT)
    if start.startswith(_XZ):
        import lzma  # noqa: PLC0415 - only where it is needed

        return compression.Measured(_Checked(lzma.LZMAFile(file).read, lzma.LZMAError), file.tell, hint=_HINT)
    return file


class _Checked:
    """A stream whose own errors are told as DataError."""

    def __init__(self, read: Callable[[int], bytes], error: type[Exception] = OSError) -> None:
        self._read = read
        self._errors = (error, OSError, EOFError)

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        try:
            return self._read(size)
        except self._errors as error:
            raise DataError("the compressed stream is broken", why=str(error)) from error
