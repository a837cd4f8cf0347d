"""RUN --mount: what each mount shows, and what of it is in the cache key. `repro.build.placed` lays them out."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from repro.build.cache import LayerMemory, plain
from repro.build.selection import Selection, tree_entries
from repro.build.source import Kind, Node, Source, clean
from repro.dataclass import dataclass
from repro.dockerfile.reading import boolean
from repro.dockerfile.words import expand
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.digest import Digest, Json
    from repro.dockerfile.instructions import Mount
    from repro.errors import Location

_SIZE = re.compile(r"([0-9]+)([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MODE = re.compile("[0-7]{1,4}")
_LARGEST_ID = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class Origin:
    """A source that mounts and copies can read, and the digest of its layers (None: the context)."""

    source: Source
    stack: Digest | None

    def digest(self, memory: LayerMemory, what: Json, selections: Sequence[Selection], epoch: int) -> Digest:
        """Return the digest of ``selections``; layers never change, so that what ``what`` means there is remembered."""
        return memory.tree(self.stack, [what, epoch], lambda: tree_entries(selections, self.source, epoch))


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a source: the node, and the digest of all that is in it."""

    source: Source
    node: Node
    digest: Digest


@dataclass(frozen=True, slots=True)
class BindMount:
    """Files of a source at ``target``; writes to it, where allowed, are thrown away."""

    target: str
    shown: Shown
    writable: bool
    where: Location


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A folder that lasts from build to build.

    ``id``, ``seed``, ``mode`` and ``owner`` together say which: what begins otherwise is another cache, as in
    BuildKit. ``seed`` is what a new one holds at first.
    """

    target: str
    id: str
    sharing: str
    mode: int
    owner: tuple[int, int]
    read_only: bool
    seed: Shown | None
    where: Location

    @property
    def identity(self) -> Json:
        """What tells this cache from others."""
        seed = None if self.seed is None else str(self.seed.digest)
        return [plain(self.id), seed, self.mode, list(self.owner)]


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty tmpfs; ``size`` in bytes."""

    target: str
    size: int | None


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A secret as a file at ``target``, as the variable ``env``, or both. Its bytes are no part of this."""

    id: str
    target: str | None
    env: str | None
    mode: int
    owner: tuple[int, int]
    required: bool
    where: Location


AnyMount = BindMount | CacheMount | TmpfsMount | SecretMount


def key_part(mount: AnyMount) -> Json:
    """Return what of a mount decides the layer: a bind's bytes, and that the others are there."""
    match mount:
        case BindMount():
            return ["bind", plain(mount.target), str(mount.shown.digest), mount.writable]
        case CacheMount():
            return ["cache", plain(mount.target), mount.identity]
        case TmpfsMount():
            return ["tmpfs", plain(mount.target), mount.size]
        case SecretMount():
            return ["secret", plain(mount.id), plain(mount.target or ""), mount.env]


class MountReader:
    """Reads the options of the mounts of one RUN, whose words expand with ``variables`` from the folder ``workdir``."""

    def __init__(self, variables: Mapping[str, str], workdir: str, *, escape: str) -> None:
        self._variables = variables
        self._workdir = workdir
        self._escape = escape

    def read(self, mount: Mount, origin: Origin | None, memory: LayerMemory, epoch: int) -> AnyMount:
        """Return what a ``--mount`` means; DockerfileError, located, for what is wrong or not there.

        ``origin`` is what ``from=`` names, or the context; None where the mount reads from nothing.
        """
        match mount.type:
            case "secret":
                return self._secret(mount)
            case "ssh":
                raise DockerfileError(
                    "--mount=type=ssh is not supported",
                    where=mount.where,
                    why="a build has no access to keys of an agent",
                    hint="clone outside of the build and COPY, or give a token by --mount=type=secret",
                )
            case "tmpfs":
                size = self._word(mount, "size")
                return TmpfsMount(self._target(mount), _size(size, mount.where) if size else None)
            case "cache":
                return self._cache(mount, origin, memory, epoch)
            case _:
                assert origin is not None  # a bind mount without from= reads the context
                shown = self._shown(mount, origin, memory, epoch)
                return BindMount(self._target(mount), shown, _is_on(mount, "readwrite"), mount.where)

    def _word(self, mount: Mount, name: str, default: str = "") -> str:
        return expand(mount.get(name, default), self._variables, where=mount.where, escape=self._escape)

    def _target(self, mount: Mount) -> str:
        target = posixpath.normpath(posixpath.join("/", self._workdir, self._word(mount, "target")))
        if target == "/":
            raise DockerfileError("a mount cannot hide the whole root", where=mount.where, hint="target=/some/folder")
        return target

    def _shown(self, mount: Mount, origin: Origin, memory: LayerMemory, epoch: int) -> Shown:
        path = clean(self._word(mount, "source", "/"))
        node = origin.source.node(origin.source.resolve(path))
        if node is None:
            raise DockerfileError(
                f"the source {mount.get('source')!r} of the mount does not exist",
                where=mount.where,
                hint=origin.source.missing(path),
            )
        # NUL: no COPY has such a word, so a path is never taken for a pattern that was remembered.
        return Shown(origin.source, node, origin.digest(memory, ["mount", plain(node.path)], (Selection(node),), epoch))

    def _cache(self, mount: Mount, origin: Origin | None, memory: LayerMemory, epoch: int) -> CacheMount:
        sharing = self._word(mount, "sharing", "shared").lower()
        if sharing not in ("shared", "private", "locked"):
            raise DockerfileError(f"unknown sharing {sharing!r}", where=mount.where, hint="shared, private or locked")
        seed = None if origin is None else self._shown(mount, origin, memory, epoch)
        if seed is not None and seed.node.kind is not Kind.FOLDER:
            raise DockerfileError(
                f"a cache cannot begin as a {seed.node.kind.value}", where=mount.where, hint="name a folder as source"
            )
        target = self._target(mount)
        return CacheMount(
            target,
            self._word(mount, "id") or target,
            sharing,
            self._mode(mount, 0o755),
            self._owner(mount),
            _is_on(mount, "readonly"),
            seed,
            mount.where,
        )

    def _secret(self, mount: Mount) -> SecretMount:
        source, target = self._word(mount, "source"), self._word(mount, "target")
        name = self._word(mount, "id") or source or posixpath.basename(target)
        if not name:
            raise DockerfileError("the secret has no id", where=mount.where, hint="--mount=type=secret,id=NAME")
        env = self._word(mount, "env") or None
        if not target and env is None:
            target = f"/run/secrets/{posixpath.basename(name)}"
        place = posixpath.normpath(posixpath.join("/", self._workdir, target)) if target else None
        if place == "/":
            raise DockerfileError("a mount cannot hide the whole root", where=mount.where, hint="target=/some/file")
        required = _is_on(mount, "required")
        return SecretMount(name, place, env, self._mode(mount, 0o400), self._owner(mount), required, mount.where)

    def _mode(self, mount: Mount, default: int) -> int:
        text = self._word(mount, "mode")
        if not text:
            return default
        if _MODE.fullmatch(text) is None:
            raise DockerfileError(f"not an octal mode: {text!r}", where=mount.where, hint=f"mode={default:04o}")
        return int(text, 8)

    def _owner(self, mount: Mount) -> tuple[int, int]:
        return self._number(mount, "uid"), self._number(mount, "gid")

    def _number(self, mount: Mount, name: str) -> int:
        text = self._word(mount, name) or "0"
        if not (text.isascii() and text.isdigit()) or int(text) > _LARGEST_ID:
            raise DockerfileError(f"{name} is no number: {text!r}", where=mount.where, hint=f"{name}=1000")
        return int(text)


def _is_on(mount: Mount, name: str) -> bool:
    text = mount.get(name)
    return bool(text) and boolean(text, mount.where)


def _size(text: str, where: Location) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise DockerfileError(f"not a size: {text!r}", where=where, hint="size=64m")
    return int(match[1]) * _UNITS[match[2].lower()]
