"""Packages' files become a tree with a merged /usr, without dpkg and without leaving that tree."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from repro.environment.resolvers.deb import inside
from repro.errors import DataError
from repro.oci import tar
from repro.oci.inode import ONE, set_owner

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from repro.environment.resolvers.deb import Deb, Member

# The folders that a merged system has as links into usr/ (bookworm's usr-is-merged looks for these).
MERGED = ("bin", "lib", "lib64", "sbin")
_OPEN_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHED = 512  # open folders kept


class Tree:
    """A root file system in the making below ``root``, an empty folder.

    Every file is made relative to the open folder that holds it, none of which is reached through a link, so
    that nothing in a package can lead outside. Owners go through `set_owner`, before modes: a change of owner
    clears set-id bits. Times of folders are set by `finish`, when nothing is added any more.
    """

    def __init__(self, root: Path, form: str) -> None:
        self.form = form
        self._root = os.open(root, _OPEN_FOLDER)
        self._folders: dict[str, int] = {}  # most recently used last
        self._times: dict[str, int] = {}  # folder: mtime, from the package that decided it
        self._targets = {name: f"usr/{name}" for name in MERGED}
        for name, target in sorted(self._targets.items()):
            os.symlink(target, name, dir_fd=self._root)
        for folder in ("usr", *self._targets.values()):
            self._make_folder(folder, 0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in (*self._folders.values(), self._root):
            os.close(folder)
        self._folders.clear()

    def unpack(self, deb: Deb) -> list[str]:
        """Unpack a package's files and return their names as dpkg lists them, in the package's order.

        DataError names what a package may not hold: a file that is there already, a name that leads outside,
        a device.
        """
        for member in deb.data:
            try:
                self._add(self._mapped(member.name), member, deb.name)
            except FileExistsError as error:
                raise DataError(f"{deb.name} holds /{member.name}, which another package has put there") from error
            except FileNotFoundError as error:
                raise DataError(f"{deb.name} holds /{member.name}, but not the folder or file that needs") from error
            except NotADirectoryError as error:
                raise DataError(f"{deb.name} puts /{member.name} below something that is not a folder") from error
        return [f"/{member.name or '.'}" for member in deb.data]

    def finish(self) -> None:
        """Give all folders the times that their packages say."""
        for folder, mtime in self._times.items():
            parent, name = self._place(folder) if folder else (self._root, ".")
            os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def _mapped(self, name: str) -> str:
        """Return where a package's ``name`` lies in a merged tree."""
        first, slash, rest = name.partition("/")
        target = self._targets.get(first)
        return name if target is None else f"{target}{slash}{rest}"

    def _add(self, name: str, member: Member, package: str) -> None:
        if not name:
            self._decide(name, member)
            return
        if member.kind == tar.SYMLINK and name in self._targets.values():
            return  # a package's own bin -> usr/bin: ours is there
        if member.kind == tar.FOLDER:
            self._add_folder(name, member)
            return
        parent, last = self._place(name)
        match member.kind:
            case tar.FILE:
                self._add_file(parent, last, member)
            case tar.SYMLINK:
                os.symlink(member.target, last, dir_fd=parent)
                if self.form != ONE and (member.uid or member.gid):
                    os.chown(last, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
                os.utime(last, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
            case tar.LINK:
                source, source_name = self._place(self._mapped(inside(member.target, package)))
                os.link(source_name, last, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            case _:
                raise DataError(f"{package} holds /{name}, a device or pipe, which no base needs")

    def _add_file(self, parent: int, name: str, member: Member) -> None:
        descriptor = os.open(name, _MAKE_FILE, 0o600, dir_fd=parent)
        try:
            content = memoryview(member.data)
            while content:
                content = content[os.write(descriptor, content) :]
            if member.uid or member.gid:
                set_owner(descriptor, member.uid, member.gid, self.form)
            os.fchmod(descriptor, member.mode)
            os.utime(descriptor, ns=(member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _add_folder(self, name: str, member: Member) -> None:
        """Make a folder, or leave the one that is there: the first package that names it decides its mode."""
        if name in self._times:
            return
        if not self._is_folder(name):
            self._make_folder(name, 0o700)
        self._decide(name, member)

    def _decide(self, name: str, member: Member) -> None:
        """Give a folder the owner and mode of ``member``; its time comes when the tree is finished."""
        if name in self._times:
            return
        self._times[name] = member.mtime
        descriptor = os.open(f"/proc/self/fd/{self._folder(name)}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if member.uid or member.gid:
                set_owner(descriptor, member.uid, member.gid, self.form)
            os.fchmod(descriptor, member.mode)
        finally:
            os.close(descriptor)

    def _is_folder(self, name: str) -> bool:
        parent, last = self._place(name)
        try:
            return stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def _make_folder(self, name: str, mode: int) -> None:
        parent, last = self._place(name)
        os.mkdir(last, mode, dir_fd=parent)
        os.chmod(last, mode, dir_fd=parent)  # whatever the umask; it was just made, and is no link

    def _place(self, name: str) -> tuple[int, str]:
        """Return the open folder in which ``name`` lies, and its last part."""
        folder, _, last = name.rpartition("/")
        return self._folder(folder), last

    def _folder(self, name: str) -> int:
        """Return ``name`` as an open folder; a part of it that is missing or a link is an error."""
        if not name:
            return self._root
        descriptor = self._folders.pop(name, None)
        if descriptor is None:
            parent, last = self._place(name)
            descriptor = os.open(last, _OPEN_FOLDER, dir_fd=parent)
            if len(self._folders) >= _CACHED:
                oldest = next(iter(self._folders))
                os.close(self._folders.pop(oldest))
        self._folders[name] = descriptor
        return descriptor
