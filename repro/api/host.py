"""The machine and the caller, as values: everything that does not come from the project enters here."""

from __future__ import annotations

import getpass
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repro import home
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Host:
    """Where and for whom repro works. ``memory`` in bytes, ``name`` the host name.

    ``uid`` and ``gid`` are the caller's: those of this process before it enters a user namespace of its own.
    """

    environ: Mapping[str, str]
    cwd: Path
    now: Callable[[], datetime]
    name: str
    user: str
    uid: int
    gid: int
    cpus: int
    memory: int

    @classmethod
    def current(cls) -> Host:
        """Return this process's host; UsageError when the current directory is gone."""
        try:
            cwd = Path.cwd()
        except FileNotFoundError as error:
            raise UsageError("the current directory was deleted", hint="cd to one that exists") from error
        return cls(
            environ=dict(os.environ),
            cwd=cwd,
            now=_now,
            name=platform.node(),
            user=_user_name(),
            uid=os.getuid(),
            gid=os.getgid(),
            cpus=len(os.sched_getaffinity(0)),
            memory=_memory(),
        )

    @property
    def store_root(self) -> Path:
        """``$REPRO_STORE``, else ``$XDG_DATA_HOME/repro``, else ``~/.local/share/repro``."""
        return Path(home.store_root(self.environ, os.fspath(self.cwd)))

    @property
    def layers_root(self) -> Path | None:
        """Where this store's unpacked layers are: in a folder of its own in ``$REPRO_LAYERS``; None: in the store."""
        named = self.environ.get("REPRO_LAYERS")
        if not named:
            return None
        store = os.path.realpath(self.store_root)  # two stores may name one folder, and each removes what it lacks
        return self.cwd / named / f"repro-{Digest.of(os.fsencode(store)).short}"

    @property
    def cache_root(self) -> Path:
        """``$REPRO_CACHE`` (what can be fetched again by its hash), else ``cache`` in the store."""
        named = self.environ.get("REPRO_CACHE")
        return self.cwd / named if named else self.store_root / "cache"

    @property
    def vendors(self) -> tuple[str, ...]:
        """The addresses of the folders that ``$REPRO_VENDOR`` names: URLs, or paths, separated by blanks."""
        named = self.environ.get("REPRO_VENDOR", "").split()
        return tuple(one if "://" in one else (self.cwd / one).resolve().as_uri() for one in named)

    @property
    def home(self) -> Path:
        """The caller's home folder."""
        return Path(home.home(self.environ))


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an ID without a name: common in containers
        return str(os.getuid())


def _memory() -> int:
    """Return the bytes of memory that this host has."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = re.search(r"^MemTotal:\s+(\d+) kB", file.read(), re.MULTILINE)
    if found is None:
        raise UsageError("/proc/meminfo does not say how much memory there is", hint="mount /proc")
    return int(found[1]) * 1024
