"""Two images side by side: the paths at which their merged roots differ, and in what. Reads, never changes them.

Times are not compared: they differ between any two builds that were not made to be the same, and say nothing of what an
image does. Neither is which names of a file are hard links.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.oci import inode
from repro.oci.flatten import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from repro.oci.flatten import Found

_CHUNK: Final = 1 << 20
_BITS: Final = 0o7777


@dataclass(frozen=True, slots=True)
class Difference:
    """A path (absolute) at which two images differ.

    ``kind`` is ``added`` (the second alone has it), ``removed``, or ``changed``; ``changes`` then says in what:
    ``type``, ``content``, ``size``, ``mode``, ``owner``, ``link``, ``device``, ``xattr``.
    """

    path: str
    kind: str
    changes: tuple[str, ...] = ()


def differences(
    first: Sequence[Path], second: Sequence[Path], form: str, seen: Callable[[int, str], object] | None = None
) -> Iterator[Difference]:
    """Yield every difference between the merged roots of two stacks of layers, in the order of paths.

    Args:
        first: layers of the one, lowest first, unpacked in ``form``.
        second: those of the other.
        form: how owners are kept.
        seen: is told of every path of each: 0 for the first, 1 for the second, and the path without a slash before it.
    """
    sides = _entries(first), _entries(second)
    one, two = (next(side, None) for side in sides)
    while one is not None or two is not None:
        order = 0 if one and two and one.path == two.path else _first_of(one, two)
        if seen is not None:
            for number, found in ((0, one if order <= 0 else None), (1, two if order >= 0 else None)):
                if found is not None:
                    seen(number, os.fsdecode(found.path))
        if order < 0 and one is not None:
            yield Difference(_shown(one), "removed")
        elif order > 0 and two is not None:
            yield Difference(_shown(two), "added")
        elif one is not None and two is not None:
            changes = _changes(one, two, form)
            if changes:
                yield Difference(_shown(one), "changed", changes)
        if order <= 0:
            one = next(sides[0], None)
        if order >= 0:
            two = next(sides[1], None)


def _entries(layers: Sequence[Path]) -> Iterator[Found]:
    """Give what is in the merged root, each once; a folder comes before what is in it."""
    return (found for found in merged(layers) if not found.leaving)


def _first_of(one: Found | None, two: Found | None) -> int:
    """Return -1 if ``one`` comes first, 1 if ``two`` does; what is not there comes last."""
    if one is None or two is None:
        return 1 if one is None else -1
    return -1 if one.path.split(b"/") < two.path.split(b"/") else 1


def _shown(found: Found) -> str:
    return f"/{os.fsdecode(found.path)}"


def _changes(one: Found, two: Found, form: str) -> tuple[str, ...]:
    """Return in what two entries of one path differ."""
    first, second = one.status, two.status
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):  # of a layer that both have
        return ()
    if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        return ("type",)
    changes = []
    regular, folder = stat.S_ISREG(first.st_mode), stat.S_ISDIR(first.st_mode)
    if regular or folder:
        with _opened(one) as left, _opened(two) as right:
            if regular and first.st_size != second.st_size:
                changes += ["content", "size"]
            elif regular and not _equal(left, right):
                changes.append("content")
            attributes = inode.tar_attributes(left, form)[1], inode.tar_attributes(right, form)[1]
            if attributes[0] != attributes[1]:
                changes.append("xattr")
    elif stat.S_ISLNK(first.st_mode):
        if _target(one) != _target(two):
            changes.append("link")
    elif first.st_rdev != second.st_rdev:
        changes.append("device")
    if not stat.S_ISLNK(first.st_mode) and (first.st_mode ^ second.st_mode) & _BITS:
        changes.append("mode")
    if _owner(one, form) != _owner(two, form):
        changes.append("owner")
    return tuple(changes)


def _target(found: Found) -> bytes:
    return os.readlink(found.name, dir_fd=found.folder)


def _owner(found: Found, form: str) -> tuple[int, int]:
    # By way of the folder's descriptor: paths of any length, and never through a link.
    return inode.get_owner(f"/proc/self/fd/{found.folder}/{os.fsdecode(found.name)}", found.status, form)


@contextlib.contextmanager
def _opened(found: Found) -> Iterator[int]:
    """Open a file or folder whatever its mode, which is as before when the block ends."""
    descriptor, widened = inode.open_readable(found.name, found.status.st_mode, dir_fd=found.folder)
    try:
        yield descriptor
    finally:
        if widened:
            os.fchmod(descriptor, stat.S_IMODE(found.status.st_mode))
        os.close(descriptor)


def _equal(first: int, second: int) -> bool:
    """Whether two open files hold the same bytes."""
    offset = 0
    while one := os.pread(first, _CHUNK, offset):
        if one != os.pread(second, _CHUNK, offset):
            return False
        offset += len(one)
    return not os.pread(second, 1, offset)
