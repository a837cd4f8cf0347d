"""The program that tries what a container needs: ``trial.py FOLDER IDENTITIES MODE…`` prints one JSON object.

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

from repro.dataclass import dataclass
from repro.runtime import entering, namespaces, seccomp, syscalls
from repro.runtime.identities import Identities, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNKNOWN = 255  # a failure without an errno
_NOBODY = 65534


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


@dataclass(frozen=True, slots=True)
class _Way:
    """A mode: with a single ID, or as root of IDs that are entered first (None: as root of those that are there)."""

    single: bool
    identities: Identities | None

    def enter(self, flags: int) -> None:
        """Move this process, a fork, into new namespaces as a container of this mode is."""
        ids = os.geteuid(), os.getegid()
        if self.identities is not None:
            entering.enter(self.identities)
        syscalls.unshare(flags | (syscalls.CLONE_NEWUSER if self.single else 0))
        if self.single:
            namespaces.map_one((0, 0), ids)
        if flags & syscalls.CLONE_NEWNS:
            syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)

    def overlay(self, folder: str) -> None:
        """Mount an overlay as containers have it; a whiteout and, but with a single ID, an owner must be possible."""
        self.enter(syscalls.CLONE_NEWNS)
        paths = {name: os.path.join(folder, name) for name in ("lower", "upper", "work", "merged")}
        for path in paths.values():
            os.mkdir(path)
        for name in ("file", "owned"):
            with open(os.path.join(paths["lower"], name), "wb"):
                pass
        os.chdir(folder)
        syscalls.mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr")
        os.unlink("merged/file")
        if not self.single:
            os.chown("merged/owned", _NOBODY, _NOBODY)

    def proc(self, folder: str) -> None:
        """Mount a new /proc: refused where the present one is partly hidden."""
        self.enter(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
        code = _attempt(partial(syscalls.mount, "proc", folder, "proc"))
        if code:
            raise OSError(code, os.strerror(code))


def _seccomp() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.load_seccomp(seccomp.fake_owners(syscalls.MACHINE))
    os.chown("/", 0, 0)


def _identities(text: str) -> Identities | None:
    told = json.loads(text)
    return (
        None if told is None else Identities(*(tuple(Span(**span) for span in told[key]) for key in ("uids", "gids")))
    )


def main(folder: str, identities: str, modes: Sequence[str]) -> None:
    """Print what worked, for each of ``modes``."""
    results: dict[str, int] = {"seccomp": _attempt(_seccomp) if seccomp.known(syscalls.MACHINE) else _UNKNOWN}
    for mode in modes:
        way = _Way(mode == "one", _identities(identities) if mode == "sub" else None)
        place = os.path.join(folder, mode)
        os.mkdir(place)
        trials = {
            "namespaces": partial(way.enter, namespaces.flags(single=False, own_network=False)),
            "overlay": partial(way.overlay, place),
            "proc": partial(way.proc, place),
            "network": partial(way.enter, syscalls.CLONE_NEWNET),
        }
        results.update({f"{mode} {name}": _attempt(trial) for name, trial in trials.items()})
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
