"""The engine's parts, made when first asked for: a no-op run starts no helper and looks at no layer."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING

from repro.errors import StoreError
from repro.events import Notice
from repro.oci.limits import limits_from
from repro.oci.store import Store
from repro.runtime.container import Launcher
from repro.runtime.probe import choose_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.api.host import Host
    from repro.data.cache import Downloads
    from repro.data.transports import Transports
    from repro.events import Sink
    from repro.runtime.modes import Choice
    from repro.runtime.spec import Mode


class Engine:
    """Store, launcher and downloads of one command; `opened` closes what was started."""

    def __init__(self, host: Host, sink: Sink) -> None:
        self.host = host
        self.sink = sink
        self._launcher: Launcher | None = None
        self._entered = False
        self.reached_out = False  # whether something outside was asked for, or may have been
        self._leased = False  # whether this engine holds a share of its store's lease

    @cached_property
    def choice(self) -> Choice:
        """How containers run here, and why not otherwise; HostError with the remedy where they cannot."""
        return choose_mode(self.host.uid, self.host.gid, self.host.environ.get("REPRO_MODE", ""))

    @property
    def mode(self) -> Mode:
        """How a container's root is made here."""
        return self.choice.mode

    @property
    def form(self) -> str:
        """The form in which layers are kept here."""
        return self.choice.form

    def enter(self) -> None:
        """Make this process able to write layers and to start containers; idempotent.

        With subordinate IDs it moves into a user namespace, for good, and must have one thread: so this is called
        before any thread is started, and only once it is known that something is to be built or run.
        """
        if self._entered:
            return
        self.choice.begin()
        self._entered = True
        if self.choice.surprising:
            text = f"containers run with a single ID, whose images differ from other runs' here: {self.choice.why}"
            self.sink(Notice("warning", text))
        if "store" in self.__dict__:
            self.store.leases.beat()  # a thread: not before
            self.store.sweep()  # now with the right to remove what others of these IDs left

    def stay_outside(self) -> None:
        """Keep this process out of a user namespace for good, though it can then write no layer and start no container.

        For one that speaks to a cluster, to which it would be another user in there.
        """
        self._entered = True

    @cached_property
    def store(self) -> Store:
        """The caller's store, for layers as this mode keeps them; what they hold is for a process that did `enter`.

        Until `close`, nothing in it is removed by others (`repro.oci.leases`).
        """
        try:
            limits = limits_from(self.host.environ)
            store = Store(self.host.store_root, self.form, self.host.layers_root, limits=limits)
            store.leases.share(self._tell_waiting)
            self._leased = True
        except OSError as error:
            raise StoreError(
                f"the store {self.host.store_root} cannot be used",
                why=error.strerror,
                hint="set REPRO_STORE to a folder on a local disk that you can write to",
            ) from error
        if self._entered:
            store.leases.beat()
        store.sweep()
        return store

    def _tell_waiting(self, who: str) -> None:
        self.sink(Notice("info", f"waiting for what has the store alone: {who}"))

    @cached_property
    def transports(self) -> Transports:
        """The way to files outside, through the proxies and certificates of the host's environment."""
        from repro.data.transports import Transports  # noqa: PLC0415 - what is cached needs no network

        self.reached_out = True
        return Transports(self.host.environ)

    @cached_property
    def downloads(self) -> Downloads:
        """What was fetched by hash."""
        from repro.data.cache import Downloads  # noqa: PLC0415

        return Downloads(self.host.cache_root, self.transports, self.host.vendors)

    def launcher(self) -> Launcher:
        """Return the one launcher, made when first asked for; `enter` comes first."""
        self.enter()
        if self._launcher is None:
            self._launcher = Launcher(self.mode)
        return self._launcher

    def close(self) -> None:
        """End the launcher's helper and whatever still runs in it, and let others have the store; idempotent."""
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None
        if self._leased:
            self._leased = False
            self.store.leases.unshare()


@contextlib.contextmanager
def opened(host: Host, sink: Sink) -> Iterator[Engine]:
    """Give an engine; close it at the end, however the block ends."""
    engine = Engine(host, sink)
    try:
        yield engine
    finally:
        engine.close()
