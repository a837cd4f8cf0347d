"""Digests, and the one encoding that everything hashed goes through."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from repro.dataclass import dataclass
from repro.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


CHUNK = 1 << 20  # bytes read at a time when streaming
_SMALL, _LARGE = 1 << 16, 1 << 18  # bytes of a file asked for at first, and once it turns out to be large
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest as OCI writes it (image-spec descriptor.md, "Digests"): ``sha256:`` and 64 hex digits.

    ``Digest.parse(str(d)) == d``. Other algorithms are refused: one identity, one algorithm.
    """

    hex: str

    def __post_init__(self) -> None:
        if _HEX.fullmatch(self.hex) is None:
            raise DataError(f"not a sha256 digest: {self.hex!r}", hint="64 lower-case hex digits are needed")

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that ``sha256:<hex>`` spells; DataError for anything else."""
        algorithm, colon, digits = text.partition(":")
        if not colon or algorithm != "sha256":
            raise DataError(f"not a sha256 digest: {text!r}", hint="write it as sha256:<64 hex digits>")
        return cls(digits)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest of ``data``."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_stream(cls, stream: Source) -> Self:
        """Return the digest of what is left in ``stream``, read to its end."""
        state = hashlib.sha256()
        while data := stream.read(CHUNK):
            state.update(data)
        return cls(state.hexdigest())

    @classmethod
    def of_file(cls, path: Path | str) -> Self:
        """Return the digest of the file's bytes; OSError as ``open`` raises it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return cls.of_open_file(descriptor)
        finally:
            os.close(descriptor)

    @classmethod
    def of_open_file(cls, descriptor: int) -> Self:
        """Return the digest of what is left in an open file, read to its end."""
        state = hashlib.sha256(os.read(descriptor, _SMALL))
        if more := os.read(descriptor, _SMALL):
            state.update(more)
            # One buffer for the rest. A small file does without: zeroing it would cost more than reading and hashing
            # (50,000 files of 130 bytes: 0.3 CPU s so, 0.9 with hashlib.file_digest).
            buffer = memoryview(bytearray(_LARGE))
            while count := os.readv(descriptor, [buffer]):
                state.update(buffer[:count])
        return cls(state.hexdigest())


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Json) -> bytes:
    """Return the one encoding of ``value``: UTF-8, keys sorted, no blanks, no NaN. Equal values, equal bytes."""
    return _CANONICAL.encode(value).encode()


def record_digest(kind: str, value: Json) -> Digest:
    """Return the digest of a typed record: ``kind`` (``job-key/1``) is hashed with it, so that no two kinds collide."""
    return Digest.of(canonical_json([kind, value]))
