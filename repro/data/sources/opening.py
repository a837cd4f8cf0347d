"""From an address to what reads or writes there: the protocol's module is imported only when it is needed."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import FetchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        return _protocol(uri, access, reach)[0]()


def open_target(uri: DataUri, access: Access, reach: Reach) -> Target:
    """Return what publishes below ``uri``, a folder; UsageError as `open_source`.

    Raises:
        FetchError: nothing can be written by this protocol.
    """
    with _extra_named(uri.scheme):
        target = _protocol(uri, access, reach)[1]
        if target is None:
            raise FetchError(
                f"nothing can be published at {uri}",
                why="web servers are only read from",
                hint="publish to s3://, nfs://, smb://, sftp:// or a folder",
            )
        return target()


def _protocol(uri: DataUri, access: Access, reach: Reach) -> tuple[Callable[[], Source], Callable[[], Target] | None]:
    """Return what makes a source and a target of ``uri``; no target for a protocol that is only read by."""
    match uri.scheme:
        case "file":
            from repro.data.sources.folder import FolderSource, FolderTarget  # noqa: PLC0415

            return partial(FolderSource, Path(uri.path)), partial(FolderTarget, Path(uri.path))
        case "http" | "https":
            from repro.data.sources.web import WebSource  # noqa: PLC0415

            return partial(WebSource, uri, reach), None
        case "s3":
            from repro.data.sources.s3 import open_s3_source, open_s3_target  # noqa: PLC0415

            return partial(open_s3_source, uri, access, reach), partial(open_s3_target, uri, access, reach)
        case "nfs":
            from repro.data.sources.nfs import NfsSource, NfsTarget  # noqa: PLC0415

            return partial(NfsSource, uri, reach), partial(NfsTarget, uri, reach)
        case "smb":
            from repro.data.sources.smb import SmbSource, SmbTarget  # noqa: PLC0415

            return partial(SmbSource, uri, reach), partial(SmbTarget, uri, reach)
        case "sftp":
            from repro.data.sources.sftp import SftpSource, SftpTarget  # noqa: PLC0415

            return partial(SftpSource, uri, reach), partial(SftpTarget, uri, reach)
        case _:
            raise AssertionError(f"{uri.scheme} is not among repro.names.DATA_SCHEMES")


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
