"""What COPY and bind mounts read: a tree of nodes, wherever it comes from (context, stage or image)."""

from __future__ import annotations

import difflib
import os
import posixpath
import stat
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from repro.build.files import digest_layer_file
from repro.dataclass import dataclass
from repro.oci.inode import open_readable, tar_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.digest import Digest
    from repro.oci.view import Entry, View


class Kind(Enum):
    """What a node is; sockets and the like are `OTHER` and are never copied."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    FIFO = "fifo"
    DEVICE = "device"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Node:
    """A file of a source: ``path`` below its root (no leading slash, "" for the root), ``host`` where it lies.

    ``mode`` has the twelve permission bits; ``status`` is what lstat(2) said when the node was looked at, so that
    a file that changes while it is read is noticed. Owners are those that the image is to have.
    ``host`` is a string because a Path for each of many files costs more than looking at the file.
    """

    path: str
    host: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    status: os.stat_result
    target: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Source(Protocol):
    """A tree to copy from. Paths are relative, ``/`` between names, ``..`` and links never leave the root.

    ``exact`` says whether owners and extended attributes are part of the tree (layers) or accidents of a checkout
    (contexts).
    """

    exact: bool

    def node(self, path: str) -> Node | None:
        """Return what is at ``path``, a link not followed; None if nothing is, or if it is ignored."""

    def children(self, folder: Node) -> Sequence[Node]:
        """Return what is in ``folder``, sorted by name."""

    def resolve(self, path: str) -> str:
        """Return ``path`` with every link in it resolved inside the root, as far as it exists."""

    def digest(self, node: Node) -> Digest:
        """Return the digest of a regular file's bytes."""

    def attributes(self, node: Node) -> Sequence[tuple[str, bytes]]:
        """Return the extended attributes of a file or folder that a copy is to have, sorted by name."""

    def bindable(self, node: Node) -> bool:
        """Say whether ``node.host`` shows exactly what the source has there, so that it can be mounted as it is."""

    def missing(self, path: str) -> str | None:
        """Say why ``path`` may be missing, for the error's hint."""


def kind_of(mode: int) -> Kind:
    """Return the kind that lstat's mode says."""
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    if stat.S_ISLNK(mode):
        return Kind.LINK
    if stat.S_ISFIFO(mode):
        return Kind.FIFO
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return Kind.DEVICE
    return Kind.OTHER


def clean(path: str) -> str:
    """Return ``path`` relative to a root: ``.`` and ``..`` worked out, never above the root, "" for the root."""
    return posixpath.normpath("/" + path).lstrip("/")


class ViewSource:
    """The merged layers of a stage or image as a source."""

    exact = True

    def __init__(self, view: View) -> None:
        self._view = view

    def node(self, path: str) -> Node | None:
        """Return what the image has at ``path``."""
        entry = self._view.entry("/" + clean(path))
        return None if entry is None else self._node(clean(path), entry)

    def names(self, folder: str) -> list[str]:
        """Return the names in the folder at ``folder``; none where the image has no such folder."""
        node = self.node(folder)
        return [] if node is None or node.kind is not Kind.FOLDER else self._view.listdir("/" + folder)

    def children(self, folder: Node) -> Sequence[Node]:
        """Return what the image has in ``folder``."""
        out: list[Node] = []
        for name in self._view.listdir("/" + folder.path):
            path = f"{folder.path}/{name}" if folder.path else name
            entry = self._view.entry("/" + path)
            if entry is not None:
                out.append(self._node(path, entry))
        return out

    def resolve(self, path: str) -> str:
        """Resolve links as the image's own root would."""
        return self._view.resolve("/" + clean(path)).lstrip("/")

    def digest(self, node: Node) -> Digest:
        """Return the digest of the file's bytes."""
        return digest_layer_file(node.host)

    def attributes(self, node: Node) -> Sequence[tuple[str, bytes]]:
        """Return what a tar of the layer would hold."""
        if not os.listxattr(node.host, follow_symlinks=False):
            return ()
        descriptor, widened = open_readable(node.host, node.status.st_mode)
        try:
            return tar_attributes(descriptor, self._view.form)[1]
        finally:
            if widened:
                os.fchmod(descriptor, node.mode)
            os.close(descriptor)

    def bindable(self, node: Node) -> bool:
        """Only files: a folder may be merged from several layers."""
        return node.kind is Kind.FILE

    def missing(self, path: str) -> str | None:
        """Name what the folder does have, if it exists."""
        return near_names(self, path)

    @staticmethod
    def _node(path: str, entry: Entry) -> Node:
        mode = entry.stat.st_mode
        kind = kind_of(mode)
        target = entry.target if kind is Kind.LINK else ""
        return Node(path, os.fspath(entry.host), kind, stat.S_IMODE(mode), entry.uid, entry.gid, entry.stat, target)


class Snapshot:
    """Another source whose folders are listed once each: what is asked of them later is what was seen first.

    So a copy is of what its key was made of; a file that has changed since differs from its node's ``status``.
    """

    def __init__(self, source: Source) -> None:
        self.exact = source.exact
        self.node = source.node
        self.resolve = source.resolve
        self.digest = source.digest
        self.attributes = source.attributes
        self.bindable = source.bindable
        self.missing = source.missing
        self._source = source
        self._children: dict[str, Sequence[Node]] = {}

    def children(self, folder: Node) -> Sequence[Node]:
        """Return what was in ``folder`` when it was first asked for."""
        found = self._children.get(folder.path)
        if found is None:
            found = self._children[folder.path] = self._source.children(folder)
        return found


def near_names(source: Source, path: str) -> str | None:
    """Return a hint with names like the missing one in its folder."""
    folder = source.node(source.resolve(posixpath.dirname(path)))
    if folder is None or folder.kind is not Kind.FOLDER:
        return None
    names = [node.name for node in source.children(folder)]
    near = difflib.get_close_matches(posixpath.basename(path), names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else None
