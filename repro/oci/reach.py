"""What is referred to in a store: images by names and marks, layers by images and by the build cache, blobs by both.

Facts name things that may be gone. Which of them still have a subject is told here by their kind; one of another kind
is kept, for nothing is known of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, StoreError
from repro.oci.known import blob_of, manifests_of
from repro.oci.refs import name_of_file
from repro.oci.store import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from repro.digest import Json
    from repro.oci.store import Store

BUILD: Final = "build"  # kinds of facts: key -> diffID of the layer that was made under it
_TRACE: Final = "build-trace"  # keys that a stage's instructions had last
_LISTING: Final = "build-listing"  # digest of a tree -> its entries
_TREE: Final = "build-tree"  # what is read in a stack of layers -> digest of that tree
_OF_LAYERS: Final = ("layer-blob", SIZES)  # diffID -> what is known of it
_OF_BLOBS: Final = ("blob-places",)  # digest of a blob -> what is known of it
_OF_IMAGES: Final = ("manifests",)  # image ID -> what is known of it
_TO_IMAGES: Final = ("archive-base",)  # key -> image ID


@dataclass(frozen=True, slots=True)
class Reach:
    """What is referred to.

    Attributes:
        images: the layers of every image that has a name or a mark, as far as its config can be read.
        names: the names of those images, sorted; none for an image without.
        unreadable: such images whose config is missing or damaged.
        layers: of images.
        cached: layers that only the build cache refers to.
        blobs: configs, manifests, and whatever holds one of the layers.
    """

    images: Mapping[Digest, tuple[Digest, ...]]
    names: Mapping[Digest, tuple[str, ...]]
    unreadable: tuple[Digest, ...]
    layers: frozenset[Digest]
    cached: frozenset[Digest]
    blobs: frozenset[Digest]

    def holders(self, digest: Digest) -> tuple[str, ...]:
        """Return the images that a blob or layer belongs to, by a name of each, else its short ID; sorted."""
        found = [image for image, layers in self.images.items() if digest == image or digest in layers]
        found += [image for image in self.unreadable if digest == image]
        return tuple(sorted((self.names.get(image) or (image.short,))[0] for image in found))


@dataclass(frozen=True, slots=True)
class Fact:
    """Something remembered: the file, what it holds (None: it is damaged), and when it was written, since 1970."""

    path: Path
    key: Digest
    value: Json
    written: float


def reach(store: Store, builds: Iterable[Digest] | None = None) -> Reach:
    """Return what is referred to in ``store``.

    ``builds`` are the layers of the build cache; None: all that it remembers.
    """
    names: dict[Digest, list[str]] = {}
    for name, image_id in store.refs().items():
        names.setdefault(image_id, []).append(name)
    images: dict[Digest, tuple[Digest, ...]] = {}
    unreadable = []
    for image_id in sorted(store.images() | names.keys()):
        try:
            images[image_id] = store.config(image_id).diff_ids
        except (StoreError, DataError):
            unreadable.append(image_id)
    layers = frozenset(diff_id for stack in images.values() for diff_id in stack)
    if builds is None:
        builds = [made for fact in facts(store, BUILD) if (made := as_digest(fact.value)) is not None]
    cached = frozenset(builds) - layers
    blobs = {*images, *unreadable}
    for image_id in blobs.copy():
        blobs.update(manifests_of(store, image_id).values())
    for diff_id in layers | cached:
        known = blob_of(store, diff_id)
        blobs |= {diff_id} if known is None else {diff_id, known.digest}
    return Reach(
        images,
        {image_id: tuple(sorted(found)) for image_id, found in names.items()},
        tuple(unreadable),
        layers,
        cached,
        frozenset(blobs),
    )


def kinds(store: Store) -> list[str]:
    """Return the kinds of facts that are remembered, sorted."""
    return sorted(name_of_file(name) for name in os.listdir(store.root / "memory"))


def facts(store: Store, kind: str) -> Iterator[Fact]:
    """Yield what is remembered of a kind, sorted by key; files that are no facts are passed over."""
    folder = store.memory_folder(kind)
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        path = folder / name
        with contextlib.suppress(DataError, FileNotFoundError):
            key = Digest(name.removesuffix(".json"))
            written = path.stat().st_mtime
            try:
                value: Json = json.loads(path.read_bytes())
            except ValueError:
                value = None
            yield Fact(path, key, value, written)


def spent(store: Store, known: Reach, builds: Iterable[Digest]) -> Iterator[Fact]:
    """Yield the facts that are damaged, or whose subject is not referred to any more.

    ``builds`` are the keys of the build cache that stay (`Fact.key`).
    """
    kept_builds = frozenset(builds)
    kept_layers = known.layers | known.cached
    traced: set[Digest] = set()
    for kind in sorted(kinds(store), key=lambda kind: kind != _TRACE):  # traces first: they name trees
        for fact in facts(store, kind):
            if kind == BUILD:
                stays = fact.key in kept_builds
            elif kind == _TRACE:
                named = set(_digests(fact.value))
                stays = not named.isdisjoint(kept_builds)
                traced |= named if stays else set()
            elif kind == _LISTING:
                stays = fact.key in traced
            elif kind == _TREE:
                stays = as_digest(fact.value) in traced
            elif kind in _OF_LAYERS:
                stays = fact.key in kept_layers
            elif kind in _OF_BLOBS:
                stays = fact.key in known.blobs
            elif kind in _OF_IMAGES:
                stays = fact.key in known.images or fact.key in known.unreadable
            elif kind in _TO_IMAGES:
                stays = as_digest(fact.value) in known.images
            else:
                stays = True
            if fact.value is None or not stays:
                yield fact


def as_digest(value: Json) -> Digest | None:
    """Return the digest that a remembered value spells; None if it is none."""
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except DataError:
        return None


def _digests(value: Json) -> Iterator[Digest]:
    """Yield all digests that stand anywhere in a value, but for the entries' own text."""
    if isinstance(value, str):
        found = as_digest(value)
        if found is not None:
            yield found
    elif isinstance(value, dict):
        for part in value.values():
            yield from _digests(part)
    elif isinstance(value, list):
        for part in value:
            yield from _digests(part)


def forms(root: Path) -> Sequence[Path]:
    """Return the folders of all forms below the layers' root, sorted."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
