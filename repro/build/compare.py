"""Two layers side by side: the paths at which they differ, and in what. Reads, never changes them."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.oci import inode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES: Final = 32 << 20  # of each file that is looked into for a cause
_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Aspect:
    """Something in which two entries differ, and what each says of it, in words."""

    name: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.name} {self.first} and {self.second}"


@dataclass(frozen=True, slots=True)
class Content:
    """The beginnings (`MOST_BYTES`) of two regular files that differ."""

    first: bytes
    second: bytes


@dataclass(frozen=True, slots=True)
class Unequal:
    """A path (from the root, without a slash before it) at which two layers differ, and in what.

    ``only`` is the build, ``first`` or ``second``, that alone has the path; else it is empty.
    """

    path: str
    aspects: tuple[Aspect, ...] = ()
    content: Content | None = None
    only: str = ""


def compare_layers(first: Path, second: Path, form: str) -> Iterator[Unequal]:
    """Yield every difference that the layers' tars have, in the order of paths; both lie unpacked in ``form``."""
    sides = _Side(form), _Side(form)
    with _opened(first, os.lstat(first)) as one, _opened(second, os.lstat(second)) as two:
        yield from _compare(one, two, "", sides)


class _Side:
    """One of the two layers: how it keeps owners, and under which path each hard-linked file was met first."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._linked: dict[int, str] = {}

    def facts(self, folder: int, name: str, path: str) -> dict[str, str]:
        """Return all that the layer's tar says of an entry but its content, in words."""
        status = os.lstat(name, dir_fd=folder)
        if inode.is_whiteout(status):
            return {"kind": "a whiteout"}
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        # By way of the folder's descriptor: paths of any length, and never through a link.
        reach = f"/proc/self/fd/{folder}/{name}"
        owner = inode.get_owner(reach, status, self.form)
        facts = {"kind": kind, "owner": f"{owner[0]}:{owner[1]}", "time": str(int(status.st_mtime))}
        if kind == "link":
            return {**facts, "target": os.readlink(name, dir_fd=folder)}
        facts["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
        if kind in {"device", "block device"}:
            facts["number"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        if kind != "folder" and status.st_nlink > 1:
            facts["hard link"] = f"to {self._linked.setdefault(status.st_ino, path)}"
        if kind in {"file", "folder"}:
            with _opened(name, status, folder) as descriptor:
                _, attributes, opaque = inode.tar_attributes(descriptor, self.form)
            facts.update((f"attribute {key}", value.hex()) for key, value in attributes)
            if opaque:
                facts["opaque"] = "yes"
        return facts


def _compare(first: int, second: int, above: str, sides: tuple[_Side, _Side]) -> Iterator[Unequal]:
    """Compare two open folders, entry by entry."""
    ours, theirs = set(os.listdir(first)), set(os.listdir(second))
    for name in sorted(ours | theirs, key=os.fsencode):
        path = f"{above}{name}"
        if name not in ours or name not in theirs:
            yield Unequal(path, only="first" if name in ours else "second")
            continue
        one, two = sides[0].facts(first, name, path), sides[1].facts(second, name, path)
        keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
        aspects = tuple(Aspect(key, one.get(key, "none"), two.get(key, "none")) for key in keys)
        content = None
        statuses = os.lstat(name, dir_fd=first), os.lstat(name, dir_fd=second)
        if one["kind"] == two["kind"] == "file":
            with _opened(name, statuses[0], first) as left, _opened(name, statuses[1], second) as right:
                if not _equal(left, right):
                    content = Content(os.pread(left, MOST_BYTES, 0), os.pread(right, MOST_BYTES, 0))
        if aspects or content is not None:
            yield Unequal(path, aspects, content)
        if one["kind"] == two["kind"] == "folder":
            with _opened(name, statuses[0], first) as left, _opened(name, statuses[1], second) as right:
                yield from _compare(left, right, f"{path}/", sides)


def _equal(first: int, second: int) -> bool:
    """Whether two open files hold the same bytes."""
    offset = 0
    while True:
        one, two = os.pread(first, _CHUNK, offset), os.pread(second, _CHUNK, offset)
        if one != two:
            return False
        if not one:
            return True
        offset += len(one)


@contextlib.contextmanager
def _opened(name: str | Path, status: os.stat_result, folder: int | None = None) -> Iterator[int]:
    """Open a file or folder whatever its mode, which is as before when the block ends."""
    descriptor, widened = inode.open_readable(name, status.st_mode, dir_fd=folder)
    try:
        yield descriptor
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.close(descriptor)
