"""Images sent to registries and taken from them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.dataclass import dataclass
from repro.errors import DataError, FetchError, ReproError, UsageError
from repro.names import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.digest import Digest
    from repro.events import Sink
    from repro.registry.pull import Source


@dataclass(frozen=True, slots=True)
class Transferred:
    """An image that is at a registry and here: its name, its ID, the digest of its manifest; ``fresh``: it was not."""

    name: str
    image_id: Digest
    digest: Digest
    fresh: bool = True


def pull_image(host: Host, name: str, *, sink: Sink) -> Transferred:
    """Take an image from its registry into the store, for this machine's platform.

    Raises:
        UsageError: it is no name of an image.
        FetchError, DataError: as `repro.registry.pull.pull`.
    """
    reference = Reference.parse(name)
    with opened(host, sink) as engine:
        return pull_named(engine, reference)


def pull_named(engine: Engine, reference: Reference) -> Transferred:
    """Take an image from its registry into the engine's store."""
    from repro.build.stages import architecture  # noqa: PLC0415 - only to pull
    from repro.registry.pull import pull  # noqa: PLC0415

    engine.enter()
    with _sources(engine, reference.domain) as sources:
        pulled = pull(sources, reference, engine.store, arch=architecture(), sink=engine.sink)
    return Transferred(reference.familiar, pulled.image_id, pulled.manifest, pulled.fresh)


def repairer(engine: Engine) -> Callable[[Digest], None]:
    """Return what takes an image of the engine's store again from a registry that it is known to be at."""
    from repro.build.stages import architecture  # noqa: PLC0415 - only to pull
    from repro.oci.known import manifests_of  # noqa: PLC0415
    from repro.registry.pull import pull  # noqa: PLC0415

    def again(image_id: Digest) -> None:
        failed: ReproError = FetchError(f"image {image_id} came from no registry")
        for repository, digest in manifests_of(engine.store, image_id).items():
            domain, _, path = repository.partition("/")
            name = Reference(domain, path, None, digest)
            try:
                with _sources(engine, domain) as sources:
                    pull(sources, name, engine.store, arch=architecture(), sink=engine.sink, repair=True)
            except (FetchError, DataError) as error:
                failed = error
            else:
                return
        raise failed

    return again


def push_image(host: Host, name: str, *, sink: Sink, compression: str = "gzip") -> Transferred:
    """Send an image of the store to the registry that its name says.

    Raises:
        UsageError: the name says no registry's repository with a tag.
        StoreError: there is no such image.
        FetchError, CorruptError: as `repro.registry.push.push`.
    """
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise UsageError(f"an image is sent by its tag, not by a digest: {name}", hint="leave out what follows the @")
    with opened(host, sink) as engine:
        from repro.api.registries import open_registry  # noqa: PLC0415 - only to push
        from repro.registry.push import push  # noqa: PLC0415

        engine.enter()
        image_id = engine.store.resolve(name)
        engine.reached_out = True
        with contextlib.closing(open_registry(host, reference.domain, writes=True)) as registry:
            digest = push(registry, reference, engine.store, image_id, sink=sink, compression=compression)
    return Transferred(reference.familiar, image_id, digest)


@contextlib.contextmanager
def _sources(engine: Engine, domain: str) -> Iterator[tuple[Source, ...]]:
    """Give the vendor folders and the mirrors of a registry, and itself as the last."""
    from repro.api.registries import open_endpoints  # noqa: PLC0415 - only to reach one
    from repro.registry.vendor import Vendor  # noqa: PLC0415

    engine.reached_out = True
    vendors = (Vendor(vendor, engine.transports) for vendor in engine.host.vendors)
    found: tuple[Source, ...] = (*vendors, *open_endpoints(engine.host, domain))
    try:
        yield found
    finally:
        for one in found:
            one.close()
