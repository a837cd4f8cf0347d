"""The root of a container: an overlay of its layers, everything mounted on it, and the step into it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from repro.runtime import mounts, syscalls
from repro.runtime.mounts import through
from repro.runtime.syscalls import MNT_DETACH, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_REC

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.runtime.wire import Order

_OPTIONS = 4095  # mount(2) reads one page of options, the last byte for its NUL
# Tried in this order: an older kernel refuses what it does not know with EINVAL. userxattr allows no redirect_dir
# but nofollow, which for new changes is the same as off.
_OVERLAY_OPTIONS = ("userxattr,redirect_dir=nofollow,metacopy=off,index=off", "userxattr,index=off", "userxattr")


def enter(order: Order, step: Callable[[str], None]) -> list[str]:
    """Make the root that ``order`` describes and step into it; the current folder is then ``/``.

    Called once, in a fresh mount namespace. ``step`` is told what comes next, for the error that may follow.

    Returns:
        The mount points that had to be made in the merged root (container paths, parents first).
    """
    step("make mounts private")
    syscalls.mount("none", "/", None, MS_REC | MS_PRIVATE)
    step("open the layers")
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    lowers = [os.open(path, flags) for path in order["lowers"]]
    upper, work = (os.open(order[key], flags) for key in ("upper", "work"))
    step("mount the staging area")
    staging = _staging(order["work"], flags)
    step("make the mount points")
    _make_stubs(order, staging)
    step("mount the overlay")
    layers = [os.open("stubs", flags, dir_fd=staging), *lowers]
    _mount_overlay(layers[::-1], upper, work, through(staging, "root"))
    for descriptor in (*layers, upper, work):
        os.close(descriptor)
    root = os.open("root", flags, dir_fd=staging)
    made: list[str] = []
    _mount_all(order, root, staging, made, step)
    step("change the root")
    _pivot(root)
    os.close(root)
    os.close(staging)
    return made


def _staging(work: str, flags: int) -> int:
    """Mount a small tmpfs over the overlay's work folder, the one folder that is surely there and ours.

    The overlay itself goes on using the folder beneath, through the descriptor opened before.
    """
    syscalls.mount("tmpfs", work, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    staging = os.open(work, flags)
    for name in ("stubs", "root", "files"):
        os.mkdir(name, 0o755, dir_fd=staging)
    return staging


def _make_stubs(order: Order, staging: int) -> None:
    """Fill the lowest layer with a mount point for every target, so that none has to be made in ``upper``.

    A fresh tree of ours holds no links, so plain paths do. Where a target's ``..`` meets an image's link, or one
    target lies below another's file, the mount itself makes what it needs, or says why it cannot.
    """
    stubs = through(staging, "stubs")
    folders = ["/dev", "/proc", "/sys", *(target for target, _size, _mode in order["tmpfs"])]
    wanted = [(target, True) for target in folders]
    wanted += [(target, False) for target in order["files"]]
    wanted += [(target, os.path.isdir(source)) for source, target, _read_only in order["binds"]]
    for target, folder in wanted:
        path = stubs + os.path.normpath(target)  # normal, it cannot lead out
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.makedirs(path if folder else os.path.dirname(path), 0o755, exist_ok=True)
            if not folder:
                os.mknod(path, stat.S_IFREG | 0o644)


def _mount_overlay(lowers: list[int], upper: int, work: int, target: str) -> None:
    """Mount the overlay; ``lowers`` topmost first, as overlayfs wants them. Device nodes in it open nothing."""
    stack = ":".join(through(lower) for lower in lowers)
    folders = f"lowerdir={stack},upperdir={through(upper)},workdir={through(work)}"
    for options in _OVERLAY_OPTIONS:
        data = f"{folders},{options}"
        if len(data) > _OPTIONS:
            raise OSError(errno.E2BIG, f"{len(lowers) - 1} layers are more than one mount can take")
        try:
            syscalls.mount("overlay", target, "overlay", MS_NODEV, data)
        except OSError as error:
            if error.errno == errno.EINVAL and options != _OVERLAY_OPTIONS[-1]:
                continue
            raise
        return


def _mount_all(order: Order, root: int, staging: int, made: list[str], step: Callable[[str], None]) -> None:
    """Mount what every container has, then what this one asks for: tmpfs, our files, binds in order."""
    step("mount /dev")
    mounts.dev(root, single=order["single"], build=order["build"], made=made)
    step("mount /proc")
    mounts.proc(root, made=made)
    step("mount /sys")
    mounts.sys(root, made=made)
    for target, size, mode in order["tmpfs"]:
        step(f"mount a tmpfs at {target}")
        mounts.tmpfs(root, target, size=size, mode=mode, flags=MS_NOSUID | MS_NODEV, made=made)
    for number, (target, text) in enumerate(sorted(order["files"].items())):
        step(f"mount {target}")
        name = f"files/{number}"
        descriptor = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=staging)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.fsencode(text))
        mounts.bind(through(staging, name), root, target, read_only=False, made=made)
    for source, target, read_only in order["binds"]:
        step(f"mount {source} at {target}")
        mounts.bind(source, root, target, read_only=read_only, made=made)


def _pivot(root: int) -> None:
    """Make ``root`` the root; let go of the old one, which lies on it for a moment (pivot_root(2))."""
    os.fchdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.unmount(".", MNT_DETACH)
    os.chdir("/")
