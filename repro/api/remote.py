"""ADD of an address: the file downloaded for one build, or found among the downloads where its checksum is known."""

from __future__ import annotations

import os
import tempfile
import threading
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from repro.build.remote import Fetched
from repro.data.addresses import redacted
from repro.data.part import Part
from repro.errors import FetchError

if TYPE_CHECKING:
    from repro.data.cache import Downloads
    from repro.data.transports import Transports
    from repro.digest import Digest
    from repro.errors import Location


class RemoteFiles:
    """Fetches what ADD names by an address, each once; safe from many threads.

    ``room`` is a folder that lives as long as the build.
    """

    def __init__(self, downloads: Downloads, transports: Transports, room: Path) -> None:
        self._downloads = downloads
        self._transports = transports
        self._room = room
        self._lock = threading.Lock()
        self._known: dict[str, Fetched] = {}

    def __call__(self, url: str, where: Location, /, *, checksum: Digest | None = None) -> Fetched:
        """Return the file at ``url``; FetchError, at ``where``, if it cannot be had or is not that of ``checksum``."""
        with self._lock:
            if checksum is not None:
                kept = self._downloads.find(checksum)
                if kept is not None:
                    return Fetched(kept, checksum, None)
            try:
                found = self._known.get(url) or download(self._transports, url, self._room)
            except FetchError as error:
                error.where = where
                raise
            self._known[url] = found
            if checksum is None:
                return found
            if found.digest != checksum:
                raise FetchError(
                    f"{redacted(url)} is another file than --checksum names",
                    where=where,
                    why=f"it is {found.digest}, and {checksum} is wanted",
                    hint="find out why it changed; if it should have, name the new checksum",
                )
            with open(found.path, "rb") as file:
                self._downloads.add_file(file, checksum)
            return Fetched(found.path, checksum, None)  # as it will be found without the server


def download(transports: Transports, url: str, room: Path) -> Fetched:
    """Return the file at ``url``, downloaded into a new file in ``room``; FetchError if it cannot be had."""
    descriptor, name = tempfile.mkstemp(prefix="add-", dir=room)
    try:
        part = Part(descriptor, Path(name), None, None)
        modified = transports.download(url, part)
        return Fetched(Path(name), part.digest(), _seconds(modified))
    finally:
        os.close(descriptor)


def _seconds(modified: str | None) -> int | None:
    """Return an HTTP date (RFC 9110, 5.6.7) as seconds since 1970; None for none or nonsense."""
    try:
        return None if modified is None else max(0, int(parsedate_to_datetime(modified).timestamp()))
    except (ValueError, OverflowError):
        return None
