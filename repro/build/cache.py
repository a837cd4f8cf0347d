"""Cache keys: what decides the layer of an instruction, and the store's memory of layers by key.

A key holds the chainID of the layers below, never the instruction that made them: a step whose bytes come out the
same as before ends the rebuild there.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import Digest, Json, record_digest
from repro.errors import DataError
from repro.oci.model import chain_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from repro.oci.store import Store

ENGINE_FORMAT = 2  # raise it when the same key would give another layer
MEMORY = "build"  # the kind of the facts: key -> layer
_TREES = "build-tree"
_LISTINGS = "build-listing"
_MOST_LISTED = 4000  # files of a tree that are remembered one by one, to say later which of them changed


@dataclass(frozen=True, slots=True)
class LayerKey:
    """What decides a layer: ``digest`` is that of all the rest, which is kept to say later what changed.

    Attributes:
        kind: ``run``, ``copy``, ``workdir``.
        below: digest of the layers below.
        form: how the store keeps layers; with a single ID a layer's bytes may differ from root's.
        epoch: of the build.
        parts: what the instruction itself adds.
    """

    digest: Digest
    kind: str
    below: Digest
    form: str
    epoch: int
    parts: Mapping[str, Json]


class LayerMemory:
    """What this build and earlier ones made, by key. Safe from many threads."""

    def __init__(self, store: Store, *, forget: bool) -> None:
        self._store = store
        self._forget = forget  # --no-cache: nothing of earlier builds is recalled, all is remembered
        self._made: dict[Digest, Digest] = {}
        self.recalled: dict[Digest, Digest] = {}  # what this build took from earlier ones
        self._listings: dict[Digest, Json] = {}
        self._lock = threading.Lock()  # guards the next
        self._making: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)

    def making(self, key: Digest) -> threading.Lock:
        """Return the lock to hold while the layer of ``key`` is made: two stages may want the same one at once."""
        with self._lock:
            return self._making[key]

    def recall(self, key: Digest) -> Digest | None:
        """Return the layer made under ``key``, if it is still there."""
        if key in self._made:
            return self._made[key]
        if self._forget:
            return None
        diff_id = self._digest(MEMORY, key)
        if diff_id is None or not self._store.has_layer(diff_id):
            return None
        self.recalled[key] = diff_id
        return diff_id

    def lost(self, key: Digest) -> bool:
        """Whether a layer was made under ``key`` and is not there any more."""
        return not self._forget and self._digest(MEMORY, key) is not None

    def remember(self, key: Digest, diff_id: Digest) -> None:
        """Keep the layer of ``key`` for later builds, and for this one."""
        self._made[key] = diff_id
        self._store.remember(MEMORY, key, str(diff_id))

    def tree(self, stack: Digest | None, what: Json, entries: Callable[[], list[Json]]) -> Digest:
        """Return the digest of the tree that ``entries`` lists, as `repro.build.selection.tree_entries` does.

        The bytes of a ``stack`` of layers never change, so that what ``what`` means in it is listed once; None is a
        context.
        """
        if stack is None:
            return self._listed(entries())
        key = record_digest("build-tree-key/2", [str(stack), what])
        known = self._digest(_TREES, key)
        if known is not None:
            return known
        digest = self._listed(entries())
        self._store.remember(_TREES, key, str(digest))
        return digest

    def _listed(self, entries: list[Json]) -> Digest:
        digest = record_digest("build-tree/2", entries)
        if len(entries) <= _MOST_LISTED:
            self._listings[digest] = entries
        return digest

    def keep_listings(self, key: LayerKey) -> None:
        """Remember what is in the trees that ``key`` names, for `listing` in later builds; none that is very large."""
        for tree in _trees(key.parts):
            if tree in self._listings:
                self._store.remember(_LISTINGS, tree, self._listings[tree])

    def listing(self, tree: Digest) -> Json:
        """Return the entries of a tree as `tree_entries` made them; None if they are not known."""
        return self._listings[tree] if tree in self._listings else self._store.recall(_LISTINGS, tree)

    def _digest(self, kind: str, key: Digest) -> Digest | None:
        """Return the digest that was remembered; a damaged memory is as good as none."""
        value = self._store.recall(kind, key)
        try:
            return Digest.parse(value) if isinstance(value, str) else None
        except DataError:
            return None


def _trees(parts: Mapping[str, Json]) -> Iterator[Digest]:
    """Yield the digests of trees in a key's parts: the sources of a copy, and bind mounts."""
    mounts = parts.get("mounts")
    found = [parts.get("sources")]
    for mount in mounts if isinstance(mounts, list) else ():
        match mount:
            case ["bind", _, digest, _]:
                found.append(digest)
            case _:
                pass
    for text in found:
        if isinstance(text, str):
            yield Digest.parse(text)


def plain(path: str) -> str:
    """Return ``path`` as text that JSON can hold: its bytes, one character each (names need not be UTF-8)."""
    return os.fsencode(path).decode("latin-1")


def stack_digest(diff_ids: Sequence[Digest]) -> Digest:
    """Return the chainID, or for no layers at all a digest that stands for that."""
    return chain_id(diff_ids) if diff_ids else record_digest("build-scratch/1", None)


def layer_key(kind: str, below: Sequence[Digest], form: str, epoch: int, parts: Mapping[str, Json]) -> LayerKey:
    """Return the key of a layer that an instruction of ``kind`` puts on the layers ``below``.

    The form is part of it: with a single ID the bytes of a layer may differ from root's (owners of links).
    """
    stack = stack_digest(below)
    digest = record_digest(f"build-{kind}/{ENGINE_FORMAT}", [str(stack), form, epoch, dict(parts)])
    return LayerKey(digest, kind, stack, form, epoch, parts)
