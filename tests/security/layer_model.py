"""What a layer's entries should become: a few rules on names, without a file system (image-spec layer.md)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.security.tars import FIFO, FILE, FOLDER, LINK, SYMLINK

WHITEOUT = b"whiteout"
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: SYMLINK, stat.S_IFIFO: FIFO, stat.S_IFCHR: WHITEOUT}


@dataclass(frozen=True)
class Entry:
    """An entry of a tar as far as the model goes."""

    name: bytes
    kind: bytes
    target: bytes = b""
    data: bytes = b""


@dataclass
class Tree:
    """What is at each path: its kind, and a file's bytes or a link's target; and which folders hide what is below."""

    places: dict[bytes, tuple[bytes, bytes]] = field(default_factory=lambda: {b"": (FOLDER, b"")})
    opaque: set[bytes] = field(default_factory=set)


class RefusedError(Exception):
    """The layer must be refused."""


def predicted(entries: Iterable[Entry]) -> Tree | None:
    """Return the tree that a layer of ``entries`` is, None if it must be refused."""
    tree = Tree()
    try:
        for entry in entries:
            _put(tree, entry)
    except RefusedError:
        return None
    return tree


def found(folder: Path) -> Tree:
    """Return the tree that lies in ``folder``; modes are widened to read it."""
    tree = Tree({})
    _look(os.fsencode(folder), b"", tree)
    return tree


def _look(place: bytes, path: bytes, tree: Tree) -> None:
    kind = _KINDS[stat.S_IFMT(os.lstat(place).st_mode)]
    content = os.readlink(place) if kind == SYMLINK else b""
    if kind in (FILE, FOLDER):
        os.chmod(place, 0o700)
    if kind == FILE:
        content = Path(os.fsdecode(place)).read_bytes()
    tree.places[path] = kind, content
    if kind != FOLDER:
        return
    if "user.overlay.opaque" in os.listxattr(place):
        tree.opaque.add(path)
    for name in os.listdir(place):
        _look(place + b"/" + name, path + b"/" + name if path else name, tree)


def _path(name: bytes) -> bytes:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if not name or name.startswith(b"/") or b".." in parts or b"\0" in name:
        raise RefusedError
    return b"/".join(parts)


def _put(tree: Tree, entry: Entry) -> None:
    path = _path(entry.name)
    if entry.kind == SYMLINK and not entry.target:
        raise RefusedError
    if not path:
        if entry.kind != FOLDER:
            raise RefusedError
        return
    *above, name = path.split(b"/")
    if any(part.startswith(b".wh..wh.") and part != b".wh..wh..opq" for part in (*above, name)):
        return
    if any(part.startswith(b".wh.") for part in above):
        raise RefusedError
    if name.startswith(b".wh.") and name != b".wh..wh..opq" and name[4:] in (b"", b".", b".."):
        _make_folders(tree, above)
        raise RefusedError
    _make_folders(tree, above)
    if name == b".wh..wh..opq":
        tree.opaque.add(b"/".join(above))
    elif name.startswith(b".wh."):
        _hide(tree, b"/".join((*above, name[4:])))
    else:
        _make(tree, path, entry)


def _make_folders(tree: Tree, parts: list[bytes]) -> None:
    for end in range(1, len(parts) + 1):
        path = b"/".join(parts[:end])
        kind, _ = tree.places.get(path, (WHITEOUT, b""))
        if kind not in (FOLDER, WHITEOUT):
            raise RefusedError
        if kind == WHITEOUT:
            _new_folder(tree, path)


def _new_folder(tree: Tree, path: bytes) -> None:
    if path in tree.places:  # deleted and made again: it shows nothing of the old one
        tree.opaque.add(path)
    tree.places[path] = FOLDER, b""


def _hide(tree: Tree, path: bytes) -> None:
    kind, _ = tree.places.get(path, (b"", b""))
    if kind == FOLDER:
        tree.opaque.add(path)
    elif not kind:
        tree.places[path] = WHITEOUT, b""


def _make(tree: Tree, path: bytes, entry: Entry) -> None:
    kind, _ = tree.places.get(path, (WHITEOUT, b""))
    if kind == FOLDER and entry.kind == FOLDER:
        return
    if kind != WHITEOUT:
        raise RefusedError
    if entry.kind == FOLDER:
        _new_folder(tree, path)
    elif entry.kind == LINK:
        target = tree.places.get(_path(entry.target), (b"", b""))
        if target[0] != FILE:
            raise RefusedError
        tree.places[path] = target
    else:
        tree.places[path] = entry.kind, entry.target if entry.kind == SYMLINK else entry.data
