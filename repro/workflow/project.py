"""The project's files, as planning sees them, with the pinned inputs among them."""

from __future__ import annotations

import fnmatch
import os
import re
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.workflow.paths import STATE
from repro.workflow.tree import ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

Entry: TypeAlias = tuple[
    str, bool, bool
]  # a name in a folder, whether it is (or leads to) a folder, whether it is a link

_SKIPPED = frozenset((STATE, ".git"))


class ProjectFiles(Protocol):
    """Reads the tree that a workflow's paths are relative to. Symbolic links stand for what they point to."""

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; OSError as ``open`` raises it, ReproError where a pinned one cannot be had."""

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder."""

    def glob(self, pattern: str) -> list[str]:
        """Return the files that match, sorted; ``*`` stays in a folder, ``**`` spans any number of them.

        Names that begin with a dot are matched only by a pattern that says the dot; ``.repro`` and ``.git`` never.
        """

    def unknown(self, pattern: str) -> list[str]:
        """Return the folders in which files may match that are not known yet: inputs that were never locked."""


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
        return _glob(pattern, self.entries)

    def unknown(self, pattern: str) -> list[str]:  # noqa: ARG002 - the port's
        """Return none: a folder can be listed."""
        return []

    def entries(self, folder: str) -> list[Entry]:
        """Return what is in ``folder`` (empty, or ending in a slash), sorted; nothing where it cannot be listed."""
        try:
            with os.scandir(self._prefix + folder) as found:
                return sorted(
                    (entry.name, entry.is_dir(), entry.is_symlink()) for entry in found if entry.name not in _SKIPPED
                )
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []


@dataclass(frozen=True, slots=True)
class PinnedInput:
    """An entry of a workflow's ``inputs:`` as planning sees it.

    ``path`` is its project path, a folder's ends in ``/``. ``names`` are the files in a folder, relative to it; None
    where they are not known yet. ``read`` returns the bytes of a project path that is the input or lies in it, or
    raises ReproError; None where they cannot be had.
    """

    path: str
    names: frozenset[str] | None
    read: Callable[[str], bytes] | None


class PinnedProject:
    """The project's files with pinned inputs laid over them: what is in the project at their paths is hidden."""

    def __init__(self, folder: FolderProject, inputs: Mapping[str, PinnedInput]) -> None:
        self.own = folder  # the project without them
        self._inputs = {path.rstrip("/"): pinned for path, pinned in inputs.items()}
        self._parents = {parent for path in inputs for parent in ancestors(path)}

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; OSError as ``open`` raises it, ReproError where a pinned one cannot be had."""
        pinned = self._owner(path)
        if pinned is None:
            return self.own.read(path)
        if not self.exists(path):
            raise FileNotFoundError(path)
        if pinned.read is None:
            raise DataError(f"{path} is not here yet", hint=f"fetch it with `repro data get {path}`")
        return pinned.read(path)

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder; anything is, in a folder whose files are not known yet."""
        pinned = self._owner(path)
        if pinned is None:
            return path.rstrip("/") in self._parents or self.own.exists(path)
        bare, top = path.rstrip("/"), pinned.path.rstrip("/")
        if bare == top or (pinned.names is None and pinned.path.endswith("/")):
            return True
        return bare[len(top) + 1 :] in (pinned.names or ()) or f"{bare}/" in self._pinned_entries

    def is_folder(self, path: str) -> bool:
        """Return whether there is a folder; in one whose files are not known yet, whether ``path`` says that it is."""
        pinned = self._owner(path)
        bare = path.rstrip("/")
        if pinned is None:
            return bare in self._parents or self.own.is_folder(path)
        if bare == pinned.path.rstrip("/") or not pinned.path.endswith("/"):
            return pinned.path.endswith("/")
        return path.endswith("/") if pinned.names is None else f"{bare}/" in self._pinned_entries

    def glob(self, pattern: str) -> list[str]:
        """Return the files that match, sorted; see `ProjectFiles.glob`."""
        return _glob(pattern, self._entries)

    def unknown(self, pattern: str) -> list[str]:
        """Return the folders, never locked, in which files may match."""
        parts = tuple(pattern.rstrip("/").split("/"))
        return sorted(
            pinned.path
            for bare, pinned in self._inputs.items()
            if pinned.names is None and pinned.path.endswith("/") and _reaches(parts, tuple(bare.split("/")))
        )

    def _owner(self, path: str) -> PinnedInput | None:
        """Return the input that ``path`` is or lies in."""
        found = self._inputs.get(path.rstrip("/"))
        if found is not None:
            return found
        return next((self._inputs[folder] for folder in ancestors(path) if folder in self._inputs), None)

    def _entries(self, folder: str) -> list[Entry]:
        pinned = self._pinned_entries.get(folder, {})
        if folder and self._owner(folder) is not None:
            return sorted(pinned.values())
        found = {entry[0]: entry for entry in self.own.entries(folder)}
        return sorted({**found, **pinned}.values())

    @cached_property
    def _pinned_entries(self) -> Mapping[str, Mapping[str, Entry]]:
        """What pinned inputs put into each folder, by name; made only for globs and what lies inside of inputs."""
        made: dict[str, dict[str, Entry]] = {}
        for pinned in self._inputs.values():
            _enter(made, pinned.path)
            for name in pinned.names or ():
                _enter(made, pinned.path + name)
        return made


def _enter(made: dict[str, dict[str, Entry]], path: str) -> None:
    """Enter ``path`` and the folders it lies in, as far as they are not there yet."""
    is_folder = path.endswith("/")
    bare = path.rstrip("/")
    while bare:
        cut = bare.rfind("/") + 1
        names = made.setdefault(bare[:cut], {})
        if bare[cut:] in names:
            return
        names[bare[cut:]] = (bare[cut:], is_folder, False)
        bare, is_folder = bare[: max(cut - 1, 0)], True


def _glob(pattern: str, entries: Callable[[str], Iterable[Entry]]) -> list[str]:
    return sorted(set(_walk(tuple(pattern.rstrip("/").split("/")), entries)))


def _walk(pattern: tuple[str, ...], entries: Callable[[str], Iterable[Entry]]) -> Iterator[str]:
    pending = [("", pattern)]  # no recursion: a folder may be deeper than the stack
    while pending:
        folder, parts = pending.pop()
        part, rest = parts[0], parts[1:]
        if part == "**":
            pending.append((folder, rest or ("*",)))
            for name, is_folder, is_link in entries(folder):
                # a link to a folder is not entered by **: it may lead round in a circle
                if is_folder and not name.startswith(".") and not is_link:
                    pending.append((f"{folder}{name}/", parts))
            continue
        matches = _matcher(part)
        for name, is_folder, _ in entries(folder):
            if (name.startswith(".") and not part.startswith(".")) or not matches(name):
                continue
            if not rest and not is_folder:
                yield folder + name
            elif rest and is_folder:
                pending.append((f"{folder}{name}/", rest))


def may_match(pattern: str, path: str) -> bool:
    """Return whether a glob matches the file ``path``; of a folder (it ends in ``/``), whether it may, inside of it."""
    parts, names = tuple(pattern.split("/")), tuple(path.rstrip("/").split("/"))
    return _reaches(parts, names) if path.endswith("/") else _fits(parts, names)


def _fits(pattern: tuple[str, ...], names: tuple[str, ...]) -> bool:
    if not pattern or not names:
        return not pattern and not names
    part, name = pattern[0], names[0]
    if part == "**":
        rest = pattern[1:] or ("*",)
        return _fits(rest, names) or (not name.startswith(".") and len(names) > 1 and _fits(pattern, names[1:]))
    shown = part.startswith(".") or not name.startswith(".")
    return shown and _matcher(part)(name) is not None and _fits(pattern[1:], names[1:])


def _reaches(pattern: tuple[str, ...], folder: tuple[str, ...]) -> bool:
    """Return whether something inside ``folder`` could match ``pattern``."""
    if not folder or not pattern:
        return bool(pattern)
    part, name = pattern[0], folder[0]
    if part == "**":
        return _reaches(pattern[1:], folder) or (not name.startswith(".") and _reaches(pattern, folder[1:]))
    shown = part.startswith(".") or not name.startswith(".")
    return shown and _matcher(part)(name) is not None and _reaches(pattern[1:], folder[1:])


@lru_cache(maxsize=1024)
def _matcher(part: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(part)).match
