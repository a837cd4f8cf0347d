"""A multipart upload: parts of a file, several under way at a time, none sent twice by who goes on with it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import zlib
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from repro.data.answers import Broken, NotThereError
from repro.digest import Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from repro.data.sources.s3_client import S3Client
    from repro.digest import Json

PART = 8 << 20  # bytes, where the file is small enough for it
_MOST_PARTS = 10_000  # S3 User Guide, "Amazon S3 multipart upload limits"
_AT_A_TIME = 4


def part_size(size: int) -> int:
    """Return how many bytes a part of a file of ``size`` bytes has: whole MiB, `PART` where that is enough."""
    least = -(-size // _MOST_PARTS)
    return max(PART, -(-least >> 20) << 20)


def read_whole(file: Path, digest: Digest, size: int) -> bytes:
    """Return the bytes of a small file; DataError where they are not those of ``digest``."""
    data = b"".join(_pieces(file, size + 1))
    if len(data) != size or Digest.of(data) != digest:
        raise _other(file, digest)
    return data


class Upload:
    """The upload ``identity`` of an object ``key`` of ``size`` bytes, in parts of ``part`` bytes but the last."""

    def __init__(
        self, client: S3Client, key: str, identity: str, staged: str, digest: Digest, size: int, part: int
    ) -> None:
        self._client = client
        self._key = key
        self._identity = identity
        self._staged = staged
        self._digest = digest
        self._size = size
        self._part = part

    @classmethod
    def of(cls, client: S3Client, key: str, token: Mapping[str, Json]) -> Upload:
        """Return the upload that a token tells of."""
        size, part = token["size"], token["part"]
        assert isinstance(size, int)
        assert isinstance(part, int)
        return cls(client, key, str(token["upload"]), str(token["staged"]), Digest(str(token["sha256"])), size, part)

    def token(self) -> dict[str, Json]:
        """Return what another process needs to go on."""
        return {
            "upload": self._identity,
            "staged": self._staged,
            "sha256": self._digest.hex,
            "size": self._size,
            "part": self._part,
        }

    def listed(self) -> dict[int, Mapping[str, Any]]:
        """Return the parts that the server has, by number; NotThereError where it does not know the upload."""
        parts: dict[int, Mapping[str, Any]] = {}
        marker = 0
        while True:
            answer = self._client.call("list_parts", self._key, UploadId=self._identity, PartNumberMarker=marker)
            parts |= {item["PartNumber"]: item for item in answer.get("Parts", [])}
            following = int(answer.get("NextPartNumberMarker") or 0)
            if not answer.get("IsTruncated") or following <= marker:
                return parts
            marker = following

    def send(
        self, file: Path, digest: Digest, had: Mapping[int, Mapping[str, Any]], told: Callable[[int], None]
    ) -> Sequence[Mapping[str, Json]]:
        """Send the parts of ``file`` that are not in ``had`` with the same bytes; return all, as `complete` names them.

        Raises:
            DataError: the file has other bytes than those of ``digest``: the upload is aborted.
        """
        whole = hashlib.sha256()
        parts: dict[int, dict[str, Json]] = {}
        under_way: dict[Future[Any], tuple[int, int, str]] = {}
        count = 0
        try:
            for number, data in enumerate(_pieces(file, self._part), 1):
                while len(under_way) >= _AT_A_TIME:
                    self._collect(under_way, parts, told)
                whole.update(data)
                count += len(data)
                if count > self._size:
                    break
                checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
                part = had.get(number)
                if part is not None and _same(part, data, checksum):
                    parts[number] = _named(number, part["ETag"], checksum)
                    told(len(data))
                else:
                    under_way[self._client.submit(self._ask(number, data, checksum))] = (number, len(data), checksum)
            while under_way:
                self._collect(under_way, parts, told)
        finally:
            for task in under_way:
                task.cancel()
        if count != self._size or whole.hexdigest() != digest.hex:
            with contextlib.suppress(FetchError, Broken):
                self.abort()
            raise _other(file, digest)
        return [parts[number] for number in sorted(parts)]

    def complete(self, token: Mapping[str, Json], conditions: Mapping[str, str]) -> dict[str, Any]:
        """Make the object of the parts that ``token`` names; NotThereError where the upload is no more."""
        return self._client.call(
            "complete_multipart_upload",
            self._key,
            UploadId=self._identity,
            MultipartUpload={"Parts": token["parts"]},
            **conditions,
        )

    def abort(self) -> None:
        """Have the server forget the parts; idempotent."""
        with contextlib.suppress(NotThereError):
            self._client.call("abort_multipart_upload", self._key, UploadId=self._identity)

    async def _ask(self, number: int, data: bytes, checksum: str) -> dict[str, Any]:
        return await self._client.ask(
            "upload_part",
            self._key,
            UploadId=self._identity,
            PartNumber=number,
            Body=data,
            ChecksumCRC32=checksum,  # the server refuses other bytes
        )

    def _collect(
        self,
        under_way: dict[Future[Any], tuple[int, int, str]],
        parts: dict[int, dict[str, Json]],
        told: Callable[[int], None],
    ) -> None:
        """Wait until a part has arrived."""
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for task in done:
            number, count, checksum = under_way.pop(task)
            answer = self._client.wait(task, self._key)
            parts[number] = _named(number, answer["ETag"], checksum)
            told(count)


def _named(number: int, etag: str, checksum: str) -> dict[str, Json]:
    return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum}


def _same(part: Mapping[str, Any], data: bytes, checksum: str) -> bool:
    """Return whether the server has these bytes as that part: by its checksum, else by the MD5 that most ETags are."""
    if part["Size"] != len(data):
        return False
    if "ChecksumCRC32" in part:
        return bool(part["ChecksumCRC32"] == checksum)
    return bool(part["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest())


def _pieces(file: Path, size: int) -> Iterator[bytes]:
    """Yield the bytes of a local file, ``size`` at a time; DataError where it cannot be read."""
    try:
        with open(file, "rb", buffering=0) as opened:
            while piece := _full(opened, size):
                yield piece
    except OSError as error:
        raise DataError(f"{file} cannot be read", why=error.strerror) from error


def _full(opened: io.FileIO, size: int) -> bytes:
    """Return the next ``size`` bytes; fewer at the end only."""
    piece = opened.read(size) or b""
    while len(piece) < size and (more := opened.read(size - len(piece))):
        piece += more
    return piece


def _other(file: Path, digest: Digest) -> DataError:
    return DataError(f"{file} has other bytes than were recorded", why=f"{digest} was", hint="run the workflow again")
