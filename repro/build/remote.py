"""What ADD reads from an address: which addresses there are, and the port that the build asks for their bytes."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, DockerfileError

if TYPE_CHECKING:
    from pathlib import Path

    from repro.errors import Location

# BuildKit's git sources: what git itself calls an address, and an http address of a .git
_GIT: Final = re.compile(r"(?:git|ssh)://|[\w.-]+@[\w.-]+:|https?://[^?#]*\.git(?:[?#]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded file: where it lies, the digest of its bytes, and its time.

    ``mtime`` is in whole seconds since 1970, from Last-Modified; None where the server does not say.
    """

    path: Path
    digest: Digest
    mtime: int | None


class Fetch(Protocol):
    """Downloads what ADD names by an address. Safe from many threads."""

    def __call__(self, url: str, where: Location, /, *, checksum: Digest | None = None) -> Fetched:
        """Return the file at ``url``; a ReproError located at ``where`` if it cannot be had.

        With a ``checksum`` the bytes are those of that digest, and no network is needed where they are kept.
        """


def is_address(text: str) -> bool:
    """Say whether a source word is an http(s) address, not a path."""
    return text.startswith(("http://", "https://"))


def is_git(text: str) -> bool:
    """Say whether a source word is a git repository."""
    return _GIT.match(text) is not None


def file_name(url: str) -> str:
    """Return the last part of the address's path, "" where it has none: the file's name in a destination folder."""
    name = posixpath.basename(posixpath.normpath(unquote(urlsplit(url).path)))
    return "" if name in (".", "..", "/") else name


def parse_checksum(text: str, where: Location) -> Digest:
    """Return the digest that ``--checksum`` names; DockerfileError for anything but sha256."""
    try:
        return Digest.parse(text)
    except DataError as error:
        raise DockerfileError(
            f"not a checksum: {text!r}", where=where, why=error.why, hint="write --checksum=sha256:<64 hex digits>"
        ) from error
