"""How much fetched data may stay: ``$REPRO_CACHE_LIMIT`` after each run, `repro data gc` when somebody says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.sizes import parse_size
from repro.errors import BusyError, UsageError
from repro.events import Notice, ignore

if TYPE_CHECKING:
    from repro.api.host import Host
    from repro.data.keeping import Freed
    from repro.events import Sink

_VARIABLE = "REPRO_CACHE_LIMIT"


def collect_data(host: Host, *, limit: str | None = None, dry_run: bool = False, sink: Sink = ignore) -> Freed:
    """Remove what was fetched and not used for longest, until ``limit`` holds; return what that was.

    Raises:
        UsageError: no limit is named, nor set.
        BusyError: another process uses what was fetched.
    """
    from repro.data.keeping import evict  # noqa: PLC0415 - only for this

    text = limit if limit is not None else host.environ.get(_VARIABLE)
    if not text:
        raise UsageError("no limit is named", hint=f"say --limit 50GB, or set {_VARIABLE}")
    most = parse_size(text)
    with opened(host, sink) as engine:
        engine.enter()
        return evict(host.cache_root, most, dry_run=dry_run)


def require_limit(host: Host) -> None:
    """Raise UsageError where ``$REPRO_CACHE_LIMIT`` is no size: before a run, not after it."""
    text = host.environ.get(_VARIABLE)
    if text:
        try:
            parse_size(text)
        except UsageError as error:
            raise UsageError(f"{_VARIABLE}: {error.message}", hint=error.hint) from error


def keep_within_limit(host: Host, sink: Sink) -> None:
    """Remove what is above the limit, where one is set; where others use what was fetched, the last of them does."""
    from repro.data.keeping import evict  # noqa: PLC0415 - only where a limit is set

    text = host.environ.get(_VARIABLE)
    if not text:
        return
    try:
        evict(host.cache_root, parse_size(text))
    except BusyError:
        return
    except OSError as error:
        sink(Notice("warning", f"the cache {host.cache_root} could not be kept within {text}: {error.strerror}"))
