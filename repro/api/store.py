"""The store looked after: what it takes, what can go, and whether it is what it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.times import age
from repro.events import Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.digest import Digest
    from repro.events import Sink
    from repro.oci.checking import Report
    from repro.oci.keeping import Freed
    from repro.oci.usage import Usage


def store_usage(host: Host, *, sink: Sink) -> Usage:
    """Return what the store takes, in parts."""
    from repro.oci.usage import usage  # noqa: PLC0415 - only for this

    with opened(host, sink) as engine:
        engine.enter()  # caches of mounts may be closed to others
        return usage(engine.store, host.cache_root)


def collect_store(
    host: Host,
    *,
    sink: Sink,
    cache: bool = False,
    downloads: bool = False,
    older_than: str | None = None,
    dry_run: bool = False,
    wait: bool = False,
) -> Freed:
    """Remove what nothing in the store refers to, and return what that was (`repro.oci.keeping.collect`).

    Raises:
        UsageError: ``older_than`` is no time (`repro.api.times.moment`).
        BusyError: others work in the store, and ``wait`` is false.
        CorruptError: an image cannot be read, so it is not known what it needs.
    """
    from repro.oci.keeping import collect  # noqa: PLC0415 - only for this

    limit = None if older_than is None else age(older_than, host.now())
    with opened(host, sink) as engine:
        engine.enter()
        return collect(
            engine.store,
            cache=cache,
            older_than=limit,
            dry_run=dry_run,
            downloads=host.cache_root if downloads else None,
            wait=wait,
            waiting=lambda who: sink(Notice("info", f"waiting for others in the store: {who}")),
        )


def check_store(
    host: Host,
    *,
    sink: Sink,
    mend: bool = False,
    wait: bool = False,
    repairer: Callable[[Engine], Callable[[Digest], None]] | None = None,
) -> Report:
    """Return what is wrong in the store (`repro.oci.checking.check`); with ``mend``, mend what can be.

    ``repairer`` makes, of the engine whose store is checked, what takes an image again from its registry; only that
    engine may work in the store then.

    Raises:
        BusyError: others work in the store, to ``mend`` which it must be had alone, and ``wait`` is false.
    """
    from repro.oci.checking import check  # noqa: PLC0415 - only for this

    def tell(done: int, total: int) -> None:
        sink(Progress("checking the store", done, total, "bytes"))

    with opened(host, sink) as engine, contextlib.ExitStack() as stack:
        engine.enter()
        if mend:
            waiting = lambda who: sink(Notice("info", f"waiting for others in the store: {who}"))  # noqa: E731
            stack.enter_context(engine.store.leases.alone(wait=wait, waiting=waiting))
        repair = repairer(engine) if mend and repairer is not None else None
        return check(engine.store, jobs=host.cpus, tell=tell, repair=repair, mend=mend)
