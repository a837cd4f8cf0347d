"""The images and containers of a run, each had once however many threads ask."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from repro.errors import HostError, ReproError
from repro.events import ImageUsed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repro.digest import Digest
    from repro.events import Sink
    from repro.execution.image import Image
    from repro.runtime.container import Launcher, Running


class Images:
    """Asks ``source`` for each environment once; an image that cannot be had fails each job that needs it."""

    def __init__(
        self, source: Callable[[str], Image], sink: Sink, expected: Mapping[str, Digest] | None = None
    ) -> None:
        """``expected`` are the IDs that keys were made with: another image than that is an error."""
        self._source = source
        self._expected = expected or {}
        self._emit = sink
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._had: dict[str, Image | ReproError] = {}

    def get(self, environment: str) -> Image:
        """Return the environment's image; ReproError as the source raised it, every time."""
        with self._guard:
            lock = self._locks.setdefault(environment, threading.Lock())
        with lock:
            had = self._had.get(environment)
            if had is None:
                try:
                    had = self._checked(environment, self._source(environment))
                except HostError:
                    raise
                except ReproError as error:
                    self._had[environment] = error
                    raise
                self._had[environment] = had
                self._emit(ImageUsed(environment, had.image_id, had.recipe, had.packages))
        if isinstance(had, ReproError):
            raise had
        return had

    def _checked(self, environment: str, image: Image) -> Image:
        expected = self._expected.get(environment, image.image_id)
        if image.image_id != expected:
            raise ReproError(
                f"environment {environment} is image {image.image_id.short}, not {expected.short} as expected",
                hint="run `repro lock` to see which of its parts moved",
            )
        return image


class Containers:
    """The containers under way, so that all of them can be killed, also one that starts just then."""

    def __init__(self, source: Callable[[], Launcher]) -> None:
        self._source = source
        self._guard = threading.Lock()
        self._launcher: Launcher | None = None
        self._running: dict[int, Running] = {}
        self._killed = False

    def launcher(self) -> Launcher:
        """Return the launcher, asked for when the first job needs it."""
        with self._guard:
            if self._launcher is None:
                self._launcher = self._source()
            return self._launcher

    def watch(self, running: Running) -> None:
        """Keep an eye on a container that was started; it is killed at once where `kill_all` came first."""
        with self._guard:
            self._running[threading.get_ident()] = running  # a thread has one container at a time
            killed = self._killed
        if killed:
            running.kill(signal.SIGKILL)

    def forget(self) -> None:
        """Take the calling thread's container, which has ended, out of sight."""
        with self._guard:
            self._running.pop(threading.get_ident(), None)

    def stop(self) -> None:
        """Kill every container of the launcher, also those in which an image is being built, for good."""
        self.kill_all()
        self.launcher().close()

    def kill_all(self) -> None:
        """Kill every job's container, and any that is still to come."""
        with self._guard:
            self._killed = True
            running = list(self._running.values())
        for container in running:
            container.kill(signal.SIGKILL)
