"""The build context: a folder of the host seen through `.dockerignore`, or a made-up tree of host files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TypeAlias

from repro.build.source import Kind, Node, Source, clean, kind_of, near_names
from repro.digest import Digest
from repro.dockerfile.ignore import IgnoreRules
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Context: TypeAlias = Source

# What lstat(2) would say of a folder that is on no disk.
_MADE_UP = os.stat_result((stat.S_IFDIR | 0o755, *(0,) * 9), {"st_mtime_ns": 0})
_MOST_LINKS = 40  # path_resolution(7): the kernel's own limit


class FolderContext:
    """The folder ``root`` as a context; every file belongs to 0:0, whoever owns it on the host.

    ``hasher`` returns the digest of a host file: a caller with a stat cache saves reading files again. ``looked`` has
    the host paths of all that was looked at, there or not: as long as these stay as they are, so does every answer.
    """

    exact = False

    def __init__(
        self, root: Path, ignore: IgnoreRules | None = None, *, hasher: Callable[[str], Digest] = Digest.of_file
    ) -> None:
        self._root = os.fspath(root)
        self.ignore = IgnoreRules() if ignore is None else ignore
        self._hasher = hasher
        self.looked: set[str] = set()

    def node(self, path: str) -> Node | None:
        """Return what is at ``path`` unless `.dockerignore` leaves it out.

        An ignored folder is there as long as something below it is kept.
        """
        place = self._resolve(clean(path), follow_last=False)
        host = f"{self._root}/{place}" if place else self._root
        self.looked.add(host)
        node = look(place, host)
        if node is None or not place or not self.ignore.ignores(place):
            return node
        if node.kind is Kind.FOLDER and self.ignore.may_keep_below(place) and self.children(node):
            return node
        return None

    def children(self, folder: Node) -> Sequence[Node]:
        """Return what is in ``folder`` and not ignored."""
        out: list[Node] = []
        for name in self._names(folder):
            path = f"{folder.path}/{name}" if folder.path else name
            node = look(path, f"{folder.host}/{name}")
            if node is None:
                continue
            if self.ignore.patterns and self.ignore.ignores(path):
                below = node.kind is Kind.FOLDER and self.ignore.may_keep_below(path)
                if not below or not self.children(node):
                    continue
            self.looked.add(node.host)
            out.append(node)
        return out

    def resolve(self, path: str) -> str:
        """Resolve links inside the context, as far as the path exists."""
        return self._resolve(clean(path), follow_last=True)

    def digest(self, node: Node) -> Digest:
        """Return the digest of the file's bytes."""
        try:
            return self._hasher(node.host)
        except OSError as error:
            raise _unreadable(node, error) from error

    def attributes(self, node: Node) -> Sequence[tuple[str, bytes]]:  # noqa: ARG002 - a `Source` asks by node
        """Return none: browsers and file managers leave attributes, version control keeps none."""
        return ()

    def bindable(self, node: Node) -> bool:
        """Files always; a folder if nothing below it is ignored."""
        return node.kind is Kind.FILE or not self.ignore.patterns or self._whole(node)

    def missing(self, path: str) -> str | None:
        """Say whether `.dockerignore` is why, else name near names."""
        if os.path.lexists(f"{self._root}/{clean(path)}"):
            return "it is left out by .dockerignore: add a line with ! and its path"
        return near_names(self, clean(path))

    def _names(self, folder: Node) -> list[str]:
        self.looked.add(folder.host)
        try:
            return sorted(os.listdir(folder.host))
        except OSError as error:
            raise _unreadable(folder, error) from error

    def _whole(self, folder: Node) -> bool:
        for name in self._names(folder):
            path = f"{folder.path}/{name}" if folder.path else name
            node = look(path, f"{folder.host}/{name}")
            if node is not None and (self.ignore.ignores(path) or (node.kind is Kind.FOLDER and not self._whole(node))):
                return False
        return True

    def _resolve(self, path: str, *, follow_last: bool) -> str:
        """Walk ``path`` name by name; a link starts again inside the root, so nothing outside is ever reached."""
        done: list[str] = []
        rest = [name for name in path.split("/") if name]
        links = 0
        while rest:
            name = rest.pop(0)
            if name in (".", ""):
                continue
            if name == "..":
                done = done[:-1]
                continue
            host = "/".join([self._root, *done, name])
            self.looked.add(host)
            if (rest or follow_last) and os.path.islink(host):
                links += 1
                if links > _MOST_LINKS:
                    raise DataError(f"too many links in the context at {path!r}", hint="a link points to itself")
                target = os.readlink(host)
                if target.startswith("/"):
                    done = []
                rest = [*target.split("/"), *rest]
                continue
            done.append(name)
        return "/".join(done)


class MappingContext:
    """A context put together from host files and folders, or other contexts, by context path."""

    exact = False

    def __init__(
        self, files: Mapping[str, Path | FolderContext], *, hasher: Callable[[str], Digest] = Digest.of_file
    ) -> None:
        self._roots = {
            clean(path): host if isinstance(host, FolderContext) else FolderContext(host, hasher=hasher)
            for path, host in files.items()
        }
        self._folders: dict[str, set[str]] = {"": set()}
        for path in self._roots:
            parent, name = "", ""
            for name in path.split("/"):
                self._folders.setdefault(parent, set()).add(name)
                parent = f"{parent}/{name}" if parent else name

    def node(self, path: str) -> Node | None:
        """Return what is at ``path``: an entry, something in an entry that is a folder, or a folder of entries."""
        place = clean(path)
        found = self._entry(place)
        if found is not None:
            prefix, context = found
            return _below(prefix, context.node(place[len(prefix) :]))
        if place in self._folders:
            return Node(place, "/", Kind.FOLDER, 0o755, 0, 0, _MADE_UP)
        return None

    def children(self, folder: Node) -> Sequence[Node]:
        """Return what is in ``folder``, sorted by name."""
        found = self._entry(folder.path)
        if found is None:
            paths = (f"{folder.path}/{name}" if folder.path else name for name in sorted(self._folders[folder.path]))
            return [node for path in paths if (node := self.node(path)) is not None]
        prefix, context = found
        inner = context.node(folder.path[len(prefix) :])
        nodes = [] if inner is None else context.children(inner)
        return [node for child in nodes if (node := _below(prefix, child)) is not None]

    def resolve(self, path: str) -> str:
        """Resolve links inside the entry that holds ``path``."""
        place = clean(path)
        found = self._entry(place)
        if found is None:
            return place
        prefix, context = found
        inner = context.resolve(place[len(prefix) :])
        return f"{prefix}/{inner}" if inner else prefix

    def digest(self, node: Node) -> Digest:
        """Return the digest of the file's bytes."""
        found = self._entry(node.path)
        assert found is not None  # only files have a digest, and files lie in an entry
        return found[1].digest(node)

    def attributes(self, node: Node) -> Sequence[tuple[str, bytes]]:  # noqa: ARG002 - a `Source` asks by node
        """Return none, as a folder context does."""
        return ()

    def bindable(self, node: Node) -> bool:
        """Say whether the node lies in one entry; a folder of several entries does not exist on the host."""
        return self._entry(node.path) is not None

    def missing(self, path: str) -> str | None:
        """Name near names."""
        return near_names(self, clean(path))

    def _entry(self, path: str) -> tuple[str, FolderContext] | None:
        prefix = path
        while True:
            if prefix in self._roots:
                return prefix, self._roots[prefix]
            if not prefix:
                return None
            prefix = prefix.rpartition("/")[0]


def _below(prefix: str, node: Node | None) -> Node | None:
    if node is None:
        return None
    path = "/".join(part for part in (prefix, node.path) if part)
    return Node(path, node.host, node.kind, node.mode, node.uid, node.gid, node.status, node.target)


def _unreadable(node: Node, error: OSError) -> DataError:
    return DataError(
        f"{node.path or 'the build context'} cannot be read",
        why=error.strerror,
        hint="make it readable, or leave it out by a line in .dockerignore",
    )


def look(path: str, host: str) -> Node | None:
    """Return the node of a host file, owned by 0:0; None if there is none."""
    try:
        status = os.lstat(host)
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = kind_of(status.st_mode)
    target = os.readlink(host) if kind is Kind.LINK else ""
    return Node(path, host, kind, stat.S_IMODE(status.st_mode), 0, 0, status, target)
