"""Where things lie in a store that are no images, layers or facts; what is in folders, and what it takes."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from repro.digest import Digest
from repro.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from repro.oci.store import Store

PARTIAL: Final = "partial"  # below the root: blobs that a pull broke off
_REPLAYS: Final = "replays"  # below the root: builds told again


def cache_folders(store: Store) -> list[Path]:
    """Return the folders of cache mounts, of every form, and the one of replays."""
    mounts = [path for form in entries_of(store.caches_root) for path in entries_of(form) if path.is_dir()]
    replays = store.root / _REPLAYS
    return [*mounts, replays] if replays.exists() else mounts


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder, locks aside, sorted; nothing if it is not there."""
    try:
        return sorted(path for path in folder.iterdir() if path.name != ".lock")
    except (FileNotFoundError, NotADirectoryError):
        return []


def files_below(folder: Path) -> list[Path]:
    """Return all regular files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def named_digest(name: str) -> Digest | None:
    """Return the digest whose hex digits a file is named by; None if it is none."""
    try:
        return Digest(name)
    except DataError:
        return None


def tree_size(path: Path) -> int:
    """Return the bytes of the regular files in a tree, as far as it can be read."""
    total = 0
    stack = [os.fspath(path)]
    while stack:
        current = stack.pop()
        with contextlib.suppress(OSError):
            status = os.lstat(current)
            if stat.S_ISDIR(status.st_mode):
                with os.scandir(current) as entries:
                    stack += [entry.path for entry in entries]
            elif stat.S_ISREG(status.st_mode):
                total += status.st_size
    return total
