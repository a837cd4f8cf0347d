"""The parts that resolve and fetch inputs, wired to this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.data.pinning import Pinner
from repro.data.sources.model import Reach
from repro.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.data.checksum import StatCache
    from repro.data.sources.model import Source
    from repro.names import DataUri
    from repro.workflow.model import Access


def reach_of(host: Host) -> Reach:
    """Return how this host reaches others: patience is ``$REPRO_DATA_TIMEOUT`` seconds, else a minute of silence."""
    text = host.environ.get("REPRO_DATA_TIMEOUT", "")
    if not text:
        return Reach(host.environ, host.uid, host.gid)
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0.0
    if not 0 < timeout <= 3600:
        raise UsageError(f"REPRO_DATA_TIMEOUT={text} is no number of seconds", hint="above 0, at most 3600")
    return Reach(host.environ, host.uid, host.gid, timeout=timeout)


def make_pinner(engine: Engine, root: Path, cache: StatCache) -> Pinner:
    """Return the pinner of the project in ``root``."""
    from repro.data.sites import Sites  # noqa: PLC0415 - only for a workflow with inputs

    reach = reach_of(engine.host)

    def open_source(uri: DataUri, access: Access) -> Source:
        from repro.data.sources.opening import open_source  # noqa: PLC0415 - only to reach one

        engine.reached_out = True
        return open_source(uri, access, reach)

    def mounted(uri: DataUri) -> Path | None:
        from repro.data.sources.mounts import mounted  # noqa: PLC0415 - only for a share

        return mounted(uri)

    return Pinner(
        downloads=engine.downloads,
        open_source=open_source,
        reach=reach,
        cache=cache,
        root=root,
        sites=Sites.load(engine.host.environ),
        mounted=mounted,
        sink=engine.sink,
    )
