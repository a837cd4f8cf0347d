"""A layer folder made directly, without a container, as an overlay over the layers below it would come out."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.build.context import look
from repro.build.files import copy_bytes, opened
from repro.build.source import Kind, Node, ViewSource, clean
from repro.errors import BuildError
from repro.oci.inode import open_readable, set_owner, set_tar_attribute, tar_attributes
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a new file or folder is to have; ``mtime`` in nanoseconds."""

    uid: int
    gid: int
    mode: int
    mtime: int


class LayerFolder:
    """Fills ``upper``, an empty folder, over ``layers`` (lowest first).

    Paths are below the root, without ``.``, ``..`` or a leading slash.
    Folders that the layers already have are taken over with their mode, owner and time when something is put into
    them (overlay's copy-up); links in a destination's path are resolved inside the root. Call `finish` once.
    """

    def __init__(self, upper: Path, layers: Sequence[Path], form: str) -> None:
        self._upper = os.fspath(upper)
        self._layers = tuple(layers)
        self._form = form
        # Folders get theirs last: they must be writable, and their mtime moves, while they are filled.
        self._pending: dict[str, Attributes] = {}
        self._below = ViewSource(View(self._layers, form))
        self._made: set[str] = {""}  # folders that this layer has
        self._new: set[str] = set() if layers else {""}  # those of them that no lower layer has
        self._links: dict[tuple[int, int], str] = {}
        os.chmod(upper, 0o755)  # noqa: S103 - the image's root

    def merged(self) -> ViewSource:
        """Return what the image looks like now: the layers with this one on top."""
        return ViewSource(View([*self._layers, Path(self._upper)], self._form))

    def resolve(self, path: str) -> str:
        """Return ``path`` with the image's own links resolved."""
        return clean(self.merged().resolve(path))

    def node(self, path: str) -> Node | None:
        """Return what the image has now at ``path``, whose folder is resolved; a link is not followed."""
        if posixpath.dirname(path) in self._made and (found := look(path, self._host(path))) is not None:
            return found
        return None if posixpath.dirname(path) in self._new and path else self._below.node(path)

    def folder(self, path: str, new: Attributes) -> None:
        """Make sure that ``path`` (resolved) is a folder; it and its parents get ``new`` where they do not exist.

        BuildError if something else stands in its way.
        """
        if path in self._made:
            return
        parent = posixpath.dirname(path)
        self.folder(parent, new)
        existing = self.node(path)
        if existing is not None and existing.kind is not Kind.FOLDER:
            raise BuildError(f"/{path} is a {existing.kind.value} in the image, not a folder")
        host = self._host(path)
        if existing is None:
            self._make_folder(path, new)
            self._new.add(path)
            return
        kept = Attributes(existing.uid, existing.gid, existing.mode, existing.status.st_mtime_ns)
        self._make_folder(path, kept)
        self._attributes_from(existing, host)

    def dress_folder(self, path: str, attributes: Attributes) -> None:
        """Give an existing or new folder these attributes, whatever it had."""
        self.folder(path, attributes)
        self._pending[path] = attributes

    def file(self, path: str, node: Node, attributes: Attributes, *, exact: bool) -> None:
        """Put a copy of ``node`` at ``path`` (its folder exists in this layer), replacing any file or link there.

        ``exact`` keeps extended attributes, and hard links among what this layer copies. BuildError if ``path`` is
        a folder, or if the file changes while it is read.
        """
        host = self._place(path)
        if node.kind is Kind.FILE:
            identity = (node.status.st_dev, node.status.st_ino)
            if exact and node.status.st_nlink > 1 and identity in self._links:
                os.link(self._host(self._links[identity]), host, follow_symlinks=False)
                return
            self._links[identity] = path
            self._copy(node, host, attributes, exact=exact)
        elif node.kind is Kind.LINK:
            os.symlink(node.target, host)
            set_owner(host, attributes.uid, attributes.gid, self._form)
        elif node.kind is Kind.FIFO:
            os.mkfifo(host, 0o600)
            set_owner(host, attributes.uid, attributes.gid, self._form)
            os.chmod(host, attributes.mode)
        elif node.kind is Kind.DEVICE:
            self._device(node, host, attributes)
        else:
            return  # a socket means nothing without its process
        os.utime(host, ns=(attributes.mtime, attributes.mtime), follow_symlinks=False)

    def write(self, path: str, data: bytes, attributes: Attributes) -> None:
        """Put a file with these bytes at ``path`` (its folder exists in this layer)."""
        host = self._place(path)
        descriptor = os.open(host, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            self._dress(descriptor, attributes)

    def finish(self) -> None:
        """Set the folders' attributes, innermost first."""
        for path in sorted(self._pending, reverse=True):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._host(path), flags)
            try:
                self._dress(descriptor, self._pending[path])
            finally:
                os.close(descriptor)

    def _host(self, path: str) -> str:
        return f"{self._upper}/{path}"

    def _make_folder(self, path: str, attributes: Attributes) -> None:
        os.mkdir(self._host(path), 0o700)
        self._made.add(path)
        self._pending[path] = attributes

    def _place(self, path: str) -> str:
        """Return the host path for a new file; what this layer already has there goes."""
        existing = self.node(path)
        if existing is not None and existing.kind is Kind.FOLDER:
            raise BuildError(f"/{path} is a folder in the image and cannot be replaced by a file")
        host = self._host(path)
        if existing is not None and os.path.lexists(host):
            os.unlink(host)
            self._links = {identity: place for identity, place in self._links.items() if place != path}
        return host

    def _copy(self, node: Node, host: str, attributes: Attributes, *, exact: bool) -> None:
        target = os.open(host, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with opened(node.host, ours=exact) as source:
                before = os.fstat(source)
                copy_bytes(source, target)
                if _state(before) != _state(node.status) or _state(os.fstat(source)) != _state(before):
                    raise BuildError(
                        f"{node.path} changed while it was copied", hint="build again when nothing writes to it"
                    )
                if exact:
                    _, kept, _ = tar_attributes(source, self._form)
                    self._dress(target, attributes, kept)
                else:
                    self._dress(target, attributes)
        finally:
            os.close(target)

    def _device(self, node: Node, host: str, attributes: Attributes) -> None:
        try:
            os.mknod(host, node.status.st_mode, node.status.st_rdev)
        except PermissionError as error:
            raise BuildError(
                f"the device /{node.path} cannot be copied by an ordinary user", hint="leave it out, or build as root"
            ) from error
        set_owner(host, attributes.uid, attributes.gid, self._form)
        os.chmod(host, attributes.mode)

    def _attributes_from(self, node: Node, host: str) -> None:
        """Take over a lower folder's extended attributes, as overlay's copy-up does."""
        descriptor, widened = open_readable(node.host, node.status.st_mode)
        try:
            _, kept, _ = tar_attributes(descriptor, self._form)
            if widened:
                os.fchmod(descriptor, node.mode)
        finally:
            os.close(descriptor)
        if kept:
            upper = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for name, value in kept:
                    set_tar_attribute(upper, name, value, self._form)
            finally:
                os.close(upper)

    def _dress(self, target: int, attributes: Attributes, kept: Sequence[tuple[str, bytes]] = ()) -> None:
        """Set owner, extended attributes, mode and time, in the order in which none undoes another."""
        set_owner(target, attributes.uid, attributes.gid, self._form)
        for name, value in kept:
            set_tar_attribute(target, name, value, self._form)
        os.fchmod(target, stat.S_IMODE(attributes.mode))
        os.utime(target, ns=(attributes.mtime, attributes.mtime))


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
