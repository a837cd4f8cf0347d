"""What an unpacked image is, path by path, and where two of them differ."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

# What the host itself, the unpacking tool or the kernel's overlay puts on an inode.
_FOREIGN_XATTRS = ("security.selinux", "user.overlay.", "trusted.overlay.", "user.rootlesscontainers", "user.repro.")
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One path: all that an image keeps of it but its time.

    ``content`` is the SHA-256 of a file, ``links`` the other paths of the same inode, ``device`` its numbers.
    """

    kind: str
    mode: str
    uid: int
    gid: int
    size: int = 0
    content: str = ""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image as a tree and the fields of its config that Docker shows."""

    tree: dict[str, Entry]
    config: dict[str, object]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one path or of the config: what was expected, and what is there."""

    where: str
    field: str
    expected: object
    actual: object

    @property
    def key(self) -> str:
        """What a pattern of `case.json` is matched with."""
        return f"{self.where} {self.field}"

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.key}: expected {self.expected!r}, is {self.actual!r}"


def walk(root: Path) -> dict[str, Entry]:
    """Return every path below ``root``, and ``root`` itself as ``/``; undecodable names with surrogates."""
    found: dict[str, os.stat_result] = {"/": os.lstat(root)}
    for folder, folders, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in (*folders, *files):
            path = os.path.normpath(os.path.join("/", below, name))
            found[path] = os.lstat(os.path.join(folder, name))
    inodes: dict[int, list[str]] = {}
    for path, seen in sorted(found.items()):
        if not stat.S_ISDIR(seen.st_mode):
            inodes.setdefault(seen.st_ino, []).append(path)
    return {
        path: _entry(f"{root}{path}", seen, tuple(other for other in inodes.get(seen.st_ino, ()) if other != path))
        for path, seen in sorted(found.items())
    }


def _entry(path: str, seen: os.stat_result, links: tuple[str, ...]) -> Entry:
    kind = _KINDS[stat.S_IFMT(seen.st_mode)]
    return Entry(
        kind=kind,
        mode=f"{stat.S_IMODE(seen.st_mode):04o}",
        uid=seen.st_uid,
        gid=seen.st_gid,
        size=seen.st_size if kind == "file" else 0,
        content=_digest(path) if kind == "file" else "",
        target=os.readlink(path) if kind == "link" else "",
        device=(os.major(seen.st_rdev), os.minor(seen.st_rdev)) if "device" in kind else (0, 0),
        xattrs=tuple(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))
            if not name.startswith(_FOREIGN_XATTRS)
        ),
        links=links,
    )


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare(expected: Image, actual: Image) -> list[Difference]:
    """Return every difference, the config's first, then by path."""
    out = [
        Difference("config", key, expected.config.get(key), actual.config.get(key))
        for key in sorted({*expected.config, *actual.config})
        if expected.config.get(key) != actual.config.get(key)
    ]
    for path in sorted({*expected.tree, *actual.tree}):
        out += _compare_entry(path, expected.tree.get(path), actual.tree.get(path))
    return out


def _compare_entry(path: str, expected: Entry | None, actual: Entry | None) -> Iterator[Difference]:
    if expected is None or actual is None:
        known = expected or actual
        assert known is not None
        there = f"{known.kind} {known.mode} {known.uid}:{known.gid}"
        yield Difference(path, "exists", there if expected else "nothing", there if actual else "nothing")
        return
    for field in fields(Entry):
        if getattr(expected, field.name) != getattr(actual, field.name):
            yield Difference(path, field.name, getattr(expected, field.name), getattr(actual, field.name))


def sort_out(differences: list[Difference], listed: dict[str, str]) -> tuple[list[Difference], list[str]]:
    """Return the differences that no pattern of ``listed`` covers, and the patterns that cover none."""
    unlisted = [one for one in differences if not any(fnmatch.fnmatchcase(one.key, pattern) for pattern in listed)]
    idle = [pattern for pattern in listed if not any(fnmatch.fnmatchcase(one.key, pattern) for one in differences)]
    return unlisted, idle
