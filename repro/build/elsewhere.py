"""The surroundings of a second build: another host name, and a clock a year ahead where that can be had.

The clock is libfaketime's, bound into the containers of RUN from the host and preloaded. Whether it works in an image
(glibc, new enough, of this machine) is found out by asking `date` there, before each RUN.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repro.runtime.spec import Bind, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.errors import Location
    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.runtime.spec import ContainerSpec

HOST_NAME: Final = "other-host"
AHEAD: Final = (366 * 24 + 5) * 3600 + 7 * 60  # seconds: another year, day of the week, hour and minute

_FOLDER = "/run/repro/verify"
_LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib")
_NAMES = ("libfaketimeMT.so.1", "libfaketime.so.1")  # the first is for programs with threads, and for others too
_ENVIRONMENT = {
    "LD_PRELOAD": f"{_FOLDER}/libfaketime.so.1",
    "FAKETIME": f"+{AHEAD}",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # or waiting on a condition may take a year
    "NO_FAKE_STAT": "1",  # files of the base would seem to be of another time, and programs record that
    "FAKETIME_SKIP_CMDS": "touch",  # what is touched would stay newer than all that make builds from it
}


def find_clock(folders: Sequence[str] = _LIBRARY_FOLDERS) -> Path | None:
    """Return the host's libfaketime; None where it is not installed."""
    machine = f"{os.uname().machine}-linux-gnu"
    for folder in folders:
        for inner in (f"{machine}/faketime", "faketime", machine, "."):
            for name in _NAMES:
                path = Path(folder, inner, name)
                if path.is_file():
                    return path.resolve()
    return None


class Elsewhere:
    """Changes each RUN's surroundings (`repro.build.conditions.Surround`), and knows which clock each had.

    Args:
        clock: libfaketime on the host; None: the second build is just later.
        folder: private, empty, on the host; lives as long as the build.
        store, launcher: of the second build.
        now: seconds since 1970.
    """

    def __init__(
        self, clock: Path | None, folder: Path, store: Store, launcher: Launcher, now: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._folder = folder
        self._store = store
        self._launcher = launcher
        self._now = now
        self._lock = threading.Lock()  # stages are built side by side
        self._ahead: set[Location] = set()
        self._refused: set[Location] = set()
        self._failed: set[Location] = set()

    def surround(self, spec: ContainerSpec, where: Location, /) -> ContainerSpec:
        """Return ``spec`` under another host name and, where it works and is not forbidden, another clock."""
        spec = replace(spec, hostname=HOST_NAME)
        with self._lock:
            allowed = self._clock is not None and where not in self._failed
        if not allowed:
            return spec
        shifted = self._shift(spec, where)
        works = self._works(shifted)
        with self._lock:
            (self._ahead if works else self._refused).add(where)
        return shifted if works else spec

    def give_up(self, where: Location) -> bool:
        """Let the RUN at ``where`` have the true clock from now on; return whether it had another before."""
        with self._lock:
            had = where in self._ahead
            self._ahead.discard(where)
            if had:
                self._failed.add(where)
        return had

    def conditions(self) -> tuple[str, ...]:
        """Return what was changed, as sentences for people; of the clock what each RUN had."""
        days = f"{AHEAD // 86400} days ahead"
        with self._lock:
            if self._clock is None:
                time = ["just later: no libfaketime on this host (Debian's package faketime has it)"]
            else:
                time = [f"a clock {days} in RUN (libfaketime)"] if self._ahead else []
                time += [
                    f"{where}: just later: libfaketime does not work in this image" for where in sorted(self._refused)
                ]
                time += [f"{where}: just later: the command fails {days}" for where in sorted(self._failed)]
        return (*(time or ["just later"]), f"host name {HOST_NAME}")

    def _shift(self, spec: ContainerSpec, where: Location) -> ContainerSpec:
        assert self._clock is not None
        binds = [Bind(self._clock, f"{_FOLDER}/libfaketime.so.1")]
        env = {**spec.env, **_ENVIRONMENT}
        if "LD_PRELOAD" in spec.env:
            env["LD_PRELOAD"] += f":{spec.env['LD_PRELOAD']}"
        if spec.network is Network.HOST:
            # The archive says until when its indexes count, and a year ahead that is past.
            binds.append(Bind(self._apt_config(spec.env.get("APT_CONFIG"), where), f"{_FOLDER}/apt.conf"))
            env["APT_CONFIG"] = f"{_FOLDER}/apt.conf"
        return replace(spec, env=env, binds=(*spec.binds, *binds))

    def _apt_config(self, before: str | None, where: Location) -> Path:
        """Return a file that adds to the configuration of apt that the command has ``before``."""
        path = self._folder / f"apt-{where.line}-{where.column}.conf"
        lines = [f'#include "{before}";'] if before else []
        path.write_text("\n".join([*lines, 'Acquire::Check-Valid-Until "false";', ""]), encoding="utf-8")
        path.chmod(0o644)  # whatever the umask, which is another one too
        return path

    def _works(self, spec: ContainerSpec) -> bool:
        """Whether the image's own `date` tells the other time."""
        with self._store.workspace() as space:
            for name in ("upper", "work"):
                (space / name).mkdir()
                (space / name).chmod(0o755)  # the root of the probe, whatever the umask
            probe = replace(
                spec, upper=space / "upper", work=space / "work", argv=("date", "+%s"), cwd="/", network=Network.NONE
            )
            told = os.memfd_create("repro-date")
            try:
                with open(os.devnull, "r+b") as nothing:
                    self._launcher.run(probe, stdin=nothing.fileno(), stdout=told, stderr=nothing.fileno())
                text = os.pread(told, 100, 0).strip()
            finally:
                os.close(told)
        return text.isdigit() and abs(int(text) - AHEAD - self._now()) < 3600
