"""The project's files, as planning sees them."""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from repro.workflow.paths import STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SKIPPED = frozenset((STATE, ".git"))


class ProjectFiles(Protocol):
    """Reads the tree that a workflow's paths are relative to. Symbolic links stand for what they point to."""

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; OSError as ``open`` raises it."""

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""

    def glob(self, pattern: str) -> list[str]:
        """Return the files that match, sorted; ``*`` stays in a folder, ``**`` spans any number of them.

        Names that begin with a dot are matched only by a pattern that says the dot; ``.repro`` and ``.git`` never.
        """


class FolderProject:
    """The project in the folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{os.fspath(root)}/"

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; OSError as ``open`` raises it."""
        with open(self._prefix + path, "rb") as file:
            return file.read()

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""
        return os.path.exists(self._prefix + path)

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""
        return os.path.isdir(self._prefix + path)

    def glob(self, pattern: str) -> list[str]:
        """Return the files that match, sorted; see `ProjectFiles.glob`."""
        return sorted(set(self._walk(tuple(pattern.rstrip("/").split("/")))))

    def _walk(self, pattern: tuple[str, ...]) -> Iterator[str]:
        pending = [("", pattern)]  # no recursion: a folder may be deeper than the stack
        while pending:
            folder, parts = pending.pop()
            part, rest = parts[0], parts[1:]
            if part == "**":
                pending.append((folder, rest or ("*",)))
                for name, is_folder in self._list(folder):
                    # a link to a folder is not entered by **: it may lead round in a circle
                    if is_folder and not name.startswith(".") and not os.path.islink(self._prefix + folder + name):
                        pending.append((f"{folder}{name}/", parts))
                continue
            matches = _matcher(part)
            for name, is_folder in self._list(folder):
                if name.startswith(".") and not part.startswith("."):
                    continue
                if not matches(name):
                    continue
                if not rest and not is_folder:
                    yield folder + name
                elif rest and is_folder:
                    pending.append((f"{folder}{name}/", rest))

    def _list(self, folder: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self._prefix + folder) as found:
                return sorted((entry.name, entry.is_dir()) for entry in found if entry.name not in _SKIPPED)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []


@lru_cache(maxsize=1024)
def _matcher(part: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(part)).match
