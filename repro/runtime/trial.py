"""The program that tries what a container needs: ``python -I -S trial.py FOLDER`` prints one JSON object.

Each trial runs in a fork, since namespaces cannot be left again; the object maps its name to an errno, 0 for
success. Reading settings instead would be guessing: policies differ more than their names say.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

if __name__ == "__main__":  # -I keeps the script's folder off the path; the package is two folders up
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from repro.runtime import namespaces, seccomp, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_UNKNOWN = 255  # a failure without an errno


def _attempt(trial: Callable[[], None]) -> int:
    """Run ``trial`` in a fork and return the errno it failed with, 0 when it did not."""
    child = os.fork()
    if child == 0:
        status = _UNKNOWN
        try:
            trial()
            status = 0
        except OSError as error:
            status = error.errno or _UNKNOWN
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256


def _enter(flags: int, *, single: bool) -> None:
    ids = os.geteuid(), os.getegid()
    syscalls.unshare(flags | (syscalls.CLONE_NEWUSER if single else 0))
    if single:
        namespaces.map_one((0, 0), ids)
    if flags & syscalls.CLONE_NEWNS:
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def _overlay(folder: str, *, single: bool) -> None:
    """Mount an overlay as containers have it, and delete a lower file through it: a whiteout must be possible."""
    _enter(syscalls.CLONE_NEWNS, single=single)
    paths = {name: os.path.join(folder, name) for name in ("lower", "upper", "work", "merged")}
    for path in paths.values():
        os.mkdir(path)
    with open(os.path.join(paths["lower"], "file"), "wb"):
        pass
    os.chdir(folder)
    syscalls.mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr")
    os.unlink("merged/file")


def _proc(folder: str, *, single: bool) -> None:
    """Mount a new /proc: refused where the present one is partly hidden."""
    _enter(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID, single=single)
    code = _attempt(partial(syscalls.mount, "proc", folder, "proc"))
    if code:
        raise OSError(code, os.strerror(code))


def _seccomp() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.load_seccomp(seccomp.fake_owners(syscalls.MACHINE))
    os.chown("/", 0, 0)


def main(folder: str) -> None:
    """Print what worked, for both modes; the real-root trials only as root."""
    results: dict[str, int] = {"seccomp": _attempt(_seccomp) if seccomp.known(syscalls.MACHINE) else _UNKNOWN}
    for mode, single in (("real", False), ("one", True)):
        if not single and os.geteuid() != 0:
            continue
        place = os.path.join(folder, mode)
        os.mkdir(place)
        trials = {
            "namespaces": partial(_enter, namespaces.flags(single=False, own_network=False), single=single),
            "overlay": partial(_overlay, place, single=single),
            "proc": partial(_proc, place, single=single),
            "network": partial(_enter, syscalls.CLONE_NEWNET, single=single),
        }
        results.update({f"{mode} {name}": _attempt(trial) for name, trial in trials.items()})
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
