"""Sends an image to a registry: blobs that are missing there, several at once, then the manifest.

A registry shows an image when its manifest arrives, so what breaks off half-way leaves nothing broken there, and the
next attempt sends what is still missing.
"""

from __future__ import annotations

import contextlib
import io
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, BinaryIO

from repro.data.answers import NotThereError
from repro.data.part import Counter
from repro.errors import DataError, Interrupted
from repro.events import Progress
from repro.oci.compressing import compress_layer
from repro.oci.known import blob_of, note_blob, note_manifest, note_place, places_of, seen_manifests
from repro.oci.model import Descriptor, ImageConfig, Manifest, MediaTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from repro.digest import Digest
    from repro.events import Sink
    from repro.names import Reference
    from repro.oci.store import Store
    from repro.registry.client import Registry

_AT_ONCE = 4


def push(
    registry: Registry, name: Reference, store: Store, image_id: Digest, *, sink: Sink, compression: str = "gzip"
) -> Digest:
    """Send an image of the store under ``name``; return the digest of its manifest there.

    A layer is sent as the blob that it is known by: that in which it came, or was sent before. One that is known by
    none is compressed now. A blob that is at the registry is not sent again, and one that another repository of it has
    is taken over there. An image that came with a manifest leaves with that, byte for byte, as long as its blobs do.

    Raises:
        FetchError: the registry refuses, lies, or cannot be reached.
        CorruptError: a layer in the store is damaged.
    """
    return _Push(registry, name, store, sink, compression).image(image_id)


class _Push:
    """One image on its way to one repository."""

    def __init__(self, registry: Registry, name: Reference, store: Store, sink: Sink, compression: str) -> None:
        self._registry = registry
        self._path = name.path
        self._reference = name.tag or str(name.digest)
        self._domain = name.domain
        self._repository = name.repository
        self._store = store
        self._sink = sink
        self._compression = compression
        self._stop = threading.Event()

    def image(self, image_id: Digest) -> Digest:
        """Send all of an image."""
        store = self._store
        config = store.read_blob(image_id)
        diff_ids = ImageConfig.from_json(config).diff_ids
        before = next(self._manifests(image_id, len(diff_ids)), None)
        hints = dict(zip(diff_ids, before[0].layers, strict=True)) if before is not None else {}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="push") as pool, contextlib.ExitStack() as failing:
            failing.callback(pool.shutdown, wait=False, cancel_futures=True)
            failing.callback(self._end)
            tasks = {one: pool.submit(self._layer, one, hints.get(one)) for one in dict.fromkeys(diff_ids)}
            wait(tasks.values(), return_when=FIRST_EXCEPTION)
            layers = {one: task.result() for one, task in tasks.items() if task.done()}
            failing.pop_all()
        manifest = Manifest(
            Descriptor(MediaTypes.CONFIG, image_id, len(config)), tuple(layers[one] for one in diff_ids)
        )
        data = manifest.to_json()
        if before is not None and before[0].layers == manifest.layers:
            manifest, data = before
        if not self._there(manifest.config):
            with open(store.blob_path(image_id), "rb") as file:
                self._send(manifest.config, file)
        self._registry.put_manifest(self._path, self._reference, data, manifest.media_type)
        return note_manifest(store, image_id, self._repository, data)

    def _end(self) -> None:
        """Have uploads under way end, those to a silent registry too."""
        self._stop.set()
        self._registry.abort()

    def _manifests(self, image_id: Digest, layers: int) -> Iterator[tuple[Manifest, bytes]]:
        """Yield the manifests that the image is known by: there, elsewhere, and what the name stands for there now."""
        yield from seen_manifests(self._store, image_id, [self._repository])
        try:
            data = self._registry.manifest(self._path, self._reference)[0]
            manifest = Manifest.from_json(data)
        except (NotThereError, DataError):  # the name is new there, or stands for something else
            return
        if manifest.config.digest == image_id and len(manifest.layers) == layers:
            yield manifest, data

    def _layer(self, diff_id: Digest, hint: Descriptor | None) -> Descriptor:
        """Have a layer at the registry; return the blob that it is there."""
        known: dict[Digest, Descriptor] = {}
        for one in filter(None, (hint, blob_of(self._store, diff_id))):
            known.setdefault(one.digest, one)
        for blob in known.values():
            if self._there(blob):
                return blob
            if self._store.has_blob(blob.digest):
                with open(self._store.blob_path(blob.digest), "rb") as file:
                    self._send(blob, file)
                return blob
        with self._store.workspace() as room, _Room(room / "blob", self._check) as file:
            blob = compress_layer(self._store, diff_id, file, self._compression)
            file.flush()
            note_blob(self._store, diff_id, blob)
            if not self._there(blob):
                self._send(blob, file)
        return blob

    def _there(self, blob: Descriptor) -> bool:
        """Whether the repository has the blob, of itself or from another of the same registry."""
        self._check()
        digest = blob.digest
        found = self._registry.has_blob(self._path, digest, blob.size)
        if not found:
            places = [place.partition("/") for place in reversed(places_of(self._store, digest))]
            others = [path for domain, _, path in places if domain == self._domain and path != self._path]
            found = any(self._registry.mount(self._path, digest, other) for other in others)
        if found:
            note_place(self._store, digest, self._repository)
            self._sink(Progress(self._what(digest), 1, 1, "there"))
        return found

    def _send(self, blob: Descriptor, file: BinaryIO) -> None:
        counter = Counter(self._sink, self._what(blob.digest), blob.size)

        def progress(count: int) -> None:
            self._check()
            counter.add(count)

        self._registry.upload(self._path, blob.digest, blob.size, file, progress)
        note_place(self._store, blob.digest, self._repository)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Interrupted("the push was stopped")

    @staticmethod
    def _what(digest: Digest) -> str:
        return f"pushing {digest.short}"


class _Room(io.BufferedRandom):
    """A new file that asks ``check`` before each piece, so that a long compression can be ended."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(io.FileIO(path, "w+b"))
        self._check = check

    def write(self, data: ReadableBuffer, /) -> int:
        """Append ``data``; whatever ``check`` raises comes out."""
        self._check()
        return super().write(data)
