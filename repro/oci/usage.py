"""What a store takes, in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.oci.layers import listed
from repro.oci.places import PARTIAL, cache_folders, entries_of, files_below, named_digest, tree_size
from repro.oci.reach import forms, reach
from repro.oci.store import SIZES

if TYPE_CHECKING:
    from pathlib import Path

    from repro.digest import Digest
    from repro.oci.store import Store


@dataclass(frozen=True, slots=True)
class ImageUse:
    """What an image takes: bytes of layers that it alone has, and of those that it has in common with others."""

    image_id: Digest
    names: tuple[str, ...]
    unique: int
    shared: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the store: how many, their bytes, and the bytes that can be had back without harm."""

    count: int = 0
    size: int = 0
    reclaimable: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store takes; each byte stands in one part, but for ``shared``, which are those of ``images``.

    Attributes:
        images: each image.
        unreadable: images whose config is missing or damaged.
        layers: layers of images, unpacked, in all forms; reclaimable: those of images without a name alone.
        shared: those of them that more than one image has.
        blobs: configs, manifests and packed layers of images and of the build cache.
        cache: layers that only the build cache has, folders of cache mounts, replays.
        unused: layers and blobs that nothing refers to.
        downloads: files fetched by hash.
        partial: work in progress and broken-off pulls.
    """

    images: tuple[ImageUse, ...]
    unreadable: tuple[Digest, ...]
    layers: Part
    shared: Part
    blobs: Part
    cache: Part
    unused: Part
    downloads: Part
    partial: Part


def usage(store: Store, downloads: Path | None = None) -> Usage:
    """Return what the store takes, from the sizes that it keeps: no layer is read.

    ``downloads`` is the folder of files fetched by hash; None where there is none.
    """
    known = reach(store)
    sizes: dict[Digest, int] = {}
    layers, shared, cache, unused = _Sum(), _Sum(), _Sum(), _Sum()
    users: dict[Digest, list[Digest]] = {}
    for image_id, stack in known.images.items():
        for diff_id in set(stack):
            users.setdefault(diff_id, []).append(image_id)
    for folder in forms(store.layers_root):
        for diff_id, content in listed(folder):
            sizes[diff_id] = max(content, sizes.get(diff_id, 0))
            owners = users.get(diff_id, [])
            if owners:
                layers.add(content, free=not any(known.names.get(owner) for owner in owners))
                if len(owners) > 1:
                    shared.add(content, free=False)
            else:
                (cache if diff_id in known.cached else unused).add(content, free=True)
    blobs = _Sum()
    for path in store.blobs_folder.iterdir():
        used = named_digest(path.name) in known.blobs
        (blobs if used else unused).add(path.stat().st_size, free=not used)
    for folder in cache_folders(store):
        cache.add(tree_size(folder), free=True)
    fetched, partial = _Sum(), _Sum()
    for path in files_below(downloads / "sha256") if downloads is not None else ():
        fetched.add(path.stat().st_size, free=True)
    for path in [*entries_of(store.root / "tmp"), *files_below(store.root / PARTIAL)]:
        partial.add(tree_size(path), free=True)
    images = tuple(
        ImageUse(
            image_id,
            known.names.get(image_id, ()),
            sum(_size(store, sizes, diff_id) for diff_id in set(stack) if len(users[diff_id]) == 1),
            sum(_size(store, sizes, diff_id) for diff_id in set(stack) if len(users[diff_id]) > 1),
        )
        for image_id, stack in known.images.items()
    )
    parts = (one.part() for one in (layers, shared, blobs, cache, unused, fetched, partial))
    return Usage(images, known.unreadable, *parts)


def _size(store: Store, sizes: dict[Digest, int], diff_id: Digest) -> int:
    """Return the bytes of a layer's files; of one that is not unpacked anywhere as remembered, else 0."""
    if diff_id not in sizes:
        match store.recall(SIZES, diff_id):
            case [int(), int(content)]:
                sizes[diff_id] = content
            case _:
                sizes[diff_id] = 0
    return sizes[diff_id]


class _Sum:
    """A `Part` that grows."""

    def __init__(self) -> None:
        self._count = self._size = self._free = 0

    def add(self, size: int, *, free: bool) -> None:
        """Count one more."""
        self._count += 1
        self._size += size
        self._free += size if free else 0

    def part(self) -> Part:
        """Return what was counted."""
        return Part(self._count, self._size, self._free)
