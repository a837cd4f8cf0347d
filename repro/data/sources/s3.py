"""s3:// addresses: objects of a bucket as files, read by version and published whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.data.sources.s3_client import S3Client
from repro.data.sources.s3_publishing import S3Target
from repro.data.sources.s3_reading import S3Source

if TYPE_CHECKING:
    from repro.data.sources.model import Reach
    from repro.names import DataUri
    from repro.workflow.model import Access

__all__ = ["S3Source", "S3Target", "open_s3_source", "open_s3_target"]


def open_s3_source(uri: DataUri, access: Access, reach: Reach) -> S3Source:
    """Return what reads at ``uri``: the object with that key, or those below it. Nothing is asked yet."""
    return S3Source(S3Client(uri.host, access, reach), uri.path[1:])


def open_s3_target(uri: DataUri, access: Access, reach: Reach) -> S3Target:
    """Return what publishes below ``uri``. Nothing is asked yet."""
    return S3Target(S3Client(uri.host, access, reach), uri.path[1:])
