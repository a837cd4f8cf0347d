"""The connection to a bucket: s3fs's client, asked from any thread."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from repro.data.sources.s3_errors import foreign, plain

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from s3fs import S3FileSystem

    from repro.data.answers import Broken
    from repro.data.sources.model import Reach
    from repro.errors import FetchError
    from repro.workflow.model import Access

_LOG = logging.getLogger(__name__)


class S3Client:
    """Asks the server that has ``bucket``; connected at the first question. Many threads may use one.

    The errors are those of `repro.data.sources.model.Source`.
    """

    def __init__(self, bucket: str, access: Access, reach: Reach) -> None:
        self.bucket = bucket
        self._access = access
        self._reach = reach
        self._lock = threading.Lock()
        self._opened: S3FileSystem | None = None
        self._connected: Any = None  # botocore's client, once one was asked

    def address(self, key: str) -> str:
        """Return the address of an object, for messages."""
        return f"s3://{self.bucket}/{key}"

    def call(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Return the server's answer about the object ``key``, or about the bucket where it is empty.

        ``operation`` and ``parameters`` are those of botocore's client (``list_objects_v2``).
        """
        answer: dict[str, Any] = self.wait(self.ask(operation, key, **parameters), key)
        return answer

    def wait(self, question: Coroutine[Any, Any, Any] | Future[Any], key: str) -> Any:
        """Return what a question about the object ``key`` comes to, its error in plain words."""
        try:
            return (question if isinstance(question, Future) else self.submit(question)).result()
        except foreign() as error:
            raise self._plain(error, key) from error

    async def ask(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Return what `call` does, within the event loop; the errors are botocore's."""
        self._connected = client = await self._file_system().set_session()
        if key:
            parameters["Key"] = key
        if self._access.requester_pays and operation != "get_bucket_versioning":
            parameters["RequestPayer"] = "requester"
        data = parameters.get("Body")
        if data is None:
            answer: dict[str, Any] = await getattr(client, operation)(Bucket=self.bucket, **parameters)
            return answer
        parameters["Body"] = body = _Body(data)
        return await _taken(getattr(client, operation)(Bucket=self.bucket, **parameters), body, self._reach.timeout)

    async def content(self, key: str, **parameters: Any) -> bytes:
        """Return the bytes of an object, small ones, within the event loop; the errors are botocore's."""
        answer = await self.ask("get_object", key, **parameters)
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Have ``coroutine`` run in the client's event loop, beside others."""
        try:
            loop = self._file_system().loop
        except BaseException:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def close(self) -> None:
        """Let go of connections; idempotent."""
        with self._lock:
            opened, self._opened = self._opened, None
            connected, self._connected = self._connected, None
        if opened is not None and connected is not None:
            asyncio.run_coroutine_threadsafe(connected.close(), opened.loop).result(self._reach.timeout)

    def _file_system(self) -> S3FileSystem:
        from repro.data.sources.s3_session import open_file_system  # noqa: PLC0415 - imports botocore

        with self._lock:
            if self._opened is None:
                try:
                    self._opened = open_file_system(self._access, self._reach)
                except foreign() as error:
                    raise self._plain(error, "") from error
                self._opened.loop.set_exception_handler(_note)
            return self._opened

    def _plain(self, error: Exception, key: str) -> Broken | FetchError:
        endpoint = self._access.endpoint or self._reach.environ.get("AWS_ENDPOINT_URL_S3", "")
        return plain(error, self.address(key), endpoint)


class _Body(io.BytesIO):
    """Bytes to send; ``taken`` is when the connection last took some of them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        self.taken = time.monotonic()
        return super().read(size)


async def _taken(asking: Coroutine[Any, Any, dict[str, Any]], body: _Body, timeout: float) -> dict[str, Any]:
    """Return what ``asking`` does; TimeoutError where ``body`` is taken no further, and no answer comes.

    The HTTP client knows silence only once it has sent all. Its own patience with the answer comes on top of ours.
    """
    task = asyncio.ensure_future(asking)
    try:
        while not task.done():
            left = body.taken + 2 * timeout - time.monotonic()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait({task}, timeout=left)
        return task.result()
    finally:
        task.cancel()


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Write down what a connection that broke says to nobody: whoever used it was told."""
    _LOG.debug("%s", context.get("message"), exc_info=context.get("exception"))
