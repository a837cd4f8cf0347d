"""The stat cache's file: what is known of 100,000 files is read in a few hundredths of a second.

::

    8 bytes   "repro-s2"
    32        sha256 of all that follows
    4         number of entries, little-endian as all numbers
    68 each   inode, size, mtime, ctime (8 bytes each, times in ns), day of last use since 1970 (4), sha256 (32)
    rest      the paths in the same order, separated by NUL

Written under another name and renamed, without fsync: what a power cut leaves of it fails its checksum.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Known: TypeAlias = tuple[int, int, int, int, int, bytes]  # inode, size, mtime_ns, ctime_ns, day, digest

NOTHING: Known = (0, 0, 0, 0, 0, bytes(32))  # no file has the inode 0

_MAGIC = b"repro-s2"
_HEAD = struct.Struct("<8s32sI")
_CHECKED = 40  # where begins what the checksum is of
_ENTRY = struct.Struct("<QQqqI32s")
_MOST = 200_000  # entries above which those that nothing used for so many days are dropped
_DAYS = 30


class Entries:
    """Digests by path; what is read from a file stays packed until it is asked for."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}  # of what is packed
        self._packed = b""
        self._new: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._places) + sum(path not in self._places for path in self._new)

    def get(self, path: str) -> Known | None:
        """Return what is known of the file; None for nothing."""
        new = self._new.get(path)
        if new is not None:
            return new
        place = self._places.get(path)
        return None if place is None else _ENTRY.unpack_from(self._packed, place)

    def put(self, path: str, known: Known) -> None:
        """Take up, or replace, what is known of a file; ``path`` as Python's file names are."""
        self._new[path] = known

    @classmethod
    def parse(cls, data: bytes) -> Entries:
        """Return the entries of a file; none where it is damaged or of another version."""
        entries = cls()
        if len(data) < _HEAD.size or data[: len(_MAGIC)] != _MAGIC:
            return entries
        _, checksum, count = _HEAD.unpack_from(data)
        if hashlib.sha256(memoryview(data)[_CHECKED:]).digest() != checksum:
            return entries
        start = _HEAD.size
        end = start + count * _ENTRY.size
        paths = data[end:].decode("utf-8", "surrogateescape").split("\0") if count else []
        entries._packed = data
        entries._places = dict(zip(paths, range(start, end, _ENTRY.size), strict=True))
        return entries

    def to_bytes(self, new: Entries, used: Iterable[str], day: int) -> bytes:
        """Return these entries as a file, with what is new in ``new`` instead of theirs, and ``used`` on ``day``.

        Of very many, those are left out that nothing has used for a month: never those of one large project, of which
        most runs use a part.
        """
        count = len(self._places)
        packed = bytearray(memoryview(self._packed)[_HEAD.size : _HEAD.size + count * _ENTRY.size])
        paths = list(self._places)
        places = {path: place - _HEAD.size for path, place in self._places.items()}
        for path, known in list(new._new.items()):  # other threads may add to it
            place = places.setdefault(path, len(packed))
            if place == len(packed):
                packed += bytes(_ENTRY.size)
                paths.append(path)
            _ENTRY.pack_into(packed, place, *known)
        for path in used:
            if path in places:
                struct.pack_into("<I", packed, places[path] + 32, day)
        if len(paths) > _MOST:
            recent = [path for path in paths if _day(packed, places[path]) > day - _DAYS]
            packed = bytearray().join(packed[places[path] : places[path] + _ENTRY.size] for path in recent)
            paths = recent
        head = bytearray(_HEAD.pack(_MAGIC, bytes(32), len(paths)))
        data = head + packed + "\0".join(paths).encode("utf-8", "surrogateescape")
        data[len(_MAGIC) : _CHECKED] = hashlib.sha256(memoryview(data)[_CHECKED:]).digest()
        return bytes(data)


def _day(packed: bytearray, place: int) -> int:
    return int.from_bytes(packed[place + 32 : place + 36], "little")
