"""What stays in a store and what goes: images removed, leftovers collected.

Removing an image takes its mark away; `collect` removes what nothing refers to then. It has the store alone, and
removes what refers before what is referred to, so that one that is killed leaves a good store and the next ends it.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.errors import CorruptError
from repro.files import fsync_folder, locked, remove_tree
from repro.oci.layers import listed, remove_layer
from repro.oci.places import PARTIAL, cache_folders, entries_of, files_below, named_digest, tree_size
from repro.oci.reach import BUILD, as_digest, facts, forms, kinds, reach, spent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.digest import Digest
    from repro.oci.reach import Fact, Reach
    from repro.oci.store import Store

_TEMPORARY: Final = ".tmp"  # of `repro.files.open_atomic`


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed, or would be: bytes, and how many of each.

    ``caches`` are folders of cache mounts; ``left`` are paths that this process may not remove.
    """

    bytes: int = 0
    layers: int = 0
    blobs: int = 0
    facts: int = 0
    caches: int = 0
    downloads: int = 0
    left: tuple[str, ...] = ()


def remove_image(store: Store, image_id: Digest) -> None:
    """Let the image be none any more; what only it had goes with the next `collect`. Idempotent.

    A name that still stands for it keeps it: untag first.
    """
    store.image_mark(image_id).unlink(missing_ok=True)
    fsync_folder(store.image_mark(image_id).parent)


def collect(
    store: Store,
    *,
    cache: bool = False,
    older_than: float | None = None,
    dry_run: bool = False,
    downloads: Path | None = None,
    wait: bool = False,
    waiting: Callable[[str], None] | None = None,
) -> Freed:
    """Remove what nothing refers to: layers of every form, blobs, facts, and what dead processes left.

    Args:
        store: of this process, whose own share of the lease does not stand in the way.
        cache: also the build cache: layers that no image has, folders of cache mounts, replays.
        older_than: only what was made longer than this many seconds ago.
        dry_run: remove nothing; return what would be.
        downloads: also the files fetched by hash in this folder (`repro.data.cache`).
        wait: for other processes that work in the store, which ``waiting`` is told of; else they are an error.
        waiting: is told once who that is.

    Raises:
        BusyError: others work in the store, or use the files fetched by hash.
        CorruptError: the config of an image cannot be read, so it is not known which layers it needs.
    """
    with contextlib.nullcontext() if dry_run else store.leases.alone(wait=wait, waiting=waiting):
        if not dry_run:
            store.sweep()
        before = time.time() - older_than if older_than is not None else float("inf")
        collection = _Collection(store, before, dry_run=dry_run)
        collection.run(cache=cache)
        if downloads is not None:
            collection.downloads(downloads)
        return Freed(**collection.counts, left=tuple(sorted(collection.left)))


class _Collection:
    """One `collect` under way."""

    def __init__(self, store: Store, before: float, *, dry_run: bool) -> None:
        self._store = store
        self._before = before
        self._dry_run = dry_run
        self.counts = dict.fromkeys(("bytes", "layers", "blobs", "facts", "caches", "downloads"), 0)
        self.left: list[str] = []

    def run(self, *, cache: bool) -> None:
        """Collect in the store: facts, then layers, then blobs, then what is no part of it."""
        builds = {fact.key: made for fact, made in self._builds(cache=cache)}
        known = reach(self._store, builds.values())
        _refuse_unreadable(known)
        for fact in spent(self._store, known, builds):
            self._file("facts", fact.path)
        kept = known.layers | known.cached
        for folder in forms(self._store.layers_root):
            self._layers(folder, kept)
        self._blobs(known)
        self._leftovers()
        if cache:
            for folder in cache_folders(self._store):
                self._folder("caches", folder)

    def _builds(self, *, cache: bool) -> Iterator[tuple[Fact, Digest]]:
        """Yield the facts of the build cache that stay, with their layers."""
        images = reach(self._store, ()).layers
        for fact in facts(self._store, BUILD):
            made = as_digest(fact.value)
            if made is None or not (made in images or _anywhere(self._store, made)):
                continue
            if made in images or not cache or fact.written >= self._before:
                yield fact, made

    def _layers(self, folder: Path, kept: frozenset[Digest]) -> None:
        """Collect the layers of a form, and folders of which a killed process never said that they are layers."""
        known = dict(listed(folder))
        for diff_id, content in known.items():
            path = folder / f"{diff_id.hex}.json"
            if (
                diff_id not in kept
                and self._old(path)
                and self._do(folder / diff_id.hex, remove_layer, folder, diff_id)
            ):
                self._count("layers", content)
        for path in sorted(folder.iterdir()):
            named = named_digest(path.name)
            if named is not None and named not in known:
                size = tree_size(path)
                if self._do(path, remove_layer, folder, named):
                    self._count("layers", size)

    def _blobs(self, known: Reach) -> None:
        for path in sorted(self._store.blobs_folder.iterdir()):
            if named_digest(path.name) not in known.blobs:
                self._file("blobs", path)

    def _leftovers(self) -> None:
        """Remove files that a killed process was about to rename, and blobs that a pull broke off."""
        store = self._store
        folders = [store.root, store.root / "refs", store.root / "images", store.root / "leases"]
        folders += [store.memory_folder(kind) for kind in kinds(store)] + list(forms(store.layers_root))
        for folder in folders:
            for path in sorted(folder.glob(f".*{_TEMPORARY}")):
                self._file("", path)
        for path in files_below(store.root / PARTIAL):
            self._file("", path)

    def downloads(self, root: Path) -> None:
        """Collect the files fetched by hash, the folders made of them, and the notes on when they were used."""
        if not root.is_dir():
            return
        marks = root / "used"
        with contextlib.nullcontext() if self._dry_run else locked(root / "users", wait=False):
            for path in entries_of(root / "trees"):
                if self._unused(marks / path.name, path):
                    self._do(path, remove_tree, path)  # its files are links of those below
            for path in files_below(root / "sha256"):
                if self._unused(marks / path.name, path):
                    self._file("downloads", path)
            for path in files_below(marks):
                self._file("", path)

    def _unused(self, mark: Path, path: Path) -> bool:
        """Return whether something was not used for long enough: its mark says when, else how old it is itself."""
        return self._old(mark if mark.exists() else path)

    def _file(self, what: str, path: Path) -> None:
        """Remove a file that is old enough."""
        try:
            size = path.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            return
        if self._old(path) and self._do(path, path.unlink):
            self._count(what, size)

    def _folder(self, what: str, path: Path) -> None:
        size = tree_size(path)
        if self._old(path) and self._do(path, remove_tree, path):
            self._count(what, size)

    def _old(self, path: Path) -> bool:
        try:
            return path.stat(follow_symlinks=False).st_mtime < self._before
        except FileNotFoundError:
            return True

    def _do(self, path: Path, action: Callable[..., None], *arguments: object) -> bool:
        """Remove something, unless this only looks; whether it is gone, or would be."""
        if self._dry_run:
            return True
        try:
            action(*arguments)
        except FileNotFoundError:
            return False
        except PermissionError:  # files of another form's owners
            self.left.append(str(path))
            return False
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # a build that was told again left its record just now
                raise
            return False
        return True

    def _count(self, what: str, size: int) -> None:
        self.counts["bytes"] += size
        if what:
            self.counts[what] += 1


def _refuse_unreadable(known: Reach) -> None:
    if known.unreadable:
        first = known.unreadable[0]
        names = ", ".join(known.names.get(first, ())) or "it has no name"
        raise CorruptError(
            f"the config of image {first} cannot be read ({names})",
            why="so it is not known which layers it needs, and nothing is removed",
            hint="`repro store check --repair` mends it, or `repro image rm` gives it up",
        )


def _anywhere(store: Store, diff_id: Digest) -> bool:
    """Whether the layer is there in any form, or packed."""
    if store.has_layer(diff_id):
        return True
    return any((folder / f"{diff_id.hex}.json").exists() for folder in forms(store.layers_root))
