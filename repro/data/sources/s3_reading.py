"""Objects of an S3 bucket as files: looked at, listed, and read by the version that was listed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from repro.data.answers import NotThereError
from repro.data.sources.model import ChangedError, DeniedError, SourceFile
from repro.data.sources.s3_download import Download
from repro.data.sources.s3_errors import UnsupportedError
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.data.sources.s3_client import S3Client

PAGE = 1000  # objects in an answer to a list; servers give no more
_HEADS = 16  # objects asked about at a time
_LONGEST_NAME = 255  # bytes, of a file on every Linux file system
_NEXT = {  # how a list is continued: the parameter of the next question, from which field of the answer
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_object_versions": {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"},
}


class S3Source:
    """The object with the key ``key``, or all objects whose keys begin with it: `repro.data.sources.model.Source`.

    A `SourceFile` has the object's version where the bucket keeps versions, and its ETag (without quotes).
    """

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._key = key

    def stat(self, name: str = "", version: str = "") -> SourceFile:
        """Return the object as it is now, or its ``version``: also of one that was overwritten or deleted since."""
        return looked_at(self._client, key_below(self._key, name), name, version)

    def files(self) -> Iterator[SourceFile]:
        """Yield all objects below the prefix, each with its newest version where versions are kept.

        Keys that end in a slash are marks of folders and no files. FetchError where a key cannot be a path in a folder.
        """
        prefix = self._key if not self._key or self._key.endswith("/") else f"{self._key}/"
        names = _Names(self._client.address(prefix))
        there = not prefix  # a bucket is a folder, also an empty one
        for page in self._pages(prefix):
            there = there or bool(page)
            for item in page:
                if not item.name.endswith("/"):
                    name = names.add(item.name.removeprefix(prefix))
                    yield SourceFile(name, item.size, item.version, item.etag)
        if not there:
            raise NotThereError(f"cannot reach {self._client.address(prefix)}", why="no key begins with it")

    def pieces(self, file: SourceFile, start: int) -> Iterator[bytes]:
        """Yield the bytes of the version that was listed, or of the object while it has the ETag that was listed."""
        key = key_below(self._key, file.name)
        size = file.size
        if size is None:
            size = looked_at(self._client, key, file.name, file.version).size or 0
        if start == 0 or start < size:
            yield from Download(self._client, key, file, size).pieces(start)

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._client.close()

    def _pages(self, prefix: str) -> Iterator[list[SourceFile]]:
        """Yield the objects below ``prefix``, page by page, named by their keys."""
        try:
            status = self._client.call("get_bucket_versioning", "").get("Status", "")
        except (DeniedError, UnsupportedError):
            status = "unknown"
        if status:
            with contextlib.suppress(DeniedError, UnsupportedError):  # said at the first page, or never
                yield from self._versions(prefix)
                return
        asks: bool | None = None if status else False
        for answer in self._answers("list_objects_v2", prefix):
            page = [_listed(item) for item in answer.get("Contents", [])]
            if asks is None and page:  # who may not list versions may read them: a look at one object tells
                asks = bool(looked_at(self._client, page[0].name, page[0].name).version)
            yield self._looked_at(page) if asks else page

    def _versions(self, prefix: str) -> Iterator[list[SourceFile]]:
        for answer in self._answers("list_object_versions", prefix):
            yield [_listed(item) for item in answer.get("Versions", []) if item.get("IsLatest")]

    def _answers(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the answers that make up a whole list."""
        parameters: dict[str, Any] = {}
        while True:
            answer = self._client.call(operation, "", Prefix=prefix, MaxKeys=PAGE, **parameters)
            yield answer
            if not answer.get("IsTruncated"):
                return
            following = {name: answer[field] for name, field in _NEXT[operation].items() if answer.get(field)}
            if not following or following == parameters:
                what = f"cannot list {self._client.address(prefix)}"
                raise FetchError(what, why="the server does not say how its list goes on")
            parameters = following

    def _looked_at(self, page: list[SourceFile]) -> list[SourceFile]:
        """Return the objects of a page with their versions, each asked about."""

        async def heads() -> list[Mapping[str, Any]]:
            gate = asyncio.Semaphore(_HEADS)

            async def head(key: str) -> Mapping[str, Any]:
                async with gate:
                    return await self._client.ask("head_object", key)

            return await asyncio.gather(*(head(item.name) for item in page))

        found = self._client.wait(heads(), self._key)
        return [_answered(item.name, answer) for item, answer in zip(page, found, strict=True)]


def key_below(key: str, name: str) -> str:
    """Return the key of the file ``name`` of the folder ``key``; of ``key`` itself where the name is empty."""
    return f"{key}/{name}" if key and name and not key.endswith("/") else f"{key}{name}"


def looked_at(client: S3Client, key: str, name: str, version: str = "") -> SourceFile:
    """Return what a HEAD tells of an object, called ``name``; the errors of `S3Client` with all that can be known."""
    parameters = {"VersionId": version} if version else {}
    try:
        return _answered(name, client.call("head_object", key, **parameters))
    except FetchError as error:
        explain(client, key, error, **parameters)
        raise error from None


def explain(client: S3Client, key: str, error: FetchError, **parameters: str) -> None:
    """Raise, instead of the ``error`` that a HEAD ended with, one that knows the reason; return where nobody does.

    The answer to a HEAD has no body, so no reason: no such bucket, or key; an expired login, or no right. One to the
    same GET has. Should that succeed, the first answer stands.
    """
    from botocore import exceptions  # noqa: PLC0415

    if not isinstance(error.__cause__, exceptions.ClientError):
        return
    with contextlib.suppress(ChangedError):  # an empty object has no first byte
        client.wait(client.content(key, Range="bytes=0-0", **parameters), key)


def _answered(name: str, answer: Mapping[str, Any]) -> SourceFile:
    return SourceFile(name, answer["ContentLength"], version_of(answer), etag_of(answer))


def _listed(item: Mapping[str, Any]) -> SourceFile:
    return SourceFile(item["Key"], item["Size"], version_of(item), etag_of(item))


def version_of(answer: Mapping[str, Any]) -> str:
    """Return the version in an answer; empty where none is kept: the next write takes ``null`` away."""
    version = answer.get("VersionId") or ""
    return "" if version == "null" else str(version)


def etag_of(answer: Mapping[str, Any]) -> str:
    """Return the ETag in an answer, without its quotes."""
    return str(answer.get("ETag") or "").strip('"')


class _Names:
    """The names in a folder, each a relative path that no other name contradicts."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> str:
        """Return ``name``; FetchError where it would lead out of the folder, or no file system could have it."""
        parts = name.split("/")
        for part in parts:
            if part in ("", ".", ".."):
                raise self._refused(name, f"{part!r} is no name of a file")
            if any(ord(one) < 32 or ord(one) == 127 for one in part):
                raise self._refused(name, "there are control characters in it")
            if len(os.fsencode(part)) > _LONGEST_NAME:
                raise self._refused(name, f"a name may have {_LONGEST_NAME} bytes")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if name in self._files:
            raise self._refused(name, "it is listed twice")
        if name in self._folders or not self._files.isdisjoint(above):
            raise self._refused(name, "it would be a file and a folder at once")
        self._files.add(name)
        self._folders |= above
        return name

    def _refused(self, name: str, why: str) -> FetchError:
        what = f"the key {name!r} below {self._address} cannot be a path in a folder"
        return FetchError(what, why=why, hint="name the objects that are wanted, or rename this one")
