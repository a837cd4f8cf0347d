"""The store's images, listed with what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.image_filters import NAMELESS, Candidate, Filters
from repro.dataclass import dataclass
from repro.errors import DataError, StoreError, UsageError
from repro.events import Notice
from repro.names import Reference
from repro.oci import known
from repro.oci.model import ImageConfig
from repro.oci.refs import familiar_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.digest import Digest
    from repro.events import Sink
    from repro.oci.store import Store


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A name of an image in the store (``<none>`` for an image without one), its ID, and when it was made.

    ``size`` is in bytes of the layers' files: ``unique`` are those of layers that no other image has, ``shared`` the
    rest. ``digest`` is of the manifest that the image has in the name's repository, if it is known. Of a ``damaged``
    image nothing but name and ID is known.
    """

    name: str
    image_id: Digest
    created: str
    size: int
    unique: int
    shared: int
    digest: str = ""
    damaged: bool = False


def list_images(host: Host, names: Sequence[str] = (), filters: Sequence[str] = (), *, sink: Sink) -> list[ImageRow]:
    """Return the store's images, one row a name, sorted by name; the nameless ones last, by ID.

    ``names`` may have wildcards; ``filters`` are ``KEY=VALUE``. A damaged image is told as a warning.

    Raises:
        UsageError: a filter makes no sense.
        StoreError: an image that a filter names is not there.
    """
    with opened(host, sink) as engine:
        store = engine.store
        wanted = Filters(filters, names, store, host.now())
        refs = store.refs()
        images = _Images(store, {*store.images(), *refs.values()}, sink)
        rows = [(familiar_name(name), image_id) for name, image_id in refs.items()]
        rows += [(NAMELESS, image_id) for image_id in sorted(store.images() - set(refs.values()))]
        return [
            images.row(name, image_id)
            for name, image_id in rows
            if wanted.fit(Candidate(name, images.configs.get(image_id, _UNKNOWN)))
        ]


_UNKNOWN = ImageConfig("")


class _Images:
    """The configs of images, each read once, and who has which layer."""

    def __init__(self, store: Store, image_ids: set[Digest], sink: Sink) -> None:
        self._store = store
        self.configs: dict[Digest, ImageConfig] = {}
        self._users: dict[Digest, int] = {}
        self._sizes: dict[Digest, int] = {}
        for image_id in sorted(image_ids):
            try:
                config = store.config(image_id)
            except (DataError, StoreError) as error:
                why = f": {error.why}" if error.why else ""
                sink(Notice("warning", f"image {image_id.short} cannot be read: {error.message}{why}"))
                continue
            self.configs[image_id] = config
            for diff_id in set(config.diff_ids):
                self._users[diff_id] = self._users.get(diff_id, 0) + 1

    def row(self, name: str, image_id: Digest) -> ImageRow:
        """Return what is known of the image under this name."""
        config = self.configs.get(image_id)
        if config is None:
            return ImageRow(name, image_id, "", 0, 0, 0, damaged=True)
        layers = set(config.diff_ids)
        size = sum(map(self._size, layers))
        unique = sum(self._size(diff_id) for diff_id in layers if self._users[diff_id] == 1)
        digest = self._digest(name, image_id)
        return ImageRow(name, image_id, config.created or "", size, unique, size - unique, digest)

    def _size(self, diff_id: Digest) -> int:
        if diff_id not in self._sizes:
            self._sizes[diff_id] = layer_size(self._store, diff_id)
        return self._sizes[diff_id]

    def _digest(self, name: str, image_id: Digest) -> str:
        try:
            repository = Reference.parse(name).repository
        except UsageError:  # a name of another kind, or none
            return ""
        return str(known.manifests_of(self._store, image_id).get(repository, ""))


def layer_size(store: Store, diff_id: Digest) -> int:
    """Return the bytes of a layer's files; of one that is unpacked in another mode only, or damaged, nothing."""
    try:
        return store.layer_info(diff_id).content
    except (StoreError, DataError):
        return 0
