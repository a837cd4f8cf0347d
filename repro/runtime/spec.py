"""What a container is to be, as values: no I/O here."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Mode(Enum):
    """How a container's root is made."""

    REAL = "real"  # the caller is root
    SUB = "sub"  # this process is in a user namespace with the caller's subordinate IDs (`repro.runtime.entering`)
    ONE = "one"  # a user namespace that maps the caller's one ID; ownership changes are reported as done

    @property
    def identity(self) -> str:
        """The name under which locks keep image IDs: modes that give the same IDs have the same."""
        return Mode.ONE.value if self is Mode.ONE else Mode.REAL.value


class Network(Enum):
    """``NONE``: an own namespace with lo alone. ``HOST``: the host's, with its resolver and CA bundle."""

    NONE = "none"
    HOST = "host"


class Privileges(Enum):
    """``BUILD``: Docker's default capability set. ``STEP``: no capabilities, and no_new_privs."""

    BUILD = "build"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Bind:
    """A host file or folder, seen at ``target`` (an absolute container path; the mount point is made)."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty tmpfs at ``target``; ``size`` in bytes."""

    target: str
    size: int | None = None
    mode: int = 0o1777


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container: an overlay of ``lowers`` under ``upper``, and one command in it.

    Attributes:
        lowers: unpacked layers on the host, lowest first; may be empty.
        upper: writable folder on the host that takes the changes (overlay upperdir). It may hold files already;
            its own mode and owner are those of the container's ``/``.
        work: empty folder on the same file system as ``upper`` (overlay workdir).
        argv: the command, found by the container's PATH in ``env`` when it has no slash.
        env: the whole environment; nothing comes in from the host.
        cwd: absolute container path; must exist in the merged root, is made (mode 755) where it does not.
        user: numeric uid and gid inside.
        groups: supplementary group ids inside; a step without any keeps those of a caller who is not root.
        binds, tmpfs: extra mounts, in this order: all tmpfs, then binds in the order given.
        network, privileges: see their types.
        hostname: the UTS name inside.
        fake_owners: answer chown, setgroups, mknod of devices and their like with success without doing them.
            Always on in `Mode.ONE`; on for steps in every mode, so that ``tar x`` works without capabilities.
        umask: of the command.
    """

    lowers: tuple[Path, ...]
    upper: Path
    work: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    user: tuple[int, int] = (0, 0)
    groups: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    network: Network = Network.NONE
    privileges: Privileges = Privileges.STEP
    hostname: str = "repro"
    fake_owners: bool = False
    umask: int = 0o022


@dataclass(frozen=True, slots=True)
class ContainerResult:
    """How a container ended.

    ``exit_status`` as Docker's: the command's own; 126 it cannot be executed; 127 it was not found; 128+n
    killed by signal n. Times in seconds; ``max_rss`` in bytes, the largest of one process (small commands show
    some 11 MiB, the launcher's own before exec). ``made`` are the mount points (container paths, parents first)
    that had to be made in ``upper`` because the image's own links or opaque folders hid ours: the caller removes
    them from what it keeps.
    """

    exit_status: int
    wall: float
    user: float
    system: float
    max_rss: int
    made: tuple[str, ...] = ()
