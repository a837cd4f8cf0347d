"""What every protocol gives: a `Source` to read from, a `Target` to publish to."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Protocol

from repro.dataclass import dataclass
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from repro.digest import Digest, Json


class DeniedError(FetchError):
    """The server was reached and refuses: no login, a wrong or an expired one, or no right to this."""


class ChangedError(FetchError):
    """What is there now is not what was listed: its version, ETag, size or time is another."""


class ExistsError(DataError):
    """Something is there already, and is not to be overwritten."""

    code: ClassVar[str] = "exists"


@dataclass(frozen=True, slots=True)
class Reach:
    """How this host and this caller reach other machines.

    ``environ`` are the environment variables in which logins, proxies and certificates are looked for; ``uid`` and
    ``gid`` are the caller's (not those inside a user namespace that this process entered). ``timeout`` is in seconds
    of silence; ``attempts`` that bring nothing end a transfer, ``pause`` seconds after the first, doubling.
    """

    environ: Mapping[str, str]
    uid: int
    gid: int
    timeout: float = 60.0
    attempts: int = 5
    pause: float = 0.5


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file of a source, as the server lists it.

    ``name`` is relative to the folder that is the source, with ``/`` between its parts; empty where the source is the
    file. ``size`` in bytes, None where the server does not say. ``version`` is an id by which these very bytes can be
    read later; ``etag`` is a text that is another once the bytes are (an ETag, or size and time). That holds only of a
    ``settled`` file: one written a moment ago can be written again within the same tick of the clock that its etag has
    the time from, and such an etag vouches for nothing once the connection is closed.
    """

    name: str
    size: int | None
    version: str = ""
    etag: str = ""
    settled: bool = field(default=True, compare=False)


class Source(Protocol):
    """A file, or a folder of files, somewhere. Many threads may use one.

    Every method raises `repro.data.answers.NotThereError` where there is nothing, DeniedError where the server
    refuses, `repro.data.answers.Broken` where another attempt may help (the caller counts attempts and waits), and
    FetchError for the rest; messages name the address without any login.
    """

    def stat(self, name: str = "", version: str = "") -> SourceFile:
        """Return the file ``name`` of the folder (empty: the source is the file) as it is now, or its ``version``."""

    def files(self) -> Iterator[SourceFile]:
        """Yield all files below the source, a folder, in any order; none for an empty folder.

        Links to files count as files, links to folders are not followed. NotThereError where there is no folder.
        """

    def pieces(self, file: SourceFile, start: int) -> Iterator[bytes]:
        """Yield the bytes of ``file`` from the offset ``start``; ChangedError where they are others than listed."""

    def close(self) -> None:
        """Let go of connections; idempotent."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a target: ``digest`` where it is known without reading the bytes (metadata), ``etag`` as it is now.

    An etag of a file that is not ``settled`` vouches for nothing, as that of a `SourceFile`.
    """

    size: int
    digest: Digest | None = None
    etag: str = ""
    version: str = ""
    settled: bool = field(default=True, compare=False)


class Target(Protocol):
    """A folder somewhere that files are published to: first staged, where nobody sees them, then put in place.

    A token is JSON that another process can go on from. Errors are those of `Source`, and ExistsError.
    """

    @property
    def unguarded(self) -> bool:
        """Whether a `commit` could only look before it wrote: the server has no operation that does both at once."""

    def find(self, name: str) -> Found | None:
        """Return what is at ``name``; None where nothing is."""

    def read(self, name: str) -> bytes:
        """Return the bytes at ``name``, a small file; NotThereError where nothing is."""

    def stage(
        self,
        name: str,
        file: Path,
        digest: Digest,
        size: int,
        *,
        before: Mapping[str, Json] | None,
        note: Callable[[Mapping[str, Json]], None],
        told: Callable[[int], None],
    ) -> Mapping[str, Json]:
        """Bring the bytes of ``file`` to the server, out of sight; return the token that `commit` takes.

        Args:
            name: where they will be.
            file: the local file; DataError where its bytes are not those of ``digest``.
            digest: the digest of the bytes, kept beside them where the protocol has a place for that.
            size: their number.
            before: the token of an earlier `stage` of the same bytes that did not end: continued where possible.
            note: is told each token worth keeping, from the first one on, so that a killed process leaves nothing lost.
            told: is told how many bytes more arrived.
        """

    def commit(self, name: str, token: Mapping[str, Json], *, replaces: Found | None) -> Found:
        """Put what was staged in place at once; ExistsError where something is there that is not ``replaces``.

        Where that is not settled, and has a digest, it is compared by its bytes.
        """

    def withdraw(self, name: str, placed: Found) -> None:
        """Take back what this `commit` put in place, where it is still there.

        ``placed`` has the digest of the bytes; ExistsError where only they could tell whose they are, and they differ.
        """

    def discard(self, name: str, token: Mapping[str, Json]) -> None:
        """Remove what was staged; idempotent."""

    def close(self) -> None:
        """Let go of connections; idempotent."""
