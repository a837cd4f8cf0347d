"""Where to ask for the blobs of a registry: its mirrors first, itself last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.registry.client import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.registry.connections import Timing
    from repro.registry.credentials import Credentials
    from repro.registry.settings import Settings


def endpoints(
    host: str,
    settings: Settings,
    credentials: Credentials,
    environ: Mapping[str, str],
    *,
    timing: Timing | None = None,
) -> tuple[Registry, ...]:
    """Return the registries to read from, in order: the mirrors that the settings name, then ``host`` itself.

    For what is known by its digest: a mirror may be behind, and what a tag stands for is the registry's to say. A
    failure of any but the last (FetchError, DataError) means to ask the next.
    """
    mirrors = [
        Registry(mirror.host, settings, credentials, environ, prefix=mirror.prefix, timing=timing)
        for mirror in settings.of(host).mirrors
    ]
    return (*mirrors, Registry(host, settings, credentials, environ, timing=timing))
