"""One upload of a blob: in one piece or several, continued where a connection broke.

distribution-spec 1.1, "Pushing Blobs": POST begins an upload; its Location takes the bytes (one PUT where they are few,
else PATCH after PATCH and a last empty PUT) and tells how many it has.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from repro.data.answers import PIECE, Broken, NotThereError
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.registry.answers import LyingError, claimed_digest
from repro.registry.auth import Access
from repro.registry.connections import dismiss
from repro.registry.exchange import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from urllib3.response import BaseHTTPResponse

    from repro.registry.exchange import Exchange

MONOLITHIC = 8 << 20  # bytes that go in one PUT: a round trip less, and little to send again
CHUNK = 32 << 20  # bytes of a PATCH
_HASHED = 20 << 20  # bytes a second: a registry may hash all of a blob again before it answers that it has it
_LARGEST_CHUNK = 1 << 30  # bytes: what a registry may ask for at least
_SMALLEST_CHUNK = 256 << 10  # bytes: where a registry, or the proxy in front of it, takes no large bodies


class Place:
    """Where an upload's bytes go next; the registry may name another place with each answer."""

    def __init__(self, url: str, least: int) -> None:
        self.url = url
        self.least = least  # bytes of a chunk, the last one aside

    @classmethod
    def of(cls, response: BaseHTTPResponse, ask: Ask, what: str) -> Place:
        """Return the place that an answer names; LyingError where it names none."""
        location = response.headers.get("Location")
        if not location:
            raise LyingError(what, why="the registry began an upload and does not say where")
        text = response.headers.get("OCI-Chunk-Min-Length", "0")
        least = int(text) if text.isascii() and text.isdigit() else 0
        return cls(urljoin(ask.url, location), min(least, _LARGEST_CHUNK))


class Content:
    """The bytes of a blob, readable from any offset, counted as they go."""

    def __init__(
        self,
        source: BinaryIO | Callable[[int], BinaryIO],
        size: int,
        progress: Callable[[int], object] | None,
        what: str,
    ) -> None:
        self.size = size
        self._source = source
        self._progress = progress
        self._what = what
        self._told = 0

    def reached(self, offset: int) -> None:
        """Tell that the first ``offset`` bytes have gone."""
        if self._progress is not None and offset != self._told:
            self._progress(offset - self._told)
        self._told = offset

    def pieces(self, start: int, count: int) -> Iterator[bytes]:
        """Yield ``count`` bytes from ``start`` on; DataError where there are fewer."""
        self.reached(start)
        file, closing = self._at(start)
        try:
            offset, end = start, start + count
            while offset < end:
                piece = self._read(file, min(PIECE, end - offset))
                if not piece:
                    raise DataError(self._what, why=f"it ends after {offset} of {self.size} bytes")
                yield piece
                offset += len(piece)
                self.reached(offset)
        finally:
            if closing:
                file.close()

    def _read(self, file: BinaryIO, count: int) -> bytes:
        try:
            return file.read(count)
        except OSError as error:  # which would look like one of the connection
            raise DataError(self._what, why=f"its bytes cannot be read here: {error.strerror}") from error

    def _at(self, offset: int) -> tuple[BinaryIO, bool]:
        """Return the file at ``offset``, and whether it is ours to close."""
        if callable(self._source):
            return self._source(offset), True
        self._source.seek(offset)
        return self._source, False


class Sending:
    """One upload: what the registry has of it, and what is to be sent next."""

    def __init__(
        self,
        exchange: Exchange,
        url: str,
        path: str,
        digest: Digest,
        content: Content,
        what: str,
        place: Place | None,
    ) -> None:
        self.bytes = content
        self.offset = 0  # bytes that the registry has
        self.finishing = False  # the answer to the last request may have been lost
        self._exchange = exchange
        self._url = url
        self._access = Access.push(path)
        self._digest = digest
        self._what = what
        self._place = place
        self._in_doubt = False  # the last request may have brought some bytes
        self._resumed = False
        self._chunk = CHUNK

    def go_on(self) -> None:
        """Send what the registry lacks; `Broken` where that did not end, and calling again continues it."""
        try:
            place = self._place
            if place is not None and self._in_doubt:
                place = self._ask_how_far(place)
            if place is None:
                place = self._begin()
            if self.bytes.size <= min(MONOLITHIC, self._chunk) and not self.offset:
                self._finish(place, self.bytes.size)
                return
            while self.offset < self.bytes.size:
                place = self._patch(place)
            self._finish(place, 0)
        except NotThereError as error:
            if self._place is None:  # beginning failed: no such repository can be made
                raise
            self._forget()
            raise Broken("the registry has forgotten the upload") from error

    def _begin(self) -> Place:
        accepted = (HTTPStatus.ACCEPTED,)
        ask = Ask("POST", self._url, self._what, self._access, accepted, {"Content-Length": "0"})
        response = self._exchange.once(ask)
        dismiss(response)
        self._place = Place.of(response, ask, self._what)
        return self._place

    def _forget(self) -> None:
        """Begin again at the first byte, in a new upload."""
        self._place, self.offset, self._in_doubt, self._resumed = None, 0, False, False

    def _ask_how_far(self, place: Place) -> Place | None:
        """Learn how many bytes have come; None where the upload must begin again."""
        told = (HTTPStatus.NO_CONTENT, HTTPStatus.ACCEPTED, HTTPStatus.OK)
        not_told = (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
        ask = Ask("GET", place.url, self._what, self._access, (*told, *not_told), {})
        response = self._exchange.once(ask)
        dismiss(response)
        has = _range_end(response) if response.status in told else None
        if has is None or has > self.bytes.size:
            self._forget()
            return None
        self._resumed = self._resumed or has > 0
        return self._moved(response, ask, place, has)

    def _moved(self, response: BaseHTTPResponse, ask: Ask, place: Place, has: int) -> Place:
        """Note where to send next, and how much the registry has."""
        self.offset, self._in_doubt = has, False
        self.bytes.reached(has)
        self._place = Place.of(response, ask, self._what) if "Location" in response.headers else place
        self._place.least = max(self._place.least, place.least)
        return self._place

    def _patch(self, place: Place) -> Place:
        """Send a chunk."""
        start = self.offset
        count = min(max(self._chunk, place.least), self.bytes.size - start)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(count),
            "Content-Range": f"{start}-{start + count - 1}",
        }
        accepted = (
            HTTPStatus.ACCEPTED,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
        ask = Ask(
            "PATCH", place.url, self._what, self._access, accepted, headers, lambda: self.bytes.pieces(start, count)
        )
        self._in_doubt = True
        response = self._exchange.once(ask)
        self._check_room(response, ask, count)
        dismiss(response)
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise Broken("the registry has other bytes of the upload than it said", pause=0.0)
        has = _range_end(response)
        if has is None:
            has = start + count
        if not start < has <= start + count:
            raise LyingError(self._what, why=f"{start + count} bytes were sent and the registry has {has}")
        return self._moved(response, ask, place, has)

    def _finish(self, place: Place, count: int) -> None:
        """Close the upload, with the first ``count`` bytes where it has none yet."""
        joint = "&" if "?" in place.url else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(count)}
        ask = Ask(
            "PUT",
            f"{place.url}{joint}digest={quote(str(self._digest))}",
            self._what,
            self._access,
            (
                HTTPStatus.CREATED,
                HTTPStatus.NO_CONTENT,
                HTTPStatus.BAD_REQUEST,
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            ),
            headers,
            (lambda: self.bytes.pieces(0, count)) if count else None,
            self._exchange.timing.read + self.bytes.size / _HASHED,
        )
        self.finishing = self._in_doubt = True
        response = self._exchange.once(ask)
        self._check_room(response, ask, count)
        if response.status != HTTPStatus.BAD_REQUEST:
            dismiss(response)
            claimed = claimed_digest(response)
            if claimed is not None and claimed != self._digest:
                raise LyingError(self._what, why=f"the registry has it as {claimed}")
            return
        resumed = self._resumed
        refused = self._exchange.refusal(response, ask)
        self._forget()
        if resumed:  # what was left of an earlier request may not be what it said
            raise Broken("the bytes of the resumed upload are not the right ones", pause=0.0)
        raise self._mistaken(refused)

    def _check_room(self, response: BaseHTTPResponse, ask: Ask, count: int) -> None:
        """Send less at once from now on where ``count`` bytes were too many."""
        if response.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return
        refused = self._exchange.refusal(response, ask)
        if count <= _SMALLEST_CHUNK:
            raise refused
        self._chunk = max(count // 8, _SMALLEST_CHUNK)
        raise Broken("the registry takes less at once", pause=0.0)

    def _mistaken(self, refused: FetchError | Broken) -> DataError | FetchError | Broken:
        """Return the error of a registry that does not accept the bytes: are they what they are said to be?"""
        found = Digest.of(b"".join(self.bytes.pieces(0, self.bytes.size))) if self.bytes.size <= MONOLITHIC else None
        if found is not None and found != self._digest:
            return DataError(self._what, why=f"the bytes have the digest {found}")
        return refused


def _range_end(response: BaseHTTPResponse) -> int | None:
    """Return how many bytes an upload has by its Range, ``0-LAST``; ``0-0`` is how registries write none.

    (One byte has the same Range; then the digest does not fit in the end, and all is sent again.)
    """
    first, dash, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
    if not dash or first != "0" or not (last.isascii() and last.isdigit()):
        return None
    return int(last) + 1 if int(last) else 0
