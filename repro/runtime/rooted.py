"""Paths inside a container's root, opened from outside: no link in an image leads out of it."""

from __future__ import annotations

import errno
import os
import stat

from repro.runtime import syscalls

_LINKS = 40  # as the kernel's MAXSYMLINKS
_DOTS = {".", ".."}


def open_path(root: int, path: str) -> int:
    """Return an O_PATH descriptor of ``path`` in the folder ``root``, all links resolved inside it.

    OSError as open(2) raises it; ELOOP for links without end.
    """
    try:
        return syscalls.open_in_root(root, path, os.O_PATH)
    except OSError as error:
        # EPERM: a filter that does not know openat2; EAGAIN: something was renamed meanwhile, anywhere (openat2(2))
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EAGAIN}:
            raise
    return _walk(root, path)


def _walk(root: int, path: str) -> int:
    """Do the same one name at a time; ``..`` and links are resolved as text, so nothing can step outside."""
    pending = _names(path)[::-1]
    trail = [os.dup(root)]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if not stat.S_ISDIR(os.fstat(trail[-1]).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if name in _DOTS:
                if name == ".." and len(trail) > 1:
                    os.close(trail.pop())
                continue
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=trail[-1])
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                trail.append(found)
                continue
            link = os.readlink("", dir_fd=found)
            os.close(found)
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if link.startswith("/"):
                while len(trail) > 1:
                    os.close(trail.pop())
            pending.extend(_names(link)[::-1])
        return trail.pop()
    finally:
        for descriptor in trail:
            os.close(descriptor)


def _names(path: str) -> list[str]:
    """Return the names in ``path``; a slash at its end asks for a folder, as a dot does."""
    return [name for name in path.split("/") if name] + (["."] if path.endswith("/") else [])


def ensure(root: int, path: str, *, folder: bool, made: list[str] | None = None) -> int:
    """Return an O_PATH descriptor of ``path``, made where it is missing: folders of mode 755, an empty file.

    What was made is appended to ``made``, as paths without links from the root, parents first.
    """
    try:
        return open_path(root, path)
    except FileNotFoundError:
        pass
    made = [] if made is None else made
    where = ""  # the real path so far: it holds no link
    pending = _names(path)[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name in _DOTS:
            os.close(open_path(root, f"{where}/."))  # must be a folder
            where = where.rpartition("/")[0] if name == ".." else where
            continue
        parent = open_path(root, where or "/")
        try:
            try:
                kind = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            except FileNotFoundError:
                kind = _make(parent, name, folder=folder or bool(pending))
                made.append(f"{where}/{name}")
            if not stat.S_ISLNK(kind):
                where = f"{where}/{name}"
                continue
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            link = os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)
        where = "" if link.startswith("/") else where
        pending.extend(_names(link)[::-1])
    return open_path(root, where or "/")


def _make(parent: int, name: str, *, folder: bool) -> int:
    """Make ``name`` in ``parent`` whatever the umask is, and return its mode."""
    if folder:
        os.mkdir(name, 0o755, dir_fd=parent)
        return stat.S_IFDIR
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o644, dir_fd=parent))
    return stat.S_IFREG
