"""What execution needs to know of an environment's image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from repro.digest import Digest


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is ready to run.

    Attributes:
        environment: the environment's name in the workflow.
        layers: unpacked layers on the host, lowest first.
        env: the image config's environment, ``NAME=value``.
        epoch: the image's creation time in seconds since 1970, given to jobs as SOURCE_DATE_EPOCH.
        packages: what is installed, as (name, version).
        recipe: digest of the recipe that made it; None for a user's own Dockerfile.
        entrypoint: the image config's ENTRYPOINT, for steps that ask for it.
        user: the image config's USER, for steps that ask for it; empty: root.
    """

    environment: str
    image_id: Digest
    layers: tuple[Path, ...]
    env: tuple[str, ...] = ()
    epoch: int = 0
    packages: tuple[tuple[str, str], ...] = ()
    recipe: Digest | None = None
    entrypoint: tuple[str, ...] = ()
    user: str = ""
