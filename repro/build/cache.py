"""Cache keys: what decides the layer of an instruction, and the store's memory of layers by key.

A key holds the chainID of the layers below, never the instruction that made them: a step whose bytes come out the
same as before ends the rebuild there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.build.source import Kind, Node, Source
from repro.digest import Digest, Json, record_digest
from repro.errors import DataError
from repro.oci.model import chain_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.oci.store import Store

ENGINE_FORMAT = 1  # raise it when the same key would give another layer
_MEMORY = "build"
_TREES = "build-tree"


class LayerMemory:
    """What earlier builds made, by key."""

    def __init__(self, store: Store, *, forget: bool) -> None:
        self._store = store
        self._forget = forget  # --no-cache: nothing is recalled, all is remembered

    def recall(self, key: Digest) -> Digest | None:
        """Return the layer made under ``key``, if it is still there."""
        if self._forget:
            return None
        diff_id = self._digest(_MEMORY, key)
        return diff_id if diff_id is not None and self._store.has_layer(diff_id) else None

    def remember(self, key: Digest, diff_id: Digest) -> None:
        """Keep the layer of ``key`` for later builds."""
        self._store.remember(_MEMORY, key, str(diff_id))

    def tree(self, stack: Digest, paths: Sequence[str], nodes: Sequence[Node], source: Source, epoch: int) -> Digest:
        """Return `tree_digest` of ``nodes`` of a stack of layers, whose bytes never change: worked out once."""
        key = record_digest("build-tree-key/1", [str(stack), [plain(path) for path in paths], epoch])
        known = self._digest(_TREES, key)
        if known is not None:
            return known
        digest = tree_digest(nodes, source, epoch)
        self._store.remember(_TREES, key, str(digest))
        return digest

    def _digest(self, kind: str, key: Digest) -> Digest | None:
        """Return the digest that was remembered; a damaged memory is as good as none."""
        value = self._store.recall(kind, key)
        try:
            return Digest.parse(value) if isinstance(value, str) else None
        except DataError:
            return None


def plain(path: str) -> str:
    """Return ``path`` as text that JSON can hold: its bytes, one character each (names need not be UTF-8)."""
    return os.fsencode(path).decode("latin-1")


def stack_digest(diff_ids: Sequence[Digest]) -> Digest:
    """Return the chainID, or for no layers at all a digest that stands for that."""
    return chain_id(diff_ids) if diff_ids else record_digest("build-scratch/1", None)


def layer_key(kind: str, below: Sequence[Digest], form: str, epoch: int, parts: Mapping[str, Json]) -> Digest:
    """Return the key of a layer that an instruction of ``kind`` puts on the layers ``below``.

    The form is part of it: with a single ID the bytes of a layer may differ from root's (owners of links).
    """
    return record_digest(f"build-{kind}/{ENGINE_FORMAT}", [str(stack_digest(below)), form, epoch, dict(parts)])


def tree_digest(nodes: Sequence[Node], source: Source, epoch: int) -> Digest:
    """Return the digest of everything that copying ``nodes`` would read.

    Names below each node, kinds, modes, owners, link targets, contents, and times as clamped to ``epoch`` (whole
    seconds). The nodes' own paths count, since a copy may keep their names.
    """
    out: list[Json] = []

    def walk(node: Node) -> None:
        entry: list[Json] = [plain(node.path), node.kind.value, node.mode, node.uid, node.gid]
        entry.append(min(node.status.st_mtime_ns // 1_000_000_000, epoch))
        if node.kind is Kind.FILE:
            entry.append(str(source.digest(node)))
        elif node.kind is Kind.LINK:
            entry.append(plain(node.target))
        elif node.kind is Kind.DEVICE:
            entry.append(node.status.st_rdev)
        out.append(entry)
        if node.kind is Kind.FOLDER:
            for child in source.children(node):
                walk(child)

    for node in nodes:
        walk(node)
    return record_digest("build-tree/1", out)
