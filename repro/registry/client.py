"""One registry: manifests, blobs and names of repositories (OCI distribution-spec 1.1)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from repro.data.answers import UnreachableError
from repro.data.transports import receive
from repro.digest import Digest
from repro.errors import DataError, FetchError
from repro.oci.model import Descriptor, MediaTypes
from repro.registry.answers import PORTAL, LyingError, claimed_digest
from repro.registry.auth import Access, Authorizer
from repro.registry.connections import Connections, Timing, dismiss, small_body
from repro.registry.exchange import Ask, Exchange
from repro.registry.listing import listed
from repro.registry.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from urllib3.response import BaseHTTPResponse

    from repro.data.transports import Target
    from repro.registry.credentials import Credentials, Login
    from repro.registry.settings import Settings

LARGEST_MANIFEST = 4 << 20  # bytes: distribution-spec, "Pushing Manifests", what registries should take at least
_MANIFESTS = (*MediaTypes.MANIFESTS, *MediaTypes.INDEXES)
_ACCEPT = ", ".join(_MANIFESTS)
_OK = frozenset({HTTPStatus.OK})


class RemoteManifest(NamedTuple):
    """A manifest or an index as a registry has it; ``digest`` was computed from ``data``."""

    data: bytes
    media_type: str
    digest: Digest


class Registry:
    """A registry: ``host`` as names of images spell it. Safe to use from many threads, connections are kept.

    Methods raise, beside what each of them says:

    - DeniedError: no login, a wrong one, or one without the right.
    - RateLimitError: too many requests; the error says when to come again.
    - UnreachableError: no attempt brought an answer.
    - LyingError: an answer contradicts itself or what was asked for.
    - FetchError: the registry refused, or an address or certificate cannot be used.

    Args:
        host: ``docker.io``, ``localhost:5000``.
        settings: what the user says of it.
        credentials: where logins are.
        environ: for proxies and the system's authorities (``SSL_CERT_FILE``).
        prefix: below which all repositories are (a mirror's).
        writes: repositories are read to be written to: the right to do both is asked for at once.
        login: used instead of what ``credentials`` find.
        timing: how patient to be; by default as ``settings`` say.
    """

    def __init__(
        self,
        host: str,
        settings: Settings,
        credentials: Credentials,
        environ: Mapping[str, str],
        *,
        prefix: str = "",
        writes: bool = False,
        login: Login | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.host = host
        self.prefix = prefix
        self._writes = writes
        self._connections = Connections(host, settings, environ, timing or Timing.of(settings.of(host)))

        def find(path: str) -> Login | None:
            return login if login is not None else credentials.find(host, path)

        self._authorizer = Authorizer(host, self._connections, find)
        self._exchange = Exchange(host, self._connections, self._authorizer)
        self._upload = Upload(self._exchange)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._connections.close()

    def abort(self) -> None:
        """End what other threads ask for, at once; nothing can be asked for any more, and who tries is Interrupted."""
        self._connections.abort()

    def name(self, path: str) -> str:
        """Return the repository's name here, for people."""
        return f"{self.host}/{self._inner(path)}"

    def _inner(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _url(self, path: str, kind: str, last: str = "") -> str:
        return f"{self._connections.base}/v2/{quote(self._inner(path))}/{kind}/{quote(last, safe=':')}"

    def _uploads(self, path: str) -> str:
        return self._url(path, "blobs/uploads")

    def _pull(self, path: str) -> Access:
        # A repository that a push would make cannot be read by who asks for that right alone.
        return Access.push(self._inner(path)) if self._writes else Access.pull(self._inner(path))

    # Manifests

    def manifest(self, path: str, reference: str | Digest) -> RemoteManifest:
        """Return what a tag or digest stands for: the bytes of a manifest or of an index.

        Raises:
            UnknownNameError, UnknownManifestError: there is no such thing.
            LyingError: other bytes than asked for or announced, more than `LARGEST_MANIFEST`, or not a manifest.
        """
        name = f"{self.name(path)}{_spelled(reference)}"
        what = f"cannot read the manifest of {name}"
        url = self._url(path, "manifests", str(reference))
        ask = Ask("GET", url, what, self._pull(path), _OK, {"Accept": _ACCEPT})

        def attempt() -> tuple[BaseHTTPResponse, bytes]:
            response = self._exchange.once(ask)
            return response, small_body(response, url, LARGEST_MANIFEST, what)

        response, data = self._exchange.patiently(what, attempt)
        digest = Digest.of(data)
        for claimed in (reference if isinstance(reference, Digest) else None, claimed_digest(response)):
            if claimed is not None and claimed != digest:
                raise LyingError(what, why=f"the bytes that came are those of {digest}, not of {claimed}")
        return RemoteManifest(data, self._manifest_type(response, data, what), digest)

    def head_manifest(self, path: str, reference: str | Digest) -> Descriptor | None:
        """Return what a tag or digest stands for without its bytes; None where there is no such thing.

        A registry that does not announce all of digest, size and type is asked for the bytes.
        """
        what = f"cannot ask for {self.name(path)}{_spelled(reference)}"
        url = self._url(path, "manifests", str(reference))
        accepted = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        response = self._exchange.ask(Ask("HEAD", url, what, self._pull(path), accepted, {"Accept": _ACCEPT}))
        dismiss(response)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        digest, size, media_type = claimed_digest(response), _length(response), _content_type(response)
        if digest is None or size is None or media_type not in _MANIFESTS:
            found = self.manifest(path, reference)
            return Descriptor(found.media_type, found.digest, len(found.data))
        if isinstance(reference, Digest) and digest != reference:
            raise LyingError(what, why=f"it answered for {digest}")
        return Descriptor(media_type, digest, size)

    def put_manifest(self, path: str, reference: str | Digest, data: bytes, media_type: str) -> Digest:
        """Store a manifest or an index under a tag or its digest and return that; idempotent.

        All that it names must be in the repository.
        """
        what = f"cannot write {self.name(path)}{_spelled(reference)}"
        url = self._url(path, "manifests", str(reference))
        headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
        accepted = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)
        response = self._exchange.ask(
            Ask("PUT", url, what, Access.push(self._inner(path)), accepted, headers, body=data)
        )
        dismiss(response)
        digest, claimed = Digest.of(data), claimed_digest(response)
        if claimed is not None and claimed != digest:
            raise LyingError(what, why=f"the registry has it as {claimed}, and it is {digest}")
        return digest

    @staticmethod
    def _manifest_type(response: BaseHTTPResponse, data: bytes, what: str) -> str:
        """Return the media type of a manifest: as its bytes say, else as the answer's header does."""
        try:
            document = json.loads(data)
            inner = document.get("mediaType")
        except (ValueError, RecursionError, AttributeError):
            raise LyingError(what, why="what came is no manifest", hint=PORTAL) from None
        media_type = inner if isinstance(inner, str) and inner else _content_type(response)
        if media_type not in _MANIFESTS:
            shown = str(media_type)[:100]
            hint = "push the image again with a current tool" if document.get("schemaVersion") == 1 else None
            raise DataError(what, why=f"it is of a kind that is not known here: {shown!r}", hint=hint)
        return media_type

    # Blobs

    def has_blob(self, path: str, digest: Digest, size: int | None = None) -> bool:
        """Return whether the repository has the blob; LyingError where it has it with another size."""
        what = f"cannot ask {self.name(path)} for blob {digest}"
        accepted = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        url = self._url(path, "blobs", str(digest))
        response = self._exchange.ask(Ask("HEAD", url, what, self._pull(path), accepted, {}))
        dismiss(response)
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        found = _length(response)
        if size is not None and found is not None and found != size:
            raise LyingError(f"{self.name(path)} has blob {digest}", why=f"but of {found} bytes instead of {size}")
        return True

    def download(self, path: str, digest: Digest, out: Target, *, size: int | None = None) -> None:
        """Write a blob to ``out`` after the bytes that it holds; its size is checked, its digest is the caller's.

        A broken connection is resumed at the byte where it broke. ``out`` is told of each piece, and so can show how
        far it is, or end the download with an exception of its own. ``size`` is in bytes.

        Raises:
            NotThereError: the repository does not have it.
            LyingError: it has another size.
        """
        what = f"cannot fetch blob {digest} of {self.name(path)}"
        url = self._url(path, "blobs", str(digest))
        accepted = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)

        def ask(start: int) -> BaseHTTPResponse:
            headers = {"Range": f"bytes={start}-"} if start else {}
            response = self._exchange.once(Ask("GET", url, what, self._pull(path), accepted, headers))
            length = _length(response)
            if response.status == HTTPStatus.OK and None not in (size, length) and length != size:
                response.close()
                raise LyingError(what, why=f"it has {length} bytes instead of {size}")
            return response

        def attempt() -> None:
            try:
                receive(url, out, ask, size, size)
            except OverflowError as error:
                raise LyingError(what, why=str(error)) from error

        self._exchange.patiently(what, attempt, out.tell)

    def mount(self, path: str, digest: Digest, source: str) -> bool:
        """Have the blob of repository ``source`` of this registry in ``path`` too; return whether that worked.

        Where it did not, the upload that the registry began instead is used by the next `upload` of that blob.
        """
        what = f"cannot mount blob {digest} of {self.name(source)} into {self.name(path)}"
        inner = self._inner(path)
        access = Access.push(inner, also_read=self._inner(source))
        try:
            return self._upload.mount(self._uploads(path), inner, digest, self._inner(source), access, what)
        except UnreachableError:
            raise
        except FetchError:  # a registry without mounts, or no right to read there: what counts is the upload
            return False

    def upload(
        self,
        path: str,
        digest: Digest,
        size: int,
        source: BinaryIO | Callable[[int], BinaryIO],
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Store a blob in a repository; idempotent.

        Args:
            path: the repository.
            digest: of all bytes; the registry checks it.
            size: in bytes.
            source: a seekable file, or a function that returns a file at an offset, read from there and closed. What
                a broken connection did not bring is read again.
            progress: is told how many more bytes have gone; a negative number where some must go again.

        Raises:
            LyingError: the registry took other bytes than were sent, or lost some.
            DataError: ``source`` has not ``size`` bytes with that digest.
        """
        what = f"cannot upload blob {digest} to {self.name(path)}"
        inner = self._inner(path)
        self._upload.upload(
            self._uploads(path), inner, digest, size, source, progress, what,
            is_there=lambda: self.has_blob(path, digest, size),
        )  # fmt: skip

    # Names

    def tags(self, path: str) -> tuple[str, ...]:
        """Return the repository's tags, sorted. UnknownNameError where there is no such repository."""
        what = f"cannot list the tags of {self.name(path)}"
        return listed(self._exchange, self._url(path, "tags", "list"), "tags", self._pull(path), what)

    def catalog(self) -> tuple[str, ...]:
        """Return the registry's repositories, sorted; not every registry tells."""
        what = f"cannot list the repositories of {self.host}"
        access = Access("", ("registry:catalog:*",))
        url = f"{self._connections.base}/v2/_catalog"
        return listed(self._exchange, url, "repositories", access, what)

    def ping(self) -> bool:
        """Return whether the registry asked who we are, once it has answered.

        Raises:
            DeniedError: it does not accept the login.
            NotThereError: no registry is there.
        """
        what = f"cannot use {self.host} as a registry"
        dismiss(self._exchange.ask(Ask("GET", f"{self._connections.base}/v2/", what, Access(), _OK, {})))
        return self._authorizer.asked


def _spelled(reference: str | Digest) -> str:
    return f"@{reference}" if isinstance(reference, Digest) else f":{reference}"


def _length(response: BaseHTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _content_type(response: BaseHTTPResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
