"""A read-only look into a stack of layers, merged as overlay merges them, with every link resolved inside."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.oci import inode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

P = ParamSpec("P")
T = TypeVar("T")

_MOST_LINKS: Final = 40  # as the kernel: ELOOP
_LARGEST: Final = 256 << 20  # bytes of a file that is read into memory: no image's passwd or dpkg status has so many

_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a path in the view is.

    Attributes:
        path: absolute, in the view; its parents are no links.
        host: where the inode lies on the host. A folder's is its topmost layer's alone: list it by the view.
        stat: lstat of ``host``.
        uid, gid: the wished owner, whatever the form.
        kind: ``file``, ``folder``, ``link``, ``fifo``, ``device`` or ``socket``.
        target: of a link; else empty.
    """

    path: str
    host: Path
    stat: os.stat_result
    uid: int
    gid: int
    kind: str
    target: str = ""


class View:
    """The merged content of ``layers``, lowest first, unpacked in ``form``. All paths are from the root.

    A layer whose root is opaque hides those below it (`repro.oci.inode.down_to_opaque`).

    A look-up costs a few lstat(2) calls per layer and component. The layers may not change meanwhile.
    """

    def __init__(self, layers: Sequence[Path], form: str) -> None:
        self._form = form
        self._folders: dict[str, tuple[str, ...]] = {"": tuple(map(str, inode.down_to_opaque(reversed(layers))))}

    @property
    def form(self) -> str:
        """The form that the layers are unpacked in."""
        return self._form

    def entry(self, path: str) -> Entry | None:
        """Return what ``path`` is; None if it is not there. Its parents' links are resolved, it is not."""
        parts = _parts(path)
        if not parts:
            return self._entry("")
        if parts[-1] == "..":
            return self._entry(self._walk(parts))
        return self._entry(f"{self._walk(parts[:-1])}/{parts[-1]}")

    def resolve(self, path: str) -> str:
        """Return the absolute path that ``path`` leads to, all links resolved inside the view.

        From the first component that is not there on, the rest stays as written. DataError for a loop of
        links.
        """
        return self._walk(_parts(path)) or "/"

    def listdir(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; links are followed. DataError if it is no folder."""
        real = self._walk(_parts(path))
        folders = self._merged(real)
        if folders is None:
            raise DataError(f"{path} is no folder in the image")
        hidden: set[str] = set()
        names: set[str] = set()
        for folder in folders:
            found = self._within(folder, _scan, folder)
            names.update(name for name, whiteout in found.items() if not whiteout and name not in hidden)
            hidden.update(found)
        return sorted(names)

    def read(self, path: str) -> bytes:
        """Return the bytes of a regular file; links are followed. DataError if there is none, or it has 256 MiB."""
        entry = self.entry(self.resolve(path))
        if entry is None or entry.kind != "file":
            found = "is not there" if entry is None else f"is a {entry.kind}"
            raise DataError(f"{path} cannot be read: it {found} in the image")
        if entry.stat.st_size > _LARGEST:
            raise DataError(f"{path} cannot be read: it has {entry.stat.st_size} bytes in the image")
        mode = entry.stat.st_mode
        descriptor, _ = self._within(entry.host.parent, inode.open_readable, entry.host, mode)
        with open(descriptor, "rb") as file:
            return file.read()

    def _entry(self, real: str) -> Entry | None:
        """Return what ``real`` is, whose parents are no links."""
        found = self._find(real)
        if found is None:
            return None
        host, status = found
        parent = os.path.dirname(host)
        uid, gid = self._within(parent, inode.get_owner, host, status, self._form)
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        target = self._within(parent, os.readlink, host) if kind == "link" else ""
        return Entry(real or "/", Path(host), status, uid, gid, kind, target)

    def _find(self, real: str) -> tuple[str, os.stat_result] | None:
        """Return the host path and lstat of the topmost inode of ``real``."""
        above, _, name = real.rpartition("/")
        if not real:
            tops = self._folders[""]
            return (tops[0], os.lstat(tops[0])) if tops else None
        for folder in self._merged(above) or ():
            status = self._within(folder, _lstat, f"{folder}/{name}")
            if status is not None:
                return None if inode.is_whiteout(status) else (f"{folder}/{name}", status)
        return None

    def _merged(self, real: str) -> tuple[str, ...] | None:
        """Return the host folders that make up the folder ``real``, topmost first; None if it is none."""
        names = []  # below the nearest folder that is known; a link of an image may name 2000
        above = real
        while above not in self._folders:
            above, _, name = above.rpartition("/")
            names.append(name)
        folders = self._folders[above]
        while names:
            name = names.pop()
            folders = self._below(folders, name)
            if not folders:
                return None
            above = f"{above}/{name}"
            self._folders[above] = folders
        return folders

    def _below(self, above: tuple[str, ...], name: str) -> tuple[str, ...]:
        """Return the host folders that make up the folder ``name`` in what ``above`` makes up; none if it is none."""
        folders: list[str] = []
        for folder in above:
            status = self._within(folder, _lstat, f"{folder}/{name}")
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):  # a file or a whiteout: nothing below it shows
                break
            folders.append(f"{folder}/{name}")
            if self._within(folders[-1], inode.is_opaque, folders[-1]):
                break
        return tuple(folders)

    def _walk(self, parts: Sequence[str]) -> str:
        """Return where ``parts`` lead, resolved; the root is the empty string."""
        left = list(reversed(parts))
        real = ""
        missing = 0  # names at the end of it that are not there: what is below them is not looked for
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                real = real.rpartition("/")[0]
                missing = max(0, missing - 1)
                continue
            here = f"{real}/{part}"
            found = None if missing else self._find(here)
            if found is None or not stat.S_ISLNK(found[1].st_mode):
                real = here
                missing += found is None
                continue
            links += 1
            if links > _MOST_LINKS:
                raise DataError(f"/{'/'.join(parts)} leads round in circles in the image")
            target = self._within(os.path.dirname(found[0]), os.readlink, found[0])
            if target.startswith("/"):
                real = ""
            left.extend(reversed(_parts(target)))
        return real

    def _within(self, folder: str | Path, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``action`` gives, widening modes that keep the owner out of ``folder`` meanwhile."""
        try:
            return action(*args, **kwargs)
        except PermissionError:
            with contextlib.ExitStack() as stack:
                for path in self._way_to(str(folder)):
                    mode = stat.S_IMODE(os.lstat(path).st_mode)
                    if mode & 0o500 != 0o500:
                        os.chmod(path, mode | 0o500)
                        stack.callback(os.chmod, path, mode)
                return action(*args, **kwargs)

    def _way_to(self, folder: str) -> list[str]:
        """Return the folders from the layer's root down to ``folder``."""
        way = [folder]
        while way[-1] not in self._folders[""]:
            way.append(os.path.dirname(way[-1]))
        return list(reversed(way))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _lstat(path: str) -> os.stat_result | None:
    """Return the entry's status; None if it is not there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a link's target may be anything
            return None
        raise


def _scan(folder: str) -> dict[str, bool]:
    """Return the names in a host folder, with whether each is a whiteout."""
    with os.scandir(folder) as entries:
        return {entry.name: inode.is_whiteout(entry.stat(follow_symlinks=False)) for entry in entries}
