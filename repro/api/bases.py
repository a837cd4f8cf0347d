"""The images that FROM names in a build outside a workflow: of the store, or archive bases made as they are today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.archives import PREFIX, Archives, archive_base
from repro.errors import BuildError, UsageError
from repro.names import Reference

if TYPE_CHECKING:
    from repro.api.engine import Engine
    from repro.digest import Digest
    from repro.errors import Location
    from repro.oci.store import Store

_NO_REGISTRIES = "this version does not pull from registries"


class Bases:
    """Finds what FROM names. An archive's base that is in the store stays as it is; with ``pull`` it is made anew.

    ``found`` has the images that were in the store, by their full names.
    """

    def __init__(self, engine: Engine, *, pull: bool) -> None:
        self.archives = Archives(engine)
        self._store = engine.store
        self._pull = pull
        self.found: dict[str, Digest] = {}

    def image(self, name: str, where: Location) -> Digest:
        """Return the image ID of ``name``; BuildError, at ``where``, if it cannot be had."""
        if not name.startswith(PREFIX):
            if self._pull:
                raise BuildError(
                    f"--pull asks for a newer {name}",
                    where=where,
                    why=_NO_REGISTRIES,
                    hint="leave --pull out to start from the image that is in the store",
                )
            return self._found(str(Reference.parse(name)), stored_image(self._store, name, where))
        known = self._store.refs().get(name)
        if known is not None and not self._pull and self._store.has_image(known):
            return self._found(name, known)
        base = archive_base(name, where)
        return self.archives.image(base, self.archives.lock(base))

    def _found(self, name: str, image_id: Digest) -> Digest:
        self.found[name] = image_id
        return image_id


def stored_image(store: Store, name: str, where: Location) -> Digest:
    """Return the ID of the image that a FROM names; BuildError, at ``where``, when it is not in the store."""
    try:
        known = store.refs().get(str(Reference.parse(name)))
    except UsageError as error:
        error.where = where
        raise
    if known is not None and store.has_image(known):
        return known
    raise BuildError(
        f"there is no image {name!r} in the store",
        where=where,
        why=_NO_REGISTRIES,
        hint="build it first with `repro image build -t`, or start FROM archive:debian/bookworm",
    )
