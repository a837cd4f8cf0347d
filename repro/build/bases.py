"""The images that a build starts from or copies from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from repro.build.config import DEFAULT_PATH
from repro.build.stages import SCRATCH
from repro.errors import BuildError
from repro.oci.model import ImageConfig, epoch_of

if TYPE_CHECKING:
    from repro.build.options import FindBase
    from repro.build.stages import BuildPlan
    from repro.errors import Location
    from repro.oci.store import Store


class Bases:
    """The configs of images by name; each is asked for once, one at a time. Safe from many threads."""

    def __init__(self, store: Store, base: FindBase, arch: str) -> None:
        self._store = store
        self._base = base
        self._arch = arch
        self._lock = threading.Lock()
        self._known: dict[str, ImageConfig] = {}

    def config(self, name: str, where: Location) -> ImageConfig:
        """Return the config of the image ``name``; BuildError if it is for another machine."""
        if name == SCRATCH:
            return ImageConfig(architecture=self._arch, env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
        with self._lock:
            if name not in self._known:
                self._known[name] = self._asked(name, where)
            return self._known[name]

    def _asked(self, name: str, where: Location) -> ImageConfig:
        config = self._store.config(self._base(name, where))
        if config.architecture != self._arch or config.os != "linux":
            raise BuildError(
                f"{name} is for {config.os}/{config.architecture}, not for linux/{self._arch}",
                where=where,
                hint="name an image for this machine",
            )
        return config

    def epoch(self, plan: BuildPlan, given: int | None) -> int:
        """Return the epoch of the whole build: ``given``, else the creation time of the newest base, else 0."""
        stages = [plan.stages[index] for index in plan.needed]
        images = [self.config(one.base, one.begin.image.where) for one in stages if isinstance(one.base, str)]
        if given is not None:
            return given
        return max((epoch_of(image.created) for image in images), default=0)
