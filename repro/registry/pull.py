"""Takes an image from a registry into the store: several layers at once, each verified, then unpacked.

The image is there when its config is, which comes last, so what breaks off half-way leaves no broken one; blobs that
were whole are not fetched again, and one that broke off goes on where it ended.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from repro.data.answers import UnreachableError
from repro.data.cache import Downloads, Wanted
from repro.data.part import Counter
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.events import Notice
from repro.names import DEFAULT_TAG
from repro.oci.known import adopt_blob, intact_blob, keep_layer, note_manifest, note_place, read_image
from repro.oci.model import Descriptor, Index, Manifest, MediaTypes
from repro.oci.platforms import choose, images_only, platform_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.data.transports import Target
    from repro.events import Sink
    from repro.names import Reference
    from repro.oci.store import Store
    from repro.registry.client import RemoteManifest

_AT_ONCE = 4
_MOST_LAYERS = 500  # overlay takes fewer; each costs requests
_LARGEST_CONFIG = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Pulled:
    """The image, the digest of its manifest, and whether anything had to be fetched for it."""

    image_id: Digest
    manifest: Digest
    fresh: bool


class Source(Protocol):
    """Where images can be had: a `repro.registry.client.Registry`, or what is asked like one."""

    host: str

    def manifest(self, path: str, reference: str | Digest) -> RemoteManifest:
        """Return a manifest or an index by tag or digest."""

    def download(self, path: str, digest: Digest, out: Target, *, size: int | None = None) -> None:
        """Write a blob to ``out``, after the bytes that it holds."""

    def abort(self) -> None:
        """Break off what is under way."""

    def close(self) -> None:
        """Close connections."""


def pull(
    registries: Sequence[Source], name: Reference, store: Store, *, arch: str, sink: Sink, repair: bool = False
) -> Pulled:
    """Take the image ``name`` into the store, tagged so; of several platforms, linux on ``arch`` (as Go names it).

    ``registries`` are where to look: mirrors, then the registry itself. It alone says what a tag stands for, as long as
    it can be reached; the rest is known by its digest, and taken from the first that has it. To ``repair`` is to bring
    also blobs whose layers are there, and to name nothing.

    Raises:
        FetchError: the image, or a blob of it, cannot be had, or is not for this machine.
        DataError: what came is no image, or a hostile one.
    """
    return _Pull(registries, name, store, arch, sink, repair=repair).image()


class _Pull:
    """One image on its way into the store."""

    def __init__(
        self, registries: Sequence[Source], name: Reference, store: Store, arch: str, sink: Sink, *, repair: bool
    ) -> None:
        self._registries = registries
        self._name = name
        self._store = store
        self._arch = arch
        self._sink = sink
        self._repair = repair
        self._stop = threading.Event()
        self._blobs = Downloads(store.root / "partial", _Blobs(registries, name.path))

    def image(self) -> Pulled:
        """Take all of the image."""
        store = self._store
        manifest, digest = self._manifest()
        config = self._config(Manifest.from_json(manifest))
        outer, inner = read_image(manifest, config)
        if (inner.os, inner.architecture) != ("linux", self._arch):
            raise FetchError(
                f"{self._name.familiar} is for {inner.os}/{inner.architecture}",
                why=f"this machine is linux/{self._arch}, and nothing is emulated",
                hint="name an image that is made for it",
            )
        if len(outer.layers) > _MOST_LAYERS:
            raise DataError(f"{self._name.familiar} has {len(outer.layers)} layers", why=f"at most {_MOST_LAYERS} work")
        pairs = dict(zip(inner.diff_ids, outer.layers, strict=True))
        missing = {diff_id: blob for diff_id, blob in pairs.items() if not self._has(diff_id, blob)}
        self._layers(missing)
        image_id = store.put_image_bytes(config)
        repository = self._name.repository
        note_manifest(store, image_id, repository, manifest)
        for blob in (outer.config, *outer.layers):
            note_place(store, blob.digest, repository)
        if not self._repair:
            store.tag(str(self._name), image_id)
        return Pulled(image_id, digest, bool(missing))

    def _has(self, diff_id: Digest, blob: Descriptor) -> bool:
        return self._store.has_layer(diff_id) and not (self._repair and not intact_blob(self._store, blob.digest))

    def _manifest(self) -> tuple[bytes, Digest]:
        """Return the manifest of the image for this machine, and the digest of what the name stands for."""
        found = self._named() if self._name.digest is None else self._by_digest(self._name.digest)
        if found.media_type not in MediaTypes.INDEXES:
            return found.data, found.digest
        chosen = self._by_digest(self._chosen(Index.from_json(found.data)).digest)
        if chosen.media_type in MediaTypes.INDEXES:
            raise DataError(f"{self._name.familiar} is an index of indexes", hint="name one of its images by digest")
        return chosen.data, found.digest

    def _named(self) -> RemoteManifest:
        """Return what the tag stands for: the registry says it, a mirror only where that cannot be reached."""
        path, tag = self._name.path, self._name.tag or DEFAULT_TAG
        *mirrors, origin = self._registries
        try:
            return origin.manifest(path, tag)
        except UnreachableError:
            for mirror in mirrors:
                with contextlib.suppress(FetchError, DataError):
                    found = mirror.manifest(path, tag)
                    text = f"{self._name.domain} cannot be reached: {self._name.familiar} is what {mirror.host} has"
                    self._sink(Notice("warning", text))
                    return found
            raise

    def _by_digest(self, digest: Digest) -> RemoteManifest:
        """Return a manifest or index from the first registry that has it."""
        *mirrors, origin = self._registries
        for mirror in mirrors:
            with contextlib.suppress(FetchError, DataError):
                return mirror.manifest(self._name.path, digest)
        return origin.manifest(self._name.path, digest)

    def _chosen(self, index: Index) -> Descriptor:
        """Return the entry for this machine; DataError names what there is."""
        found = choose(index.manifests, self._arch)
        if found is not None:
            return found
        known = sorted({platform_text(one) for one in images_only(index.manifests)})
        raise FetchError(
            f"{self._name.familiar} has no image for linux/{self._arch}",
            why=f"it has: {', '.join(known) or 'none'}",
            hint="name an image that is made for this machine",
        )

    def _config(self, manifest: Manifest) -> bytes:
        blob = manifest.config
        if blob.size > _LARGEST_CONFIG:
            raise DataError(f"the config of {self._name.familiar} has {blob.size} bytes: no image's is so large")
        return self._path(blob).read_bytes()

    def _layers(self, wanted: dict[Digest, Descriptor]) -> None:
        """Have layers in the store; the first failure ends them all."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pull") as pool, contextlib.ExitStack() as failing:
            failing.callback(pool.shutdown, wait=False, cancel_futures=True)
            failing.callback(self._end)
            tasks = [pool.submit(self._layer, diff_id, blob) for diff_id, blob in wanted.items()]
            wait(tasks, return_when=FIRST_EXCEPTION)
            for task in filter(Future.done, tasks):
                task.result()
            failing.pop_all()

    def _end(self) -> None:
        """Have downloads under way end, those from a silent registry too."""
        self._stop.set()
        for one in self._registries:
            one.abort()

    def _layer(self, diff_id: Digest, blob: Descriptor) -> None:
        keep_layer(self._store, self._path(blob), blob, diff_id)

    def _path(self, blob: Descriptor) -> Path:
        """Return the file of a blob in the store, fetched where it is not there; its bytes are the right ones."""
        digest = blob.digest
        if not intact_blob(self._store, digest):
            urls = tuple(f"{number} {digest}" for number in range(len(self._registries)))
            counter = Counter(self._sink, f"pulling {digest.short}", blob.size)
            what = f"cannot fetch blob {digest} of {self._name.repository}"
            self._blobs.have(Wanted(what, digest, blob.size, urls), counter, self._stop)
            adopt_blob(self._store, self._blobs.path(digest), digest)
        return self._store.blob_path(digest)


class _Blobs:
    """Brings blobs for `Downloads`; an address is the number of a registry and a digest."""

    def __init__(self, registries: Sequence[Source], path: str) -> None:
        self._registries = registries
        self._path = path

    def download(self, url: str, out: Target, *, size: int | None = None) -> None:
        """Write the blob to ``out``, after the bytes that it holds."""
        number, _, digest = url.partition(" ")
        self._registries[int(number)].download(self._path, Digest.parse(digest), out, size=size)
