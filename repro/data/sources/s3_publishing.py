"""Files as objects of an S3 bucket: uploaded out of sight, in place at one request.

A multipart upload is not seen before it is completed, and a put is whole or not there. Both are conditional: with
``If-None-Match: *`` of two writers one wins, with ``If-Match`` what is replaced, or taken back, is what was looked at
(RFC 9110, 13.1; S3 User Guide, "Add preconditions to S3 operations with conditional requests"). A server that does not
know conditions says so or ignores them: the object is looked at just before too, which leaves a moment in which another
writer may come. Where it says so, `S3Target.unguarded` does, too.

An object's digest is kept in its metadata (``x-amz-meta-sha256``): an ETag is none.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.data.answers import NotThereError
from repro.data.sources.model import ChangedError, ExistsError, Found
from repro.data.sources.s3_errors import UnsupportedError
from repro.data.sources.s3_reading import etag_of, explain, key_below, version_of
from repro.data.sources.s3_upload import Upload, part_size, read_whole
from repro.digest import Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repro.data.sources.s3_client import S3Client
    from repro.digest import Json

SMALL = 1 << 20  # bytes up to which one put at the end takes fewer requests than an upload, and hardly more time
_SHA256, _STAGED = "sha256", "repro-staged"  # metadata: the digest, and who put it there


class S3Target:
    """The objects whose keys begin with ``key``, a folder: `repro.data.sources.model.Target`.

    Tokens: ``{"staged": id, "sha256": hex, "size": bytes}`` and, of an upload, ``"upload"``, ``"part"`` (bytes) and
    at the end ``"parts"``; of a file of at most `SMALL` bytes, which is sent by `commit`, ``"file"``.
    """

    def __init__(self, client: S3Client, key: str) -> None:
        self._client = client
        self._prefix = key if not key or key.endswith("/") else f"{key}/"
        self.unguarded = False

    def find(self, name: str) -> Found | None:
        """Return the object's size, ETag and version; its digest where its metadata or its checksum tell it."""
        found = self._head(key_below(self._prefix, name))
        return None if found is None else found[0]

    def read(self, name: str) -> bytes:
        """Return the bytes of a small object."""
        key = key_below(self._prefix, name)
        data: bytes = self._client.wait(self._client.content(key), key)
        return data

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
        """Upload the parts of ``file`` that the server does not have; of a small one only look at the bytes."""
        key = key_below(self._prefix, name)
        if size <= SMALL:
            read_whole(file, digest, size)
            told(size)
            return {"staged": uuid.uuid4().hex, "sha256": digest.hex, "size": size, "file": os.path.abspath(file)}
        upload, had = self._upload(key, digest, size, before)
        token = upload.token()
        note(token)
        parts = upload.send(file, digest, had, told)
        return {**token, "parts": [dict(part) for part in parts]}

    def commit(self, name: str, token: Mapping[str, Json], *, replaces: Found | None) -> Found:
        """Complete the upload, or put the small file; again after an answer was lost, it finds what it did.

        Raises:
            ExistsError: an object is there that is not ``replaces``.
            DataError: the small file has other bytes than when it was staged.
        """
        key = key_below(self._prefix, name)
        conditions = self._conditions(key, token, replaces)
        if isinstance(conditions, Found):
            return conditions
        try:
            answer = self._place(key, token, conditions)
        except (ChangedError, NotThereError) as error:  # a precondition failed, or the upload is not there (any more)
            there = self._head(key)
            if there is not None and there[1] == token["staged"]:
                return there[0]
            if there is None:
                raise
            raise _exists(self._client.address(key), there[0]) from error
        return Found(_size(token), Digest(str(token["sha256"])), etag_of(answer), version_of(answer))

    def withdraw(self, name: str, placed: Found) -> None:
        """Delete the version that was put in place, so that the one before is the newest again.

        Where no versions are kept the object is deleted while it has that ETag; what it replaced is gone.
        """
        key = key_below(self._prefix, name)
        if placed.version:
            self._client.call("delete_object", key, VersionId=placed.version)
            return
        there = self._head(key)
        if there is None or there[0].etag != placed.etag:
            return
        try:
            with contextlib.suppress(ChangedError, NotThereError):  # another's by now, or gone
                self._client.call("delete_object", key, IfMatch=f'"{placed.etag}"')
        except UnsupportedError:
            self._client.call("delete_object", key)

    def discard(self, name: str, token: Mapping[str, Json]) -> None:
        """Abort the upload; its parts are gone then."""
        if "upload" in token:  # else nothing is on the server
            Upload.of(self._client, key_below(self._prefix, name), token).abort()

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._client.close()

    def _head(self, key: str) -> tuple[Found, str] | None:
        """Return what is at ``key`` and the mark of who put it there; None where nothing is."""
        try:
            answer = self._client.call("head_object", key, ChecksumMode="ENABLED")
        except NotThereError:
            return None
        except FetchError as error:
            explain(self._client, key, error)
            raise
        found = Found(answer["ContentLength"], _digest_of(answer), etag_of(answer), version_of(answer))
        return found, answer.get("Metadata", {}).get(_STAGED, "")

    def _upload(
        self, key: str, digest: Digest, size: int, before: Mapping[str, Json] | None
    ) -> tuple[Upload, dict[int, Mapping[str, Any]]]:
        """Return the upload that ``before`` began and the parts it has; else a new one."""
        if (
            before is not None
            and (before.get("sha256"), before.get("size")) == (digest.hex, size)
            and "upload" in before
        ):
            upload = Upload.of(self._client, key, before)
            try:
                return upload, upload.listed()
            except NotThereError:  # aborted, by us or by the bucket's rule
                pass
        staged = uuid.uuid4().hex
        answer = self._client.call(
            "create_multipart_upload",
            key,
            ChecksumAlgorithm="CRC32",
            Metadata={_SHA256: digest.hex, _STAGED: staged},
        )
        return Upload(self._client, key, answer["UploadId"], staged, digest, size, part_size(size)), {}

    def _conditions(self, key: str, token: Mapping[str, Json], replaces: Found | None) -> dict[str, str] | Found:
        """Return under which conditions to write; what is there where an earlier `commit` did; else ExistsError."""
        there = self._head(key)
        if there is None:
            return {"IfNoneMatch": "*"}
        if there[1] == token["staged"]:
            return there[0]
        if replaces is None or there[0].etag != replaces.etag:
            raise _exists(self._client.address(key), there[0])
        return {"IfMatch": f'"{replaces.etag}"'}

    def _place(self, key: str, token: Mapping[str, Json], conditions: dict[str, str]) -> dict[str, Any]:
        """Write the object; without conditions where the server has none (it was looked at just before)."""
        try:
            return self._write(key, token, conditions)
        except UnsupportedError:
            answer = self._write(key, token, {})
            self.unguarded = True
            return answer

    def _write(self, key: str, token: Mapping[str, Json], conditions: dict[str, str]) -> dict[str, Any]:
        if "upload" in token:
            return Upload.of(self._client, key, token).complete(token, conditions)
        digest = Digest(str(token["sha256"]))
        data = read_whole(Path(str(token["file"])), digest, _size(token))
        return self._client.call(
            "put_object",
            key,
            Body=data,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(digest.hex)).decode(),
            Metadata={_SHA256: digest.hex, _STAGED: str(token["staged"])},
            **conditions,
        )


def _digest_of(answer: Mapping[str, Any]) -> Digest | None:
    """Return the digest of an object's bytes as its metadata says, or the checksum of one that came in one part."""
    try:
        said = answer.get("Metadata", {}).get(_SHA256)
        if said is not None:
            return Digest(said)
        checksum = answer.get("ChecksumSHA256")
        if checksum is not None and answer.get("ChecksumType") != "COMPOSITE":  # a digest of the parts' digests
            return Digest(base64.b64decode(checksum, validate=True).hex())
    except (DataError, binascii.Error):
        pass
    return None


def _exists(address: str, there: Found) -> ExistsError:
    digest = f", {there.digest}" if there.digest is not None else ""
    return ExistsError(
        f"{address} exists already",
        why=f"it has {there.size} bytes{digest}",
        hint="publish elsewhere, or say that it is to be replaced",
    )


def _size(token: Mapping[str, Json]) -> int:
    size = token["size"]
    assert isinstance(size, int)
    return size
