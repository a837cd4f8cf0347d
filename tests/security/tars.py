"""Tars made block by block, so that they can say what no honest writer would; and digests of what they hold."""

from __future__ import annotations

import gzip

BLOCK = 512
FILE, LINK, SYMLINK, CHAR, DEVICE, FOLDER, FIFO, PAX, GLOBAL = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x", b"g",
)  # fmt: skip
END = bytes(2 * BLOCK)


def header(
    name: bytes,
    kind: bytes = FILE,
    *,
    size: bytes | int = 0,
    target: bytes = b"",
    mode: bytes = b"0000644\0",
    uid: bytes | int = 0,
    gid: bytes | int = 0,
    mtime: bytes | int = 0,
    major: bytes | int = 0,
    minor: bytes | int = 0,
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """Return one ustar header; a number that is given as bytes stands there as it is."""
    fields = (
        (100, name),
        (8, mode),
        (8, _octal(uid, 7)),
        (8, _octal(gid, 7)),
        (12, _octal(size, 11)),
        (12, _octal(mtime, 11)),
        (8, b" " * 8),
        (1, kind),
        (100, target),
        (8, b"ustar\x0000"),
        (64, b""),
        (8, _octal(major, 7)),
        (8, _octal(minor, 7)),
        (155, prefix),
        (12, b""),
    )
    block = b"".join(value[:width].ljust(width, b"\0") for width, value in fields)
    return block[:148] + (b"%06o\0 " % sum(block) if checksum is None else checksum) + block[156:]


def _octal(value: bytes | int, digits: int) -> bytes:
    return value if isinstance(value, bytes) else b"%0*o" % (digits, value)


def base256(value: int, width: int) -> bytes:
    """Return a number as GNU tar writes those that octal digits cannot."""
    return bytes([0x80 if value >= 0 else 0xFF]) + (value % (1 << 8 * (width - 1))).to_bytes(width - 1, "big")


def padded(data: bytes) -> bytes:
    """Return ``data`` and zeros to a whole block."""
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes, data: bytes = b"", **more: bytes | int) -> bytes:
    """Return a regular file's entry."""
    return header(name, FILE, size=len(data), **more) + padded(data)


def folder(name: bytes, **more: bytes | int) -> bytes:
    """Return a folder's entry."""
    return header(name, FOLDER, mode=b"0000755\0", **more)


def symlink(name: bytes, target: bytes) -> bytes:
    """Return a symbolic link's entry, with an extended header for a target that is long."""
    return (pax(linkpath=target) if len(target) > 100 else b"") + header(name, SYMLINK, target=target)


def link(name: bytes, target: bytes) -> bytes:
    """Return a hard link's entry, with an extended header for a target that is long."""
    return (pax(linkpath=target) if len(target) > 100 else b"") + header(name, LINK, target=target)


def record(key: bytes, value: bytes) -> bytes:
    """Return a record of an extended header (POSIX pax)."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def pax(body: bytes = b"", kind: bytes = PAX, **records: bytes) -> bytes:
    """Return an extended header; ``body`` is records as they are, ``records`` come after it."""
    body += b"".join(record(key.encode(), value) for key, value in records.items())
    return header(b"././@PaxHeader", kind, size=len(body)) + padded(body)


def attribute(name: bytes, value: bytes) -> bytes:
    """Return an extended header with one extended attribute."""
    return pax(record(b"SCHILY.xattr." + name, value))


def gnu_name(name: bytes, kind: bytes = b"L") -> bytes:
    """Return GNU's header for a long name, or with kind ``K`` for a long link target."""
    return header(b"././@LongLink", kind, size=len(name) + 1) + padded(name + b"\0")


def tar(*entries: bytes) -> bytes:
    """Return a whole tar."""
    return b"".join(entries) + END


def packed(data: bytes) -> bytes:
    """Return ``data`` gzipped, always in the same way."""
    return gzip.compress(data, 6, mtime=0)
