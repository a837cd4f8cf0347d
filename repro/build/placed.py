"""The mounts of one RUN made ready on the host: binds staged, caches held, secrets in memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.build.copy import CopyPlan, perform
from repro.build.mounts import AnyMount, BindMount, CacheMount, SecretMount, Shown, TmpfsMount
from repro.build.selection import Selection
from repro.build.source import Kind
from repro.build.tree import LayerFolder
from repro.digest import Digest, record_digest
from repro.errors import BuildError, BusyError
from repro.files import Lock
from repro.oci.inode import ONE, set_owner
from repro.oci.workspace import Workspaces
from repro.runtime.spec import Bind, Tmpfs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.build.halt import Halt
    from repro.build.secrets import Secret
    from repro.errors import Location
    from repro.oci.store import Store

_POLL = 0.1  # seconds between two looks at a cache that another build holds
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it, and checked


class Placed:
    """Mounts made ready; what they hold (locks, secrets' files) is let go by `close`."""

    def __init__(self, store: Store, space: Path, secrets: Mapping[str, Secret], halt: Halt) -> None:
        self._store = store
        self._space = space
        self._secrets = secrets
        self._halt = halt
        self._held = contextlib.ExitStack()
        self._vault: Path | None = None
        self.binds: list[Bind] = []
        self.tmpfs: list[Tmpfs] = []
        self.env: dict[str, str] = {}

    def add(self, mounts: Sequence[AnyMount]) -> None:
        """Make the mounts ready, in their order; BuildError where one's files cannot be laid out or are not given."""
        # Each cache once, and in one order whoever comes: two commands that lock two caches never wait for each other.
        caches = {_name(mount): mount for mount in mounts if isinstance(mount, CacheMount)}
        folders = {name: self._cache(caches[name], name) for name in sorted(caches)}
        for mount in mounts:
            match mount:
                case TmpfsMount():
                    self.tmpfs.append(Tmpfs(mount.target, mount.size))
                case CacheMount():
                    self.binds.append(Bind(folders[_name(mount)], mount.target, read_only=mount.read_only))
                case BindMount():
                    self.binds.append(Bind(self._bind(mount), mount.target, read_only=not mount.writable))
                case SecretMount():
                    self._secret(mount)

    def close(self) -> None:
        """Let other builds have the caches, and remove the secrets; idempotent."""
        self._held.close()

    def _bind(self, mount: BindMount) -> Path:
        """Return what to bind: the file itself where that shows just what it should and is not written to."""
        if not mount.writable and mount.shown.source.bindable(mount.shown.node):
            return Path(mount.shown.node.host)
        return self._copied(mount.shown, self._space / f"mount-{len(self.binds)}", mount.where)

    def _copied(self, shown: Shown, folder: Path, where: Location) -> Path:
        """Return a copy of what is shown: the source is merged, filtered, or may be written to."""
        folder.mkdir()
        layer = LayerFolder(folder, (), self._store.form)
        single = shown.node.kind is not Kind.FOLDER
        target = "/file" if single else "/"
        plan = CopyPlan(shown.source, (Selection(shown.node),), target, into=False, where=where)
        perform(plan, layer, 0)
        layer.finish()
        return folder / "file" if single else folder

    # Caches

    def _cache(self, mount: CacheMount, name: str) -> Path:
        """Return the cache's folder, locked as its sharing says, until `close`."""
        root = self._store.caches_root / self._store.form
        root.mkdir(parents=True, exist_ok=True)
        match mount.sharing:
            case "private":  # an own one while others use it; each lasts
                number = 0
                while not self._lock(root / f"{name}-{number}.lock"):
                    number += 1
                name = f"{name}-{number}"
            case sharing:
                while not self._lock(root / f"{name}.lock", shared=sharing == "shared"):
                    self._halt.pause(_POLL)
        folder = root / name
        if not folder.exists():
            self._begin(mount, folder)
        return folder

    def _lock(self, path: Path, *, shared: bool = False) -> bool:
        lock = Lock(path, owner="a build")
        try:
            lock.acquire(shared=shared, wait=False)
        except BusyError:
            return False
        self._held.callback(lock.release)
        return True

    def _begin(self, mount: CacheMount, folder: Path) -> None:
        """Make the cache with what it holds at first; it is whole or not there, and another build may be faster."""
        new = self._space / f"cache-{folder.name}"
        if mount.seed is not None:
            self._copied(mount.seed, new, mount.where)
        else:
            new.mkdir()
            set_owner(os.fspath(new), *mount.owner, self._store.form)
            new.chmod(mount.mode)
        with contextlib.suppress(FileExistsError):
            try:
                os.rename(new, folder)
            except OSError:
                if not folder.exists():
                    raise

    # Secrets

    def _secret(self, mount: SecretMount) -> None:
        """Show a secret, if it is given; BuildError if it must be and is not."""
        secret = self._secrets.get(mount.id)
        if secret is None:
            if mount.required:
                raise BuildError(
                    f"the secret {mount.id!r} is required and was not given",
                    where=mount.where,
                    hint=f"give it with --secret id={mount.id},src=FILE or --secret id={mount.id},env=NAME",
                )
            return
        if mount.env is not None:
            self.env[mount.env] = secret.data.decode("utf-8", "surrogateescape")
        if mount.target is not None:
            path = self._folder() / str(len(self.binds))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(secret.data)
            if self._store.form != ONE:  # with one ID the file is the command's anyway, and tmpfs keeps no wishes
                os.chown(path, *mount.owner)
            path.chmod(mount.mode)
            self.binds.append(Bind(path, mount.target))

    def _folder(self) -> Path:
        """Return a private folder for secrets: in memory where the host has that, else in the workspace.

        One that a killed process left is swept by the next build that shows a secret.
        """
        if self._vault is None:
            root = _MEMORY / f"repro-{Digest.of(os.fsencode(self._store.root)).short}"
            try:
                root.mkdir(mode=0o700, exist_ok=True)
                status = root.lstat()
                ours = status.st_uid == os.geteuid() and status.st_mode & 0o170777 == 0o040700
            except OSError:
                ours = False
            if ours:
                places = Workspaces(root)
                places.sweep()
                self._vault = self._held.enter_context(places.folder())
            else:
                self._vault = self._space / "secrets"
                self._vault.mkdir(mode=0o700)
        return self._vault


def _name(mount: CacheMount) -> str:
    return record_digest("cache-mount/2", mount.identity).hex
