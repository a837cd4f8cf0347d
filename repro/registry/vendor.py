"""A vendor folder asked like a mirror: an OCI image layout, on disk or served; blobs are found by their digest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repro.data.answers import NotThereError
from repro.data.cache import vendored
from repro.digest import Digest
from repro.errors import DataError
from repro.oci.model import MediaTypes
from repro.registry.client import RemoteManifest

if TYPE_CHECKING:
    from repro.data.transports import Target, Transports

_LARGEST_MANIFEST = 4 << 20  # bytes, as registries take them (distribution-spec, "Pushing Manifests")


class Vendor:
    """The folder at the address ``host``. What a name stands for it does not say: only digests are asked for."""

    def __init__(self, host: str, transports: Transports) -> None:
        self.host = host
        self._transports = transports

    def manifest(self, path: str, reference: str | Digest) -> RemoteManifest:
        """Return a manifest or index by its digest; FetchError where the folder lacks it, DataError if it is none."""
        if isinstance(reference, str):
            raise NotThereError(f"{path}:{reference} is not in the vendor folder", why="it is asked for digests only")
        data = self._transports.get(vendored(self.host, reference), limit=_LARGEST_MANIFEST)
        if Digest.of(data) != reference:
            raise DataError(f"{reference} in the vendor folder is damaged", where=self.host)
        try:
            kind = json.loads(data).get("mediaType")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{reference} in the vendor folder is no manifest", where=self.host) from error
        return RemoteManifest(data, kind if isinstance(kind, str) else MediaTypes.MANIFEST, reference)

    def download(self, path: str, digest: Digest, out: Target, *, size: int | None = None) -> None:  # noqa: ARG002
        """Write a blob to ``out``, after the bytes that it holds; FetchError where the folder lacks it."""
        self._transports.download(vendored(self.host, digest), out, size=size)

    def abort(self) -> None:
        """Do nothing: downloads end at their next bytes."""

    def close(self) -> None:
        """Do nothing: the connections are the command's."""
