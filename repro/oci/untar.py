"""Reads a layer's tar from outside: entries one by one, everything checked.

Understood are ustar and pax (IEEE Std 1003.1), and GNU's long names and binary numbers, as Docker, BuildKit,
umoci, GNU tar and Python write them. Refused, naming the entry: broken checksums, numbers and records,
unknown types, sparse files, multi-volume archives, truncation, anything but zeros after the end, and more bytes than
the limit allows. So are values that Linux has no place for: owners, times, device numbers, links, attributes and file
capabilities that a system call would answer with an error, or take for something else (an owner of 2**32-1 for "no
change").
"""

from __future__ import annotations

import os
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.oci import inode, tar
from repro.oci.limits import DEFAULT_LIMITS, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.digest import Source

_BUFFER = 1 << 20
_LONGEST_EXTENSION = 1 << 20  # bytes of an entry's extended headers and long names: what Go's reader takes of one
_NOBODY = (1 << 32) - 1  # "no change" to chown(2)
_LATEST = 10**21  # nanoseconds before and after 1970; time_t holds more, no file system does
_MAJORS, _MINORS = 1 << 12, 1 << 20  # makedev(3): what Linux keeps of a device's numbers
_LONGEST_TARGET = 4095  # symlink(2)
_LONGEST_KEY, _LARGEST_VALUE = 255, 1 << 16  # xattr(7)
_LONGEST_SHOWN = 200  # bytes of a name in a message
_GNU_NAME, _GNU_TARGET, _GLOBAL = b"L", b"K", b"g"
_REGULAR = (tar.FILE, b"\0", b"7")
_KNOWN = frozenset(
    (*_REGULAR, tar.LINK, tar.SYMLINK, tar.CHAR, tar.DEVICE, tar.FOLDER, tar.FIFO),
)
_XATTR = b"SCHILY.xattr."
_OCTAL = b"01234567"


@dataclass(slots=True)
class TarEntry:
    """One entry, its extended headers applied. ``name`` and ``target`` are as written, not yet checked.

    ``kind`` is a type flag as in `repro.oci.tar`; ``mtime`` is in nanoseconds; ``attributes`` are (name,
    value).
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    major: int
    minor: int
    attributes: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """The name for messages: quoted, nothing in it that moves a terminal's cursor, the middle left out if long."""
        return shown(self.name)


def shown(name: bytes) -> str:
    """Return a name as messages show it (`TarEntry.shown`)."""
    if len(name) > _LONGEST_SHOWN:
        name = name[: _LONGEST_SHOWN // 2] + b"..." + name[-_LONGEST_SHOWN // 4 :]
    return repr(os.fsdecode(name))


class TarReader:
    """Iterates over the entries of a tar; ``data`` gives the bytes of the entry at hand. One pass.

    What follows the end must be zeros, unless it is said not to be ``padded`` so: then it is not read. A tar of more
    than ``most`` bytes is refused: at the header of the file that goes beyond, before anything of it is read.
    """

    def __init__(self, source: Source, *, padded: bool = True, most: int = DEFAULT_LIMITS.size) -> None:
        self._source = source
        self._padded = padded
        self._most = most
        self._buffer = memoryview(b"")
        self._entry: TarEntry | None = None  # the one at hand
        self._left = 0  # bytes of its data not taken yet
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}
        self.size = 0

    def entries(self) -> Iterator[TarEntry]:
        """Yield the entries to the end of the stream, and check that end; data not taken is skipped."""
        last = "the start"
        while True:
            self._skip()
            entry = self._next(last)
            if entry is None:
                if self._padded:
                    self._check_end()
                return
            last = entry.shown
            self._entry = entry
            yield entry

    def data(self, write: Callable[[memoryview], int]) -> None:
        """Pass the data of the entry at hand to ``write``, which returns how many bytes it took."""
        while self._left:
            piece = self._piece(self._left)
            self._left -= len(piece)
            while piece:
                piece = piece[write(piece) :]

    def _next(self, last: str) -> TarEntry | None:
        """Return the next entry with its extended headers applied; None at the mark of the end."""
        records: dict[bytes, bytes] = {}
        extended = 0  # bytes of extended headers of this entry so far
        while True:
            block = self._block(last)
            if block is None:
                if extended:
                    raise DataError(f"the tar ends in the middle of an entry, after {last}")
                return None
            entry = _parse_header(block, last)
            if entry.kind in {tar.PAX, _GLOBAL, _GNU_NAME, _GNU_TARGET}:
                extended += tar.BLOCK + entry.size  # the block: headers without a body come to an end, too
                body = self._extension(entry, extended, last)
                if entry.kind == _GNU_NAME:
                    records[b"path"] = body.rstrip(b"\0")
                elif entry.kind == _GNU_TARGET:
                    records[b"linkpath"] = body.rstrip(b"\0")
                elif entry.kind == _GLOBAL:
                    self._add_globals(_parse_records(body, last), last)
                else:
                    records.update(_parse_records(body, last))
                continue
            _apply_records(entry, {**self._globals, **records} if self._globals else records)
            if entry.kind not in _KNOWN:
                raise DataError(f"{entry.shown}: a tar entry of unknown type {entry.kind!r}")
            if entry.kind in _REGULAR:
                v7_folder = entry.kind == b"\0" and entry.name.endswith(b"/")
                entry.kind = tar.FOLDER if v7_folder else tar.FILE
            _check_values(entry)
            # POSIX: only regular files have data; some writers give links the size of their target.
            self._left = entry.size if entry.kind == tar.FILE else 0
            if self.size - len(self._buffer) + self._left > self._most:
                raise self._too_large(f"{entry.shown}: ")
            self._padding = -self._left % tar.BLOCK
            return entry

    def _block(self, last: str) -> bytes | None:
        """Return the next block; None at the end: two blocks of zeros, or one as some writers leave it."""
        if not self._fill():
            raise DataError(f"the tar is cut short after {last}", why="it does not end in blocks of zeros")
        block = self._bytes(tar.BLOCK, last)
        if block.count(0) != tar.BLOCK:
            return block
        return None

    def _add_globals(self, records: dict[bytes, bytes], last: str) -> None:
        """Take a global header's records, which hold for all entries that follow."""
        self._globals.update(records)
        if sum(len(key) + len(value) for key, value in self._globals.items()) > _LONGEST_EXTENSION:
            raise DataError(f"global headers of more than {_LONGEST_EXTENSION} bytes after {last}")

    def _too_large(self, where: str = "") -> DataError:
        return DataError(f"{where}the tar holds more than {self._most} bytes", hint=raised("size"))

    def _extension(self, entry: TarEntry, extended: int, last: str) -> bytes:
        """Return an extended header's body; with it, the entry's have ``extended`` bytes."""
        if extended > _LONGEST_EXTENSION:
            raise DataError(f"extended headers of {extended} bytes after {last}", why="1 MiB is the limit")
        body = self._bytes(entry.size, last)
        self._bytes(-entry.size % tar.BLOCK, last)
        return body

    def _check_end(self) -> None:
        """Read to the end of the stream, which must be zeros only."""
        while self._fill():
            if bytes(self._buffer).count(0) != len(self._buffer):
                raise DataError("the tar goes on after its end", why="more than zeros follow")
            self._buffer = memoryview(b"")

    def _skip(self) -> None:
        self.data(len)
        while self._padding:
            self._padding -= len(self._piece(self._padding))

    def _bytes(self, count: int, last: str) -> bytes:
        if len(self._buffer) >= count:
            taken = bytes(self._buffer[:count])
            self._buffer = self._buffer[count:]
            return taken
        pieces = []
        while count:
            if not self._fill():
                raise DataError(f"the tar is cut short after {last}")
            piece = self._piece(count)
            pieces.append(bytes(piece))
            count -= len(piece)
        return b"".join(pieces)

    def _piece(self, most: int) -> memoryview:
        """Return the next bytes, one at least and ``most`` at most."""
        if not self._fill():
            shown = "" if self._entry is None else f"{self._entry.shown}: "
            raise DataError(f"{shown}the tar is cut short within a file's data")
        piece = self._buffer[:most]
        self._buffer = self._buffer[most:]
        return piece

    def _fill(self) -> bool:
        """Have bytes at hand, if there are any left."""
        if not self._buffer:
            data = self._source.read(_BUFFER)
            self.size += len(data)
            if self.size > self._most + _BUFFER:  # what is read ahead of an entry is no more than this
                raise self._too_large()
            self._buffer = memoryview(data)
        return bool(self._buffer)


def is_header(block: bytes) -> bool:
    """Say whether a block is the header of a tar's entry: its checksum is right."""
    try:
        return len(block) == tar.BLOCK and block.count(0) != tar.BLOCK and bool(_parse_header(block, "the start").name)
    except DataError:
        return False


def _parse_header(block: bytes, last: str) -> TarEntry:
    """Return what one header block says; DataError for a wrong checksum or number."""
    stored = _number(block[148:156], "checksum", last)
    if sum(block) - sum(block[148:156]) + 8 * 32 != stored:
        raise DataError(f"a broken tar header after {last}", why="its checksum does not match")
    name = _text(block[:100])
    posix = block[257:263] == b"ustar\0"
    if posix and block[345]:
        name = _text(block[345:500]) + b"/" + name
    kind = block[156:157]
    special = kind in {tar.CHAR, tar.DEVICE}
    size = _number(block[124:136], "size", last)
    if size < 0:
        raise DataError(f"a negative size in the tar header after {last}")
    return TarEntry(
        name=name,
        kind=kind,
        mode=_number(block[100:108], "mode", last) & 0o7777,
        uid=_number(block[108:116], "uid", last),
        gid=_number(block[116:124], "gid", last),
        size=size,
        mtime=_number(block[136:148], "mtime", last) * 1_000_000_000,
        target=_text(block[157:257]),
        major=_number(block[329:337], "devmajor", last) if special else 0,
        minor=_number(block[337:345], "devminor", last) if special else 0,
    )


def _text(data: bytes) -> bytes:
    end = data.find(0)
    return data if end < 0 else data[:end]


def _number(data: bytes, what: str, last: str) -> int:
    """Return a header's number: octal, or GNU's base 256 where the first bit is set."""
    if data[0] & 0x80:
        value = int.from_bytes(data, "big") & ((1 << (8 * len(data) - 1)) - 1)
        return value - (1 << (8 * len(data) - 1)) if data[0] & 0x40 else value
    digits = data.strip(b" \0")
    if digits.strip(_OCTAL):
        digits = digits.partition(b"\0")[0].rstrip(b" ")
        if digits.strip(_OCTAL):  # int() would take a sign, an underscore and 0o as well
            raise DataError(f"not a {what} in the tar header after {last}: {data!r}")
    return int(digits, 8) if digits else 0


def _parse_records(body: bytes, last: str) -> dict[bytes, bytes]:
    """Return the records of a pax extended header: length, blank, ``key=value``, line feed, each."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(body):
        blank = body.find(b" ", start, start + 20)
        digits = body[start:blank] if blank > start else b""
        end = start + int(digits) if digits.isdigit() else 0
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if end <= blank + 1 or end > len(body) or body[end - 1 : end] != b"\n" or not equals or not key:
            raise DataError(f"a broken extended header after {last}")
        records[key] = value
        start = end
    return records


def _apply_records(entry: TarEntry, records: dict[bytes, bytes]) -> None:
    """Let the extended header's values replace the header's own."""
    for key, value in records.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.target = value
        elif key == b"size":
            entry.size = _decimal(key, value, entry)
        elif key == b"uid":
            entry.uid = _decimal(key, value, entry)
        elif key == b"gid":
            entry.gid = _decimal(key, value, entry)
        elif key == b"mtime":
            entry.mtime = _time(value, entry)
        elif key.startswith(_XATTR):
            entry.attributes.append((os.fsdecode(key[len(_XATTR) :]), value))
        elif key.startswith(b"GNU.sparse."):
            raise DataError(f"{entry.shown}: a sparse file", hint="write the tar without --sparse")
    if b"\0" in entry.name or b"\0" in entry.target:
        raise DataError(f"{entry.shown}: a zero byte in a name")


def _check_values(entry: TarEntry) -> None:
    """Refuse what no inode can have."""
    if not 0 <= entry.uid | entry.gid < 1 << 32 or _NOBODY in (entry.uid, entry.gid):
        raise DataError(f"{entry.shown}: an owner that cannot be", why=f"it is {entry.uid}:{entry.gid}")
    if not -_LATEST < entry.mtime < _LATEST:
        raise DataError(f"{entry.shown}: a time that no file can have", why=f"it is {entry.mtime // 1_000_000_000}")
    if (entry.major or entry.minor) and not (0 <= entry.major < _MAJORS and 0 <= entry.minor < _MINORS):
        raise DataError(f"{entry.shown}: a device that cannot be", why=f"it is {entry.major}:{entry.minor}")
    if entry.kind == tar.SYMLINK and not 0 < len(entry.target) <= _LONGEST_TARGET:
        what = f"of {len(entry.target)} bytes" if entry.target else "to nothing"
        raise DataError(f"{entry.shown}: a symbolic link {what}")
    for name, value in entry.attributes:
        key = os.fsencode(name)
        if not key or b"\0" in key or len(key) > _LONGEST_KEY:
            raise DataError(f"{entry.shown}: an extended attribute whose name cannot be", why=f"it is {shown(key)}")
        if len(value) > _LARGEST_VALUE:
            raise DataError(f"{entry.shown}: the extended attribute {shown(key)} has {len(value)} bytes")
        if name == inode.CAPABILITY and not inode.is_capability(value):
            why = f"of {len(value)} bytes, it begins with {value[:4]!r}"
            raise DataError(f"{entry.shown}: a file capability that the kernel does not take", why=why)


def _decimal(key: bytes, value: bytes, entry: TarEntry) -> int:
    if not value.isdigit() or len(value) > 20:
        raise DataError(f"{entry.shown}: not a number in the extended header: {key!r} is {value[:40]!r}")
    return int(value)


def _time(value: bytes, entry: TarEntry) -> int:
    """Return the nanoseconds that a decimal fraction of seconds gives, rounded down; exact, unlike float."""
    sign = -1 if value.startswith(b"-") else 1
    whole, _, fraction = value.lstrip(b"-").partition(b".")
    if not whole.isdigit() or not (fraction.isdigit() or not fraction) or len(whole) > 12:
        raise DataError(f"{entry.shown}: not a time in the extended header: {value[:40]!r}")
    return sign * (int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))
