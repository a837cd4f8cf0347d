"""What stands for the bytes of data that is bound in place: the bytes themselves, or what somebody says of them.

Only ``sha256`` proves anything. The others are for data that is too big to be read each time: they notice what they
look at, and the record says that the rest was taken on trust.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from repro.data.checksum import StatCache, text_of, unreadable, walk
from repro.data.sums import read_sums, verify
from repro.digest import Digest, Json, record_digest
from repro.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def fingerprint(kind: str, value: str, path: Path, cache: StatCache) -> tuple[Digest, int, int]:
    """Return digest, size in bytes and number of files of the file or folder ``path``.

    Args:
        kind: ``sha256``: of the bytes. ``stat``: of names, sizes and times of modification; of links, of their
            targets. ``manifest``: of the bytes of a list of checksums, all of whose files are there; they are not
            read. ``label``: of the text ``value`` alone; a folder is not even walked, its size and number count as 0.
        value: the list's path from the folder, or the label.
        path: absolute; a symbolic link stands for what it leads to.
        cache: remembers digests of files.

    Raises:
        DataError: it is not there, cannot be read, or lacks a file that its list names.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    folder = stat.S_ISDIR(status.st_mode)
    match kind:
        case "sha256" if folder:
            return cache.digest_tree(path)
        case "sha256":
            return *cache.digest_file(path), 1
        case "stat":
            return _by_stat(path, status, folder=folder)
        case "manifest" if folder:
            return _by_manifest(path, value)
        case "manifest":
            raise DataError(f"{path} is no folder, and cannot have a list of checksums in it")
        case "label":
            return record_digest("fingerprint-label/1", value), *((0, 0) if folder else (status.st_size, 1))
        case _:
            raise AssertionError(kind)


def _by_stat(path: Path, status: os.stat_result, *, folder: bool) -> tuple[Digest, int, int]:
    """Inodes and ctimes are left out: another machine, or a copy that keeps times, has others."""
    if not folder:
        return record_digest("fingerprint-stat/1", [status.st_size, status.st_mtime_ns]), status.st_size, 1
    lines: list[Json] = []
    size = count = 0
    for entry in walk(path):
        name = text_of(entry.name)
        if entry.kind == "file":
            lines.append([name, entry.status.st_size, entry.status.st_mtime_ns])
            size += entry.status.st_size
            count += 1
        else:
            lines.append([name, text_of(os.readlink(entry.path)) if entry.kind == "link" else entry.kind])
    return record_digest("fingerprint-stat/1", lines), size, count


def _by_manifest(folder: Path, value: str) -> tuple[Digest, int, int]:
    """Names in the list are relative to the folder that it lies in."""
    if os.path.isabs(value) or ".." in value.split("/"):
        raise DataError(f"the list of checksums {value} does not lie in {folder}")
    manifest = folder / value
    try:
        data = manifest.read_bytes()
    except OSError as error:
        raise unreadable(manifest, error) from error
    names = read_sums(data, str(manifest)).names()
    size = 0
    for name in names:
        try:
            status = os.stat(manifest.parent / name)
        except OSError as error:
            raise DataError(f"{manifest} lists {name}, which is missing", why=error.strerror) from error
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{manifest} lists {name}, which is no file")
        size += status.st_size
    return Digest.of(data), size, len(names)


def belied(folder: Path, value: str) -> list[str]:
    """Return what files of ``folder`` are not as its list of checksums ``value`` says, one a line; reads all of them.

    DataError as `fingerprint`.
    """
    manifest = folder / value
    _by_manifest(folder, value)
    found = read_sums(manifest.read_bytes(), str(manifest))
    lines = []
    for name in found.names():
        expected = found.expected(name)
        assert expected is not None, "it is named"
        try:
            verify(manifest.parent / name, expected)
        except DataError as error:
            lines.append(f"{name}: {error.why or error.message}")
    return lines
