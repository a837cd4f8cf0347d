"""A layer folder made directly, without a container, as an overlay over the layers below it would come out."""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.build.context import look
from repro.build.copies import copy_files
from repro.build.inodes import Attributes, FileCopy, copy_file, dress, file_copy, make_link, make_special, write_file
from repro.build.source import Kind, Node, ViewSource, clean
from repro.errors import BuildError
from repro.files import remove_tree
from repro.oci import tar
from repro.oci.inode import OVERLAY, mark_opaque, open_readable
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Attributes", "LayerFolder", "Links"]

Links = dict[tuple[int, int], str]  # where the copies of hard-linked files lie, by device and inode

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SECOND = 1_000_000_000
_WHITEOUT = os.fsdecode(tar.WHITEOUT)


class LayerFolder:
    """Fills ``upper``, an empty folder, over ``layers`` (lowest first).

    Paths are below the root, without ``.``, ``..`` or a leading slash.
    Folders that the layers already have are taken over with their mode, owner and time when something is put into
    them (overlay's copy-up); links in a destination's path are resolved inside the root. Call `finish` once.
    With an ``epoch`` (seconds) what comes of it is as `repro.oci.clean.clean_upper` leaves a folder: no later times.
    """

    def __init__(self, upper: Path, layers: Sequence[Path], form: str, *, epoch: int | None = None) -> None:
        self._upper = os.fspath(upper)
        self._layers = tuple(layers)
        self._form = form
        self._epoch = epoch
        # Folders get theirs last: they must be writable, and their mtime moves, while they are filled.
        self._pending: dict[str, Attributes] = {}
        self._below = ViewSource(View(self._layers, form))
        self._names: dict[str, frozenset[str]] = {}  # what the lower layers have in a folder of this one
        self._made: set[str] = {""}  # folders that this layer has
        self._new: set[str] = set() if layers else {""}  # those of them that no lower layer has
        self._files: set[str] = set()  # everything else that this layer has
        self._hidden: dict[str, bool] = {}  # what replaced something lower, and whether that was a folder
        self._gathered: tuple[list[FileCopy], list[tuple[str, str]]] | None = None  # see `gathering`
        os.chmod(upper, 0o755)  # noqa: S103 - the image's root

    def merged(self) -> ViewSource:
        """Return what the image looks like now: the layers with this one on top."""
        return ViewSource(View([*self._layers, Path(self._upper)], self._form))

    def resolve(self, path: str) -> str:
        """Return ``path`` with the image's own links resolved."""
        return clean(self.merged().resolve(path))

    def node(self, path: str) -> Node | None:
        """Return what the image has now at ``path``, whose folder is resolved; a link is not followed."""
        if path in self._made or path in self._files:
            return look(path, self._host(path))
        return None if path in self._hidden else self._lower(path)

    def folder(self, path: str, new: Attributes) -> None:
        """Make sure that ``path`` (resolved) is a folder; it and its parents get ``new`` where they do not exist.

        BuildError if something else stands in its way.
        """
        if path in self._made:
            return
        if path.count("/") >= tar.DEEPEST:
            raise BuildError(f"/{path[:80]}...: more than {tar.DEEPEST} folders deep")
        parent = posixpath.dirname(path)
        self.folder(parent, new)
        existing = self.node(path)
        if existing is None:
            _check_name(path)
            self._make_folder(path, new)
            self._new.add(path)
            return
        if existing.kind is not Kind.FOLDER:
            raise BuildError(f"/{path} is a {existing.kind.value} in the image, not a folder")
        kept = self._below.attributes(existing)
        self._make_folder(
            path, Attributes(existing.uid, existing.gid, existing.mode, existing.status.st_mtime_ns, kept)
        )

    def dress_folder(self, path: str, attributes: Attributes) -> None:
        """Give an existing or new folder these attributes, whatever it had."""
        self.folder(path, attributes)
        self._pending[path] = attributes

    def pass_folder(self, path: str, attributes: Attributes) -> None:
        """Make sure of a folder on the way to others: a new one gets ``attributes``, an old one only their mode."""
        existing = self.node(path)
        self.folder(path, attributes)
        if existing is not None:
            self._pending[path] = replace(self._pending[path], mode=attributes.mode)

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Put off the copies that `file` is asked for in the block until it ends: many at once are made faster.

        In the block no path is asked for twice.
        """
        copies, links = self._gathered = ([], [])
        try:
            yield
        finally:
            self._gathered = None
        copy_files(copies, self._form)
        for target, host in links:
            os.link(target, host, follow_symlinks=False)

    def file(self, path: str, node: Node, attributes: Attributes, *, ours: bool, links: Links) -> None:
        """Put a copy of ``node`` at ``path`` (its folder exists in this layer), replacing any file or link there.

        A file that ``links`` knows under another name becomes a hard link to that. Sockets are left out: they mean
        nothing without their process. BuildError if ``path`` is a folder, or if the file changes while it is read.

        Args:
            path: where to.
            node: what, no folder.
            attributes: what the copy is to have.
            ours: whether it lies in a layer: its mode does not keep us from reading it.
            links: see above; new names are added.
        """
        if node.kind is Kind.OTHER:
            return
        if node.kind in (Kind.FIFO, Kind.DEVICE):
            self.special(path, node.kind, (node.status.st_mode, node.status.st_rdev), attributes)
            return
        host = self._place(path)
        attributes = self._clean(attributes)
        if node.kind is Kind.FILE:
            if node.status.st_nlink > 1:
                identity = (node.status.st_dev, node.status.st_ino)
                if identity in links:
                    self._link(self._host(links[identity]), host)
                    return
                links[identity] = path
            self._copy(file_copy(node, host, attributes, ours=ours))
        else:
            make_link(host, node.target, attributes, self._form)

    def write(self, path: str, attributes: Attributes, write: Callable[[int], object]) -> None:
        """Put a file at ``path`` (its folder exists in this layer); ``write`` is given its descriptor to fill it."""
        write_file(self._place(path), self._clean(attributes), self._form, write)

    def link(self, path: str, target: bytes, attributes: Attributes) -> None:
        """Put a symbolic link at ``path`` (its folder exists in this layer)."""
        make_link(self._place(path), target, self._clean(attributes), self._form)

    def special(self, path: str, kind: Kind, device: tuple[int, int], attributes: Attributes) -> None:
        """Put a FIFO, or a device of mode and number, at ``path`` (its folder exists in this layer)."""
        try:
            make_special(self._place(path), kind, device, self._clean(attributes), self._form)
        except PermissionError as error:
            raise BuildError(
                f"the device /{path} cannot be made by an ordinary user", hint="leave it out, or build as root"
            ) from error

    def hard_link(self, path: str, target: str, attributes: Attributes) -> None:
        """Give the file ``target`` (resolved) another name ``path``, and both of them ``attributes``.

        BuildError if it is no file of the image.
        """
        node = self.node(target)
        if node is None or node.kind is not Kind.FILE:
            raise BuildError(f"/{path} is a hard link to /{target}, which is no file in the image")
        if target not in self._files:  # overlay would copy it up
            kept = self._below.attributes(node)
            self.folder(posixpath.dirname(target), attributes)
            self.file(target, node, replace(attributes, kept=kept), ours=True, links={})
        host = self._place(path)
        os.link(self._host(target), host, follow_symlinks=False)
        descriptor, _ = open_readable(host, os.lstat(host).st_mode)
        try:
            dress(descriptor, self._clean(attributes), self._form)
        finally:
            os.close(descriptor)

    def clear(self, path: str) -> None:
        """Take away what the image has at ``path``, a folder with all that is in it."""
        lower = self._lower(path)
        if lower is not None:
            self._hidden[path] = lower.kind is Kind.FOLDER or self._hidden.get(path, False)
        if path in self._files:
            self._files.remove(path)
            os.unlink(self._host(path))
        elif path in self._made:
            remove_tree(Path(self._host(path)))
            gone = {known for known in (*self._made, *self._files) if f"{known}/".startswith(f"{path}/")}
            self._made -= gone
            self._new -= gone
            self._files -= gone
            for known in gone:
                self._pending.pop(known, None)
                self._names.pop(known, None)

    def finish(self) -> None:
        """Set the folders' attributes, innermost first."""
        for path in sorted(self._pending, reverse=True):
            descriptor = os.open(self._host(path), _FOLDER)
            try:
                if path in self._new and self._hidden.get(path):
                    mark_opaque(descriptor)
                dress(descriptor, self._clean(self._pending[path]), self._form)
            finally:
                os.close(descriptor)
        if self._epoch is not None:
            os.utime(self._upper, ns=(0, 0))  # no tar holds the root's

    def _clean(self, attributes: Attributes) -> Attributes:
        """Return what `clean_upper` would leave of ``attributes``."""
        if self._epoch is None:
            return attributes
        mtime = min(attributes.mtime // _SECOND, self._epoch) * _SECOND
        kept = attributes.kept and [(name, value) for name, value in attributes.kept if OVERLAY not in name]
        return Attributes(attributes.uid, attributes.gid, attributes.mode, mtime, kept)

    def _host(self, path: str) -> str:
        return f"{self._upper}/{path}"

    def _copy(self, copy: FileCopy) -> None:
        if self._gathered is None:
            copy_file(copy, self._form)
        else:
            self._gathered[0].append(copy)

    def _link(self, target: str, host: str) -> None:
        if self._gathered is None:
            os.link(target, host, follow_symlinks=False)
        else:
            self._gathered[1].append((target, host))

    def _make_folder(self, path: str, attributes: Attributes) -> None:
        os.mkdir(self._host(path), 0o700)
        self._made.add(path)
        self._pending[path] = attributes

    def _lower(self, path: str) -> Node | None:
        """Return what the lower layers show at ``path``, whose folder is resolved."""
        if not path:
            return self._below.node(path)
        parent, _, name = path.rpartition("/")
        if parent in self._new:
            return None
        if parent in self._made and parent not in self._names:
            self._names[parent] = frozenset(self._below.names(parent))
        if parent in self._names and name not in self._names[parent]:
            return None  # most files are new: a look into a set costs less than one through all layers
        return self._below.node(path)

    def _place(self, path: str) -> str:
        """Return the host path for a new file; what this layer already has there goes."""
        host = self._host(path)
        if path in self._files:
            os.unlink(host)
            return host
        _check_name(path)
        existing = self.node(path)
        if existing is not None and existing.kind is Kind.FOLDER:
            raise BuildError(f"/{path} is a folder in the image and cannot be replaced by a file")
        self._files.add(path)
        return host


def _check_name(path: str) -> None:
    """Refuse names that an image layer has another meaning for (OCI image-spec layer.md, "Whiteouts")."""
    if path.startswith(_WHITEOUT, path.rfind("/") + 1):
        raise BuildError(
            f"/{path}: an image layer cannot hold a file of this name",
            why=f"names that begin with {_WHITEOUT} mark deleted files",
            hint="give it another name, or leave it out",
        )
