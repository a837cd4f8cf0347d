"""The images that FROM names in a build outside a workflow: of the store, of registries, or archive bases made now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.api.archives import PREFIX, Archives, archive_base
from repro.errors import ReproError, UsageError
from repro.names import Reference

if TYPE_CHECKING:
    from repro.api.engine import Engine
    from repro.digest import Digest
    from repro.errors import Location


class Bases:
    """Finds what FROM names. What the store has stays as it is; with ``pull`` it is fetched or made anew.

    ``found`` has the images that were in the store, by their full names.
    """

    def __init__(self, engine: Engine, *, pull: bool) -> None:
        self.archives = Archives(engine)
        self._engine = engine
        self._store = engine.store
        self._pull = pull
        self.found: dict[str, Digest] = {}

    def image(self, name: str, where: Location) -> Digest:
        """Return the image ID of ``name``; errors as `found_image`, and of archives, at ``where``."""
        if not name.startswith(PREFIX):
            image_id = found_image(self._engine, name, where, newer=self._pull)
            return self._found(str(parsed(name, where)), image_id)
        known = self._store.refs().get(name)
        if known is not None and not self._pull and self._store.has_image(known):
            return self._found(name, known)
        base = archive_base(name, where)
        return self.archives.image(base, self.archives.lock(base))

    def _found(self, name: str, image_id: Digest) -> Digest:
        self.found[name] = image_id
        return image_id


def parsed(name: str, where: Location) -> Reference:
    """Return the name of an image; with a digest, the tag says nothing. UsageError at ``where`` if it is none."""
    try:
        found = Reference.parse(name)
    except UsageError as error:
        error.where = where
        raise
    return found if found.digest is None else replace(found, tag=None)


def found_image(engine: Engine, name: str, where: Location, *, newer: bool = False) -> Digest:
    """Return the ID of an image by its name: the store's, else its registry's; ``newer``: the latter in any case.

    Raises:
        UsageError, FetchError, DataError: at ``where``, as `repro.api.transfer.pull_image`.
    """
    reference = parsed(name, where)
    known = engine.store.refs().get(str(reference))
    if known is not None and not newer and engine.store.has_image(known):
        return known
    from repro.api.transfer import pull_named  # noqa: PLC0415 - only where the store has no such image

    try:
        return pull_named(engine, reference).image_id
    except ReproError as error:
        error.where = where
        raise


def pinned_image(engine: Engine, name: str, where: Location, *, newer: bool = False) -> str:
    """Return ``name@digest``, by which a registry gives the same image for ever, and have it in the store.

    An image that was made here and never sent anywhere has no digest there: its name stays as it is. With ``newer``
    the registry is asked again what the name stands for. Errors as `found_image`.
    """
    from repro.oci.known import manifests_of  # noqa: PLC0415 - only to lock

    reference = parsed(name, where)
    store = engine.store
    repository = reference.repository
    known = store.refs().get(str(reference))
    sent = known is not None and repository in manifests_of(store, known)
    image_id = found_image(engine, name, where, newer=newer and (sent or known is None))
    if reference.digest is not None:
        return name
    digest = manifests_of(store, image_id).get(repository)
    if digest is None:
        return name
    store.tag(f"{repository}@{digest}", image_id)
    return f"{name}@{digest}"
