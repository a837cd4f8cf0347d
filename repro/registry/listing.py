"""Lists of names that come in pages: tags, repositories (distribution-spec 1.1, "Listing Tags"; RFC 8288 for Link)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from repro.registry.answers import LyingError
from repro.registry.connections import check_address, origin, small_body
from repro.registry.exchange import Ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.response import BaseHTTPResponse

    from repro.registry.auth import Access
    from repro.registry.exchange import Exchange

PAGE = 1000  # names asked for at once
_MOST_PAGES = 10_000
_MOST_NAMES = 1_000_000
_LARGEST_PAGE = 4 << 20  # bytes
_OK = frozenset({HTTPStatus.OK})


def listed(exchange: Exchange, url: str, field: str, access: Access, what: str) -> tuple[str, ...]:
    """Return the names in ``field`` of all pages that begin at ``url``, sorted.

    Raises:
        LyingError: a page holds no names, leads to another server, or there is no end of them.
        FetchError: as `Exchange.ask`.
    """
    return tuple(sorted(set(_pages(exchange, url, field, access, what))))


def _pages(exchange: Exchange, url: str, field: str, access: Access, what: str) -> Iterator[str]:
    """Yield the names of all pages, some perhaps twice."""
    address: str | None = f"{url}?n={PAGE}"
    count = pages = 0
    while address is not None:
        names, address = _page(exchange, address, field, access, what)
        count, pages = count + len(names), pages + 1
        if count > _MOST_NAMES or pages > _MOST_PAGES:
            raise LyingError(what, why=f"the list has no end: {count} names on {pages} pages")
        yield from names


def _page(exchange: Exchange, url: str, field: str, access: Access, what: str) -> tuple[list[str], str | None]:
    """Return the names of one page, and the next page's address."""

    def attempt() -> tuple[BaseHTTPResponse, bytes]:
        response = exchange.once(Ask("GET", url, what, access, _OK, {"Accept": "application/json"}))
        return response, small_body(response, url, _LARGEST_PAGE, what)

    response, data = exchange.patiently(what, attempt)
    names = _names(data, field)
    if names is None:
        raise LyingError(what, why="the answer holds no list of names")
    following = _next_page(response, url)
    if following is not None:
        check_address(following, what)
        if origin(following) != origin(url):
            raise LyingError(what, why="the next page of the list is on another server")
    return names, following


def _names(data: bytes, field: str) -> list[str] | None:
    """Return the list of names in a page; None where there is none."""
    try:
        names = json.loads(data)[field]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if names is None:  # how Go's encoder writes an empty list
        return []
    sound = isinstance(names, list) and all(isinstance(name, str) and name.isprintable() for name in names)
    return names if sound else None


def _next_page(response: BaseHTTPResponse, url: str) -> str | None:
    """Return the address in ``Link: <...>; rel="next"``."""
    for link in response.headers.getlist("Link"):
        address, closing, parameters = link.strip().removeprefix("<").partition(">")
        if closing and "next" in parameters:
            return urljoin(url, address)
    return None
