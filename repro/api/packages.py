"""What is installed in an image, read back from its layers for the records of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from repro.digest import Digest
    from repro.oci.store import Store

_KIND: Final = "packages"  # of the store's memory: an image's root is walked once, for its content never changes


def read_packages(store: Store, image_id: Digest) -> tuple[tuple[str, str], ...]:
    """Return the installed packages of every kind as (name, version), sorted, each once; none of an empty image."""
    known = store.recall(_KIND, image_id)
    if isinstance(known, list):
        return tuple((str(name), str(version)) for name, version in known)
    from repro.environment.installed import installed  # noqa: PLC0415 - only where an image is looked into

    found = sorted({(package.name, package.version) for package in installed(store.image_layers(image_id), store.form)})
    store.remember(_KIND, image_id, [list(pair) for pair in found])
    return tuple(found)
