"""From an address to what reads or writes there: the protocol's module is imported only when it is needed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import FetchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.data.sources.model import Reach, Source, Target
    from repro.names import DataUri
    from repro.workflow.model import Access

_EXTRAS = {"nfs": ("nfs4fs", "vfsi_fsspec"), "smb": ("smbprotocol", "smbclient"), "sftp": ("paramiko",)}


def open_source(uri: DataUri, access: Access, reach: Reach) -> Source:
    """Return what reads at ``uri``; no connection is made before the first question.

    Raises:
        UsageError: what the protocol needs is not installed; the hint names the command that installs it.
    """
    with _extra_named(uri.scheme):
        match uri.scheme:
            case "file":
                from repro.data.sources.folder import FolderSource  # noqa: PLC0415

                return FolderSource(Path(uri.path))
            case "http" | "https":
                from repro.data.sources.web import WebSource  # noqa: PLC0415

                return WebSource(uri, reach)
            case "s3":
                from repro.data.sources.s3 import open_s3_source  # noqa: PLC0415

                return open_s3_source(uri, access, reach)
            case "nfs":
                from repro.data.sources.nfs import NfsSource  # noqa: PLC0415

                return NfsSource(uri, reach)
            case "smb":
                from repro.data.sources.smb import SmbSource  # noqa: PLC0415

                return SmbSource(uri, reach)
            case "sftp":
                from repro.data.sources.sftp import SftpSource  # noqa: PLC0415

                return SftpSource(uri, reach)
            case _:
                raise AssertionError(f"{uri.scheme} is not among repro.names.DATA_SCHEMES")


def open_target(uri: DataUri, access: Access, reach: Reach) -> Target:
    """Return what publishes below ``uri``, a folder; UsageError as `open_source`.

    Raises:
        FetchError: nothing can be written by this protocol.
    """
    with _extra_named(uri.scheme):
        match uri.scheme:
            case "file":
                from repro.data.sources.folder import FolderTarget  # noqa: PLC0415

                return FolderTarget(Path(uri.path))
            case "s3":
                from repro.data.sources.s3 import open_s3_target  # noqa: PLC0415

                return open_s3_target(uri, access, reach)
            case "nfs":
                from repro.data.sources.nfs import NfsTarget  # noqa: PLC0415

                return NfsTarget(uri, reach)
            case "smb":
                from repro.data.sources.smb import SmbTarget  # noqa: PLC0415

                return SmbTarget(uri, reach)
            case "sftp":
                from repro.data.sources.sftp import SftpTarget  # noqa: PLC0415

                return SftpTarget(uri, reach)
            case _:
                raise FetchError(
                    f"nothing can be published at {uri}",
                    why="web servers are only read from",
                    hint="publish to s3://, nfs://, smb://, sftp:// or a folder",
                )


@contextlib.contextmanager
def _extra_named(scheme: str) -> Iterator[None]:
    """Tell which extra brings the library that an import in the block misses."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS.get(scheme, ()):
            raise
        raise UsageError(
            f"addresses of {scheme}:// need {missing}, which is not installed here",
            hint=f"pip install 'repro-workflow[{scheme}]'",
        ) from error
