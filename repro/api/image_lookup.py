"""What a user's text means among the images of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.errors import StoreError, UsageError
from repro.names import Reference
from repro.oci import known

if TYPE_CHECKING:
    from repro.digest import Digest
    from repro.oci.store import Store


def resolve(store: Store, text: str) -> Digest:
    """Return the image that ``text`` means: as `Store.resolve`, or ``NAME@DIGEST`` as `push` and `pull` print it.

    The digest is then that of a manifest that the image is known to have in the name's repository, whether or not it
    was taken under that very name. Raises as `Store.resolve`.
    """
    try:
        return store.resolve(text)
    except StoreError:
        found = _by_manifest(store, text)
        if found is None:
            raise
        return found


def _by_manifest(store: Store, text: str) -> Digest | None:
    try:
        name = Reference.parse(text)
    except UsageError:
        return None
    if name.digest is None:
        return None
    for image_id in sorted(store.images()):
        if known.manifests_of(store, image_id).get(name.repository) == name.digest:
            return image_id
    return None
