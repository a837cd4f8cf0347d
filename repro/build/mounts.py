"""RUN --mount: what each mount shows, for the cache key and for the container."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.build.cache import LayerMemory, plain, tree_digest
from repro.build.copy import CopyPlan, perform
from repro.build.source import Kind, Node, Source, clean
from repro.build.tree import LayerFolder
from repro.digest import record_digest
from repro.dockerfile.reading import boolean
from repro.dockerfile.words import expand
from repro.errors import BuildError, DockerfileError
from repro.files import Lock
from repro.oci.inode import set_owner
from repro.runtime.spec import Bind, Tmpfs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.digest import Digest, Json
    from repro.dockerfile.instructions import Mount
    from repro.errors import Location
    from repro.oci.store import Store

_SIZE = re.compile(r"([0-9]+)([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class BindMount:
    """Files of a source at ``target``; writes to it, where allowed, are thrown away."""

    target: str
    source: Source
    node: Node
    digest: Digest
    writable: bool
    where: Location


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A folder that lasts from build to build; ``name`` says which."""

    target: str
    name: str
    sharing: str
    mode: int
    owner: tuple[int, int]
    read_only: bool


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty tmpfs; ``size`` in bytes."""

    target: str
    size: int | None


AnyMount = BindMount | CacheMount | TmpfsMount


@dataclass(frozen=True, slots=True)
class Origin:
    """A source that mounts and copies can read, and the digest of its layers (None: the context)."""

    source: Source
    stack: Digest | None

    def digest(self, memory: LayerMemory, paths: tuple[str, ...], nodes: tuple[Node, ...], epoch: int) -> Digest:
        """Return the digest of the nodes that ``paths`` mean; layers never change, so theirs is remembered."""
        if self.stack is None:
            return tree_digest(nodes, self.source, epoch)
        return memory.tree(self.stack, paths, nodes, self.source, epoch)


def resolve_mount(
    mount: Mount,
    variables: Mapping[str, str],
    workdir: str,
    origin: Origin,
    memory: LayerMemory,
    *,
    escape: str,
    epoch: int,
) -> AnyMount:
    """Return what a ``--mount`` means; DockerfileError, located, for what is wrong or not there."""
    if mount.type in ("secret", "ssh"):
        raise DockerfileError(f"--mount=type={mount.type} is not supported by this version", where=mount.where)

    def word(name: str, default: str = "") -> str:
        return expand(mount.get(name, default), variables, where=mount.where, escape=escape)

    target = posixpath.normpath(posixpath.join("/", workdir, word("target")))
    if target == "/":
        raise DockerfileError("a mount cannot hide the whole root", where=mount.where, hint="target=/some/folder")
    if mount.type == "tmpfs":
        return TmpfsMount(target, _size(word("size"), mount.where) if mount.get("size") else None)
    if mount.type == "cache":
        if mount.get("from"):
            raise DockerfileError("a cache mount with from= is not supported by this version", where=mount.where)
        sharing = mount.get("sharing", "shared")
        if sharing not in ("shared", "private", "locked"):
            raise DockerfileError(f"unknown sharing {sharing!r}", where=mount.where, hint="shared, private or locked")
        ids = (_number(word("uid", "0"), mount.where), _number(word("gid", "0"), mount.where))
        mode = int(word("mode", "0755"), 8) if re.fullmatch("[0-7]{3,4}", word("mode", "0755")) else -1
        if mode < 0:
            raise DockerfileError(f"not an octal mode: {word('mode')!r}", where=mount.where, hint="mode=0755")
        return CacheMount(target, word("id") or target, sharing, mode, ids, _is_on(mount, "readonly"))
    path = clean(word("source", "/"))
    node = origin.source.node(origin.source.resolve(path))
    if node is None:
        raise DockerfileError(
            f"the source {mount.get('source')!r} of the mount does not exist",
            where=mount.where,
            hint=origin.source.missing(path),
        )
    # NUL: no COPY has such a word, so a path is never taken for a pattern that was remembered.
    digest = origin.digest(memory, (f"\0{node.path}",), (node,), epoch)
    return BindMount(target, origin.source, node, digest, _is_on(mount, "readwrite"), mount.where)


def key_part(mount: AnyMount) -> Json:
    """Return what of a mount decides the layer: a bind's bytes, and that the others are there."""
    match mount:
        case BindMount():
            return ["bind", plain(mount.target), str(mount.digest), mount.writable]
        case CacheMount():
            return ["cache", plain(mount.target), plain(mount.name)]
        case TmpfsMount():
            return ["tmpfs", plain(mount.target), mount.size]


class Placed:
    """Mounts made ready on the host; cache locks are held until `close`."""

    def __init__(self, store: Store, space: Path) -> None:
        self._store = store
        self._space = space
        self._locks: list[Lock] = []
        self.binds: list[Bind] = []
        self.tmpfs: list[Tmpfs] = []

    def add(self, mount: AnyMount) -> None:
        """Make one mount ready; BuildError where its files cannot be laid out."""
        match mount:
            case TmpfsMount():
                self.tmpfs.append(Tmpfs(mount.target, mount.size))
            case CacheMount():
                self.binds.append(Bind(self._cache(mount), mount.target, read_only=mount.read_only))
            case BindMount():
                direct = not mount.writable and mount.source.bindable(mount.node)
                host = Path(mount.node.host) if direct else self._staged(mount)
                self.binds.append(Bind(host, mount.target, read_only=not mount.writable))

    def close(self) -> None:
        """Let other builds have the caches; idempotent."""
        for lock in self._locks:
            lock.release()

    def _staged(self, mount: BindMount) -> Path:
        """Return a copy of what the mount shows: the source is merged, filtered, or may be written to."""
        folder = self._space / f"mount-{len(self.binds)}"
        folder.mkdir()
        layer = LayerFolder(folder, (), self._store.form)
        single = mount.node.kind is not Kind.FOLDER
        target = "/file" if single else "/"
        plan = CopyPlan(mount.source, (mount.node,), (), target, into=False, owner=None, mode=None, where=mount.where)
        perform(plan, layer, 0)
        layer.finish()
        return folder / "file" if single else folder

    def _cache(self, mount: CacheMount) -> Path:
        name = record_digest("cache-mount/1", plain(mount.name)).hex
        if mount.sharing == "private":
            folder = self._space / f"cache-{name}"
        else:
            folder = self._store.root / "caches" / self._store.form / name
        if mount.sharing == "locked":
            lock = Lock(folder.with_name(f"{name}.lock"), owner="a build")
            lock.acquire()
            self._locks.append(lock)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            set_owner(folder, *mount.owner, self._store.form)
            folder.chmod(mount.mode)
        return folder


def _is_on(mount: Mount, name: str) -> bool:
    text = mount.get(name)
    return bool(text) and boolean(text, mount.where)


def _size(text: str, where: Location) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise DockerfileError(f"not a size: {text!r}", where=where, hint="size=64m")
    return int(match[1]) * _UNITS[match[2].lower()]


def _number(text: str, where: Location) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BuildError(f"not a number: {text!r}", where=where)
    return int(text)
