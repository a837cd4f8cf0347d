"""The Python that wheels are locked for: which one an image has, and which wheels it takes.

An interpreter is written ``cpython-3.11.2-manylinux_2_36-x86_64``: implementation, version, the newest platform tag
that its C library satisfies (PEP 600, PEP 656), machine. That is all that markers (PEP 508) and tags (PEP 425) ask.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.environment.resolvers.captured import captured
from repro.environment.resolvers.configure import PATH
from repro.errors import DataError, LockError
from repro.runtime.spec import ContainerSpec, Network, Privileges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packaging.tags import Tag

    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.workflow.model import TemplateEnvironment

CANDIDATES: Final = ("/opt/conda/bin/python3", "python3")  # the first that is there installs, too
_TEXT: Final = re.compile(
    r"(?P<implementation>[a-z]+)-(?P<version>\d+\.\d+\.\d+)-(?P<libc>(?:many|musl)linux_\d+_\d+)-(?P<machine>\w+)"
)
# What glibc's tags were called before PEP 600, by minor version; on x86_64 they begin with 2.5, elsewhere with 2.17.
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# musl's loader tells its version when it is called without a program (PEP 656).
_PROBE: Final = """\
import glob, json, platform, re, subprocess, sys, sysconfig
libc = re.match(r"glibc (\\d+)\\.(\\d+)", " ".join(platform.libc_ver()))
family = "manylinux"
if libc is None:
    family = "musllinux"
    for loader in glob.glob("/lib/ld-musl-*"):
        said = subprocess.run([loader], stderr=subprocess.PIPE).stderr.decode()
        libc = re.search(r"Version (\\d+)\\.(\\d+)", said)
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": "%d.%d.%d" % sys.version_info[:3],
    "libc": libc and "%s_%s_%s" % (family, libc.group(1), libc.group(2)),
    "machine": platform.machine(),
    "variant": sysconfig.get_config_var("Py_GIL_DISABLED") and "free-threaded" or "",
}))
"""


@dataclass(frozen=True, slots=True, order=True)
class Interpreter:
    """A Python: ``version`` has three numbers, ``libc`` is ``manylinux_2_36`` or ``musllinux_1_2``."""

    implementation: str
    version: str
    libc: str
    machine: str

    def __str__(self) -> str:
        return f"{self.implementation}-{self.version}-{self.libc}-{self.machine}"

    @classmethod
    def parse(cls, text: str) -> Interpreter:
        """Return the interpreter that ``text`` (as `str` gives it) names; DataError where it is no such text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise DataError(f"{text!r} is not an interpreter", hint="as in cpython-3.11.2-manylinux_2_36-x86_64")
        return cls(**match.groupdict())

    @property
    def release(self) -> tuple[int, int]:
        """The language version: (3, 11)."""
        major, minor, _ = self.version.split(".")
        return int(major), int(minor)

    def markers(self) -> dict[str, str]:
        """Return the values of environment markers (PEP 508); what the kernel calls itself is none of them."""
        return {
            "implementation_name": self.implementation,
            "implementation_version": self.version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.version,
            "python_version": ".".join(map(str, self.release)),
            "sys_platform": "linux",
        }

    def tags(self) -> tuple[Tag, ...]:
        """Return the tags of wheels that it takes, the most specific first (PEP 425)."""
        from packaging.tags import compatible_tags, cpython_tags  # noqa: PLC0415 - only to lock

        platforms = list(self._platforms())
        name = "cp{}{}".format(*self.release)
        return (
            *cpython_tags(self.release, [name], platforms),
            *compatible_tags(self.release, name, platforms),
        )

    def _platforms(self) -> Iterator[str]:
        family, major, minor = self.libc.split("_")
        oldest = 0 if family == "musllinux" else 5 if self.machine == "x86_64" else 17
        yield f"linux_{self.machine}"  # built on such a machine itself
        for number in range(int(minor), oldest - 1, -1):
            yield f"{family}_{major}_{number}_{self.machine}"
            if family == "manylinux" and number in _LEGACY:
                yield f"{_LEGACY[number]}_{self.machine}"


def probe_interpreter(
    env: TemplateEnvironment, lowers: tuple[Path, ...], *, store: Store, launcher: Launcher, path: str = PATH
) -> Interpreter:
    """Return the Python that pip installs for: conda's where the image has one, else ``python3`` on ``path``.

    Args:
        env: the declaration, for messages.
        lowers: the image's layers, lowest first, with all packages that are installed before pip's.
        store: gives the room for a throw-away container.
        launcher: starts it, with no network.
        path: the image's PATH.

    Raises:
        LockError: at ``env.where``: there is no Python, or one that wheels cannot be locked for.
    """
    for program in CANDIDATES:
        with store.workspace() as room:
            status, said, errors = _run(program, lowers, room, launcher, path)
        if status in (126, 127):
            continue
        if status != 0:
            raise LockError(
                f"environments.{env.name}.pip: the image's {program} does not run",
                where=env.where,
                why="\n       ".join(errors.splitlines()[-10:]) or f"it ended with exit status {status}",
                hint="Python 3.8 or newer is needed, with its standard library",
            )
        return _interpreter(env, json.loads(said))
    raise LockError(
        f"environments.{env.name}.pip: the image has no python3",
        where=env.where,
        hint="add python3 to `apt`, or python to `conda`",
    )


def _run(program: str, lowers: tuple[Path, ...], room: Path, launcher: Launcher, path: str) -> tuple[int, str, str]:
    """Run the probe in a container in ``room``; return exit status, standard output and standard error."""
    for folder in ("upper", "work"):
        (room / folder).mkdir()
    spec = ContainerSpec(
        lowers=lowers,
        upper=room / "upper",
        work=room / "work",
        argv=(program, "-I", "-c", _PROBE),
        env={"PATH": path, "LC_ALL": "C.UTF-8"},
        network=Network.NONE,
        privileges=Privileges.STEP,
    )
    return captured(spec, room, launcher)


def _interpreter(env: TemplateEnvironment, found: dict[str, str | None]) -> Interpreter:
    text = "{implementation}-{version}-{libc}-{machine}".format(**found)
    if found["implementation"] != "cpython" or found["variant"] or _TEXT.fullmatch(text) is None:
        kind = f"{found['variant']} {found['implementation']}".strip()
        raise LockError(
            f"environments.{env.name}.pip: the image's Python is {kind} {found['version']} for {found['libc']}",
            where=env.where,
            why="wheels are locked for CPython on glibc or musl",
            hint="use a base with CPython, or install the packages in a Dockerfile of your own",
        )
    return Interpreter.parse(text)
