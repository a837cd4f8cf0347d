"""Where locked wheels can be had today: the simple repository API of the configured indexes (PEP 503, PEP 691).

An index is asked for one page per project, which may be HTML or JSON. ``find-links`` are the same links on any page,
or the files of a folder. A wheel is known by its file name and, where the page tells it, by its sha256.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from repro.data.addresses import redacted
from repro.data.answers import NotThereError
from repro.data.cache import Wanted
from repro.data.parallel import PARALLEL
from repro.digest import Digest
from repro.environment.resolvers.wheels import Candidate
from repro.errors import DataError, FetchError
from repro.events import Notice, ignore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from repro.data.transports import Transports
    from repro.environment.model import Wheel
    from repro.environment.resolvers.indexes import Indexes
    from repro.events import Sink

_WHEEL: Final = ".whl"


def offered(wheels: Iterable[Wheel], indexes: Indexes, transports: Transports, sink: Sink = ignore) -> list[Wanted]:
    """Return each wheel, sorted, with the addresses that have it; without any where no index offers it any more.

    A file whose sha256 a page tells, and tells otherwise, is another file. An index that cannot be reached is told to
    ``sink`` once and then left alone: the wheels may be in the cache all the same.

    Args:
        wheels: as locked.
        indexes: all of them, the default one included (`resolvers.uv.effective_indexes`).
        transports: asks them.
        sink: takes a Notice for each index that could not be asked.
    """
    ordered = sorted(set(wheels))
    pages = _Pages(indexes, transports, sink)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="index") as pool:
        names = sorted({wheel.name for wheel in ordered})
        offers = dict(zip(names, pool.map(pages.offers, names), strict=True))
    return [
        Wanted(wheel.file, wheel.digest, wheel.size, tuple(_addresses(wheel, offers[wheel.name]))) for wheel in ordered
    ]


def links(page: bytes, url: str) -> tuple[Candidate, ...]:
    """Return the files that a project's page at ``url`` offers, in its order.

    Raises:
        DataError: it is neither JSON (PEP 691) nor text.
    """
    text = page.decode(errors="replace")
    found = _json_links(text) if text.lstrip().startswith("{") else _html_links(text)
    return tuple(_candidate(url, address, sha256) for address, sha256 in found)


class _Pages:
    """The pages of all indexes; each index that cannot be reached is asked once and no more."""

    def __init__(self, indexes: Indexes, transports: Transports, sink: Sink) -> None:
        self._transports = transports
        self._sink = sink
        self._lock = threading.Lock()
        self._given_up: set[str] = set()
        bases = () if indexes.no_index else (*filter(None, (indexes.index,)), *indexes.extra)
        self._bases = tuple(dict.fromkeys(_address(base).rstrip("/") + "/" for base in bases))
        self._flat = [file for place in indexes.find_links for file in self._ask(_address(place), place)]

    def offers(self, name: str) -> tuple[Candidate, ...]:
        """Return what the find-links and then the indexes offer for the project ``name``, which is normalised."""
        return (*self._flat, *(file for base in self._bases for file in self._ask(f"{base}{name}/", base)))

    def _ask(self, url: str, source: str) -> tuple[Candidate, ...]:
        if source in self._given_up:
            return ()
        try:
            if urlsplit(url).scheme == "file":
                return _local(url, self._transports)
            return links(self._transports.get(url), url)
        except NotThereError:
            return ()  # the index does not know the project
        except (FetchError, DataError) as error:
            with self._lock:
                if source not in self._given_up:
                    self._given_up.add(source)
                    why = f": {error.why}" if error.why else ""
                    self._sink(Notice("warning", f"the index {redacted(source)} cannot be asked{why}"))
            return ()


def _addresses(wheel: Wheel, offered: Iterable[Candidate]) -> Iterator[str]:
    seen = set()
    for candidate in offered:
        if candidate.file == wheel.file and candidate.digest in (None, wheel.digest) and candidate.url not in seen:
            seen.add(candidate.url)
            yield candidate.url


def _local(url: str, transports: Transports) -> tuple[Candidate, ...]:
    """Return what a folder of this host offers: by its index.html, or else by its files; a file is a page."""
    path = Path(unquote(urlsplit(url).path))
    if not path.is_dir():
        return links(transports.get(url), url)
    page = path / "index.html"
    if page.is_file():
        return links(page.read_bytes(), page.as_uri())
    return tuple(Candidate((path / name).as_uri()) for name in sorted(os.listdir(path)) if name.endswith(_WHEEL))


def _json_links(text: str) -> Iterator[tuple[str, str | None]]:
    try:
        files = json.loads(text)["files"]
        for file in files:
            yield file["url"], file.get("hashes", {}).get("sha256")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            "the index's answer is not a page of a project", why=f"{type(error).__name__}: {error}"
        ) from error


def _html_links(text: str) -> Iterator[tuple[str, str | None]]:
    parser = _Anchors()
    parser.feed(text)
    parser.close()
    for address in parser.found:
        place, fragment = urldefrag(urljoin(parser.base, address))
        yield place, fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None


def _candidate(page: str, address: str, sha256: str | None) -> Candidate:
    """Return a link as a file; one that stays on the index's host is asked for in the name that the index is."""
    url = urljoin(page, address)
    asked, found = urlsplit(page), urlsplit(url)
    if asked.username is not None and (found.scheme, found.netloc) == (asked.scheme, asked.netloc.rpartition("@")[2]):
        url = found._replace(netloc=asked.netloc).geturl()
    try:
        return Candidate(url, None if sha256 is None else Digest(sha256.lower()))
    except DataError:
        return Candidate(url)


def _address(place: str) -> str:
    """Return an index or a find-links place as an address: it may be the path of a folder or a file."""
    return place if "://" in place else Path(place).expanduser().absolute().as_uri()


class _Anchors(HTMLParser):
    """Collects the targets of links, and the address they are relative to where the page says one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if target is None:
            return
        if tag == "a":
            self.found.append(target)
        elif tag == "base" and not self.base:
            self.base = target
