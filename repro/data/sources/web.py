"""Files of a web server, and its folders where it lists them (the index pages that nginx and Apache write)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from repro.data.answers import Broken, NotThereError, body
from repro.data.sources.model import ChangedError, DeniedError, SourceFile
from repro.data.transports import Transports
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

    from repro.data.sources.model import Reach
    from repro.names import DataUri

_PARALLEL = 8  # files whose headers are asked for at a time
_DEEPEST = 64  # levels of folders: a server whose links lead in a circle has no end
_SETTLED = timedelta(seconds=2)
_LONGEST_PAGE = 64 << 20  # bytes of an index page
_SAFE = "/:@!$&'()*+,;=-._~"  # RFC 3986, 3.3: what a path has unescaped
_INDEX = re.compile(r"\s*(index of|directory listing)\b", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")  # RFC 9110, 14.4
_NAME_THEM = "name its files one by one, or a list of their checksums (`checksums:`)"
_LOGIN = "docs/reference/data.md says where logins are looked for: ~/.netrc, or the file that NETRC names"


class WebSource:
    """A file or a folder at an http or https address."""

    def __init__(self, uri: DataUri, reach: Reach) -> None:
        from repro.data.credentials import netrc_login  # noqa: PLC0415 - read only where it may be needed

        self._uri = uri
        self._transports = Transports(reach.environ, timeout=reach.timeout)
        found = netrc_login(reach.environ, uri.host)
        self._login = ":".join(found) if found is not None else None

    def stat(self, name: str = "", version: str = "") -> SourceFile:
        """Return the file as its headers say; FetchError for a version, which no web server has."""
        url = self._url(name)
        if version:
            raise FetchError(f"{url} has no versions", hint="leave out `version`: the checksum pins the bytes")
        try:
            response = self._ask(url, method="HEAD")
        except (NotThereError, Broken):
            raise
        except FetchError as refused:  # HEAD may be refused where GET is not: 405, and 403 for signed addresses
            try:
                response = self._ask(url)
            except FetchError as error:
                raise error from refused
        response.close()
        size = _whole_size(response)
        return SourceFile(name, size, etag=_state(response.headers, size), settled=_settled(response.headers))

    def files(self) -> Iterator[SourceFile]:
        """Yield all files that the index pages from this folder downwards name, each as its headers say."""
        names = sorted(set(self._listed("", self._folder, 0)))
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="stat") as pool:
            yield from pool.map(self.stat, names)

    def pieces(self, file: SourceFile, start: int) -> Iterator[bytes]:
        """Yield the bytes from ``start``, also of a server that can only send all."""
        url = self._url(file.name)
        response = self._ask(url, start)
        try:
            skipped = self._check_answer(response, file, start)
            if response.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                yield from _counted(body(response, url), url, file.size, start, skipped)
        finally:
            # What was not read cannot be skipped cheaply: such a connection is closed, a finished one kept.
            response.release_conn() if response.closed else response.close()

    def close(self) -> None:
        """Let go of connections; idempotent."""
        self._transports.close()

    def _check_answer(self, response: BaseHTTPResponse, file: SourceFile, start: int) -> int:
        """Return how many bytes of the body come before ``start``; ChangedError where it is of another file."""
        url = self._url(file.name)
        size = _whole_size(response)
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if start != (file.size if size is None else size):  # RFC 9110, 15.5.17: nothing is left to be sent
                raise ChangedError(f"{url} changed", why=f"it ends before byte {start}")
            return 0
        state = _state(response.headers, size)
        if file.etag and state and state != file.etag:
            raise ChangedError(f"{url} changed", why=f"it was {file.etag}, and is {state} now")
        if None not in (file.size, size) and size != file.size:
            raise ChangedError(f"{url} changed", why=f"it had {file.size} bytes, and has {size} now")
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            sent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if sent is None or int(sent[1]) != start:
                raise Broken("the server sent another part of the file than asked for", pause=0.0)
            return 0
        return start  # Range was ignored (RFC 9110, 14.2): all of it comes

    @property
    def _folder(self) -> str:
        """The folder's address, with its slash."""
        path = self._uri.path if self._uri.folder else f"{self._uri.path}/"
        return f"{self._uri.scheme}://{self._uri.host}{path}"

    def _url(self, name: str) -> str:
        return self._folder + quote(name, safe=_SAFE) if name else str(self._uri)

    def _ask(self, url: str, start: int = 0, *, method: str = "GET") -> BaseHTTPResponse:
        """Return the answer for a file; NotThereError where the server leads to the folder of that name."""
        response, base = self._open(url, start, method=method)
        if urlsplit(base).path == f"{urlsplit(url).path}/":
            response.close()
            raise NotThereError(f"{url} is a folder, no file", hint="end the address with a slash")
        return response

    def _open(self, url: str, start: int = 0, *, method: str = "GET") -> tuple[BaseHTTPResponse, str]:
        try:
            return self._transports.ask(url, start, method=method, login=self._login)
        except DeniedError as error:
            error.hint = error.hint or _LOGIN
            raise

    def _listed(self, prefix: str, url: str, depth: int) -> Iterator[str]:
        """Yield the names of the files below the folder ``url``, each after ``prefix``."""
        if depth > _DEEPEST:
            raise FetchError(f"the folders of {self._folder} lie deeper than {_DEEPEST} levels", why=f"as far as {url}")
        page, base = self._page(url)
        for name in page.below(base):
            if name.endswith("/"):
                yield from self._listed(prefix + name, url + quote(name, safe=_SAFE), depth + 1)
            else:
                yield prefix + name

    def _page(self, url: str) -> tuple[_Index, str]:
        """Return the index page at a folder's address, and the address that gave it; FetchError where it is none."""
        response, base = self._open(url)
        try:
            data = bytearray()
            for piece in body(response, url):
                data += piece
                if len(data) > _LONGEST_PAGE:
                    raise FetchError(f"the list of files at {url} is too long", hint=_NAME_THEM)
        finally:
            response.release_conn() if response.closed else response.close()
        page = _Index()
        if "html" in response.headers.get("Content-Type", ""):
            page.feed(data.decode(errors="surrogateescape"))
            page.close()
        if not page.recognized:
            raise FetchError(f"{url} is no list of files", why="the server shows another page there", hint=_NAME_THEM)
        return page, base


def _counted(pieces: Iterator[bytes], url: str, size: int | None, start: int, skipped: int) -> Iterator[bytes]:
    """Yield all but the first ``skipped`` bytes; Broken or ChangedError where the end does not come at ``size``."""
    at = start - skipped
    for piece in pieces:
        at += len(piece)
        if size is not None and at > size:
            raise ChangedError(f"{url} changed", why=f"more than its {size} bytes came")
        kept = piece[max(len(piece) - (at - start), 0) :] if at > start else b""
        if kept:
            yield kept
    if size is not None and at < size:
        raise Broken(f"truncated: {at} of {size} bytes came")


def _whole_size(response: BaseHTTPResponse) -> int | None:
    """Return the size of the whole file that an answer speaks of; None where it does not say."""
    part = response.headers.get("Content-Range", "")
    if response.status in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        total = part.rpartition("/")[2]
        return int(total) if total.isdecimal() else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _state(headers: Mapping[str, str], size: int | None) -> str:
    """Return what is another text once the bytes are: a strong ETag (RFC 9110, 8.8.3), else time and size."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    modified = headers.get("Last-Modified", "")
    return f"{modified}, {size} bytes" if modified and size is not None else ""


def _settled(headers: Mapping[str, str]) -> bool:
    """Return whether a later change would show: a time does only once its second is over (RFC 9110, 8.8.2.2).

    An ETag beside a time is no better than it: nginx and Apache make theirs of size and time.
    """
    modified, now = (headers.get(name) for name in ("Last-Modified", "Date"))
    if modified is None:
        return True
    try:
        return now is not None and parsedate_to_datetime(now) - parsedate_to_datetime(modified) >= _SETTLED
    except (ValueError, TypeError):  # no dates, or one without a zone
        return False


class _Index(HTMLParser):
    """The links of an index page; ``recognized`` once its title or first heading says that it is one."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.recognized = False
        self._links: list[str] = []
        self._titled = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a link leads, and that a title begins."""
        self._titled = tag in ("title", "h1")
        if tag == "a":
            self._links.extend(value for key, value in attrs if key == "href" and value)

    def handle_endtag(self, tag: str) -> None:
        """Note that a title ends."""
        self._titled = self._titled and tag not in ("title", "h1")

    def handle_data(self, data: str) -> None:
        """See whether a title is that of an index page."""
        self.recognized = self.recognized or (self._titled and _INDEX.match(data) is not None)

    def below(self, base: str) -> list[str]:
        """Return the names that lie directly below the page at ``base``, unescaped, folders with a slash, in order.

        What leads elsewhere, up, or to another order of the same page counts for nothing.
        """
        server, folder = urlsplit(base)[:2], urlsplit(base).path
        found: dict[str, None] = {}
        for link in self._links:
            parts = urlsplit(urljoin(base, link))
            rest = parts.path.removeprefix(folder)
            if parts[:2] != server or parts.query or parts.fragment or not parts.path.startswith(folder):
                continue
            name = unquote(rest, errors="surrogateescape")
            if name.strip("/") in ("", ".", "..") or "/" in name.removesuffix("/") or "\0" in name:
                continue
            found[name] = None
        return list(found)
