"""One object's bytes in order, several ranges of it under way at a time.

One stream is as fast as one connection is on the way to the server. Four ranges of 8 MiB, hashed and written, came in
the time that boto3's ten threads take to write a file (1 GiB from a server on the same machine: 2.7 s and 2.8 s).
"""

from __future__ import annotations

import queue
from collections import deque
from typing import TYPE_CHECKING, Any

from repro.data.answers import PIECE, Broken
from repro.data.sources.model import ChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from repro.data.sources.model import SourceFile
    from repro.data.sources.s3_client import S3Client

RANGE = 8 << 20  # bytes asked for at once
_WORTH = PIECE // 2  # bytes that are handed on; what TLS gives at a time is too little to wake another thread for
AHEAD = 4  # ranges under way; what nobody took yet is in memory


class Download:
    """The bytes of the object ``key`` as ``file`` tells of it, ``size`` of them."""

    def __init__(self, client: S3Client, key: str, file: SourceFile, size: int) -> None:
        self._client = client
        self._key = key
        self._file = file
        self._size = size
        # RFC 9110, 13.1.1: bytes of another state are refused; those of a version are always the same.
        self._conditions = {"VersionId": file.version} if file.version else {"IfMatch": f'"{file.etag}"'}
        if not file.version and not file.etag:
            self._conditions = {}

    def pieces(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` on, about `PIECE` at a time; ended early, it asks for no more.

        Raises:
            ChangedError: the object is another one now.
            NotThereError, DeniedError, Broken, FetchError: as `S3Client` tells.
        """
        begins = deque(range(start, self._size, RANGE) or [start])
        under_way: deque[_Range] = deque()
        done = start
        try:
            while begins or under_way:
                while begins and len(under_way) < AHEAD:
                    first = begins.popleft()
                    under_way.append(self._range(first, min(first + RANGE, self._size)))
                for piece in under_way[0].pieces():
                    yield piece
                    done += len(piece)
                under_way.popleft()
        except _RangeIgnored:
            under_way.append(self._range(0, self._size))
            yield from under_way[-1].pieces(skip=done)
        finally:
            for part in under_way:
                part.cancel()

    def _range(self, first: int, end: int) -> _Range:
        return _Range(self._client, self._key, self._file, self._conditions, first, end, self._size)


class _RangeIgnored(Exception):  # noqa: N818 - no error: RFC 9110, 14.2 lets a server
    """The server sends all bytes, whatever range was asked for."""


class _Range:
    """The bytes from ``first`` to before ``end``, on their way from the moment that it is made."""

    def __init__(
        self,
        client: S3Client,
        key: str,
        file: SourceFile,
        conditions: dict[str, str],
        first: int,
        end: int,
        size: int,
    ) -> None:
        self._client = client
        self._key = key
        self._file = file
        self._conditions = conditions
        self._first, self._end, self._size = first, end, size
        self._whole = first == 0 and end == size
        self._came: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._task: Future[None] = client.submit(self._run())

    def pieces(self, skip: int = 0) -> Iterator[bytes]:
        """Yield the bytes as they come, but for the first ``skip``."""
        while (piece := self._came.get()) is not None:
            passed = min(skip, len(piece))
            skip -= passed
            if passed < len(piece):
                yield piece[passed:]
        self._client.wait(self._task, self._key)

    def cancel(self) -> None:
        """Stop asking."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._receive()
        finally:
            self._came.put(None)

    async def _receive(self) -> None:
        parameters = {} if self._whole else {"Range": f"bytes={self._first}-{self._end - 1}"}
        answer = await self._client.ask("get_object", self._key, **self._conditions, **parameters)
        async with answer["Body"] as body:
            self._check(answer)
            count, gathered = 0, bytearray()
            try:
                while piece := await body.read(PIECE):
                    count += len(piece)
                    if not gathered and len(piece) >= _WORTH:
                        self._came.put(piece)
                        continue
                    gathered += piece
                    if len(gathered) >= _WORTH:
                        self._came.put(bytes(gathered))
                        gathered.clear()
            finally:
                self._came.put(bytes(gathered))
        if count != self._end - self._first:
            raise Broken(f"truncated: {count} of {self._end - self._first} bytes came")

    def _check(self, answer: dict[str, Any]) -> None:
        """Return where the body is what was asked for, of the object that was listed."""
        described = str(answer.get("ContentRange") or "")
        if not described and not self._whole:
            raise _RangeIgnored
        if described and not described.startswith(f"bytes {self._first}-{self._end - 1}/"):
            raise Broken("the server sent another part of the object than asked for", pause=0.0)
        total = described.rpartition("/")[2] if described else str(answer.get("ContentLength", ""))
        etag = str(answer.get("ETag") or "").strip('"')
        if total not in ("*", "", str(self._size)) or (self._file.etag and etag and etag != self._file.etag):
            address = self._client.address(self._key)
            raise ChangedError(f"{address} is another one now", why="it was replaced since it was listed")
