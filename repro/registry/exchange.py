"""A request to a registry until its answer: who we are, redirections, refusals, other attempts."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from repro.data.addresses import redacted
from repro.data.answers import Broken, UnreachableError
from repro.dataclass import dataclass
from repro.errors import FetchError
from repro.registry.answers import Refusal, TooMany, denied
from repro.registry.connections import MOVED, check_address, origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from urllib3.response import BaseHTTPResponse

    from repro.registry.auth import Access, Authorizer
    from repro.registry.connections import Body, Connections

log = logging.getLogger(__name__)

_REDIRECTS = 5
_PROGRESS = 1 << 20  # bytes that make an attempt count as one that brought something
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: ``what`` cannot be done if it fails, ``accepted`` are the statuses that are answers to it."""

    method: str
    url: str
    what: str
    access: Access
    accepted: Collection[int]
    headers: Mapping[str, str]
    body: Body = None
    patience: float | None = None


class Exchange:
    """Exchanges requests and answers with one registry; safe to use from many threads."""

    def __init__(self, host: str, connections: Connections, authorizer: Authorizer) -> None:
        self.timing = connections.timing
        self._host = host
        self._connections = connections
        self._authorizer = authorizer

    def once(self, ask: Ask) -> BaseHTTPResponse:
        """Return the answer, its body unread.

        Authorization goes to the registry only, never where a redirection leads elsewhere.

        Raises:
            Broken: another attempt may succeed.
            DeniedError, RateLimitError, NotThereError, FetchError: the registry refused, or cannot be asked.
        """
        self._check(ask.url, ask)
        foreign = origin(ask.url) != origin(self._connections.base)
        sent = None if foreign else self._authorizer.header(ask.access, ask.what)
        response, foreign = self._follow(ask, sent, foreign=foreign)
        if response.status == HTTPStatus.UNAUTHORIZED and not foreign:
            refusal = Refusal.read(response)
            again = self._authorizer.challenged(response, ask.access, sent, ask.what)
            if again is None:
                login = self._authorizer.login(ask.access.path)
                raise denied(ask.what, refusal.answered, self._host, login)
            response, foreign = self._follow(ask, again, foreign=False)
        if response.status in ask.accepted:
            return response
        refusal = Refusal.read(response)
        if foreign and refusal.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Broken(f"where {self._host} led to, access was denied: its permission may have run out")
        raise self._error(refusal, ask)

    def refusal(self, response: BaseHTTPResponse, ask: Ask) -> FetchError | Broken:
        """Return the error that an accepted answer turned out to be, and close it."""
        return self._error(Refusal.read(response), ask)

    def _error(self, refusal: Refusal, ask: Ask) -> FetchError | Broken:
        return refusal.error(ask.what, self._host, lambda: self._authorizer.login(ask.access.path))

    def _follow(self, ask: Ask, authorization: str | None, *, foreign: bool) -> tuple[BaseHTTPResponse, bool]:
        """Return the answer at the end of redirections, and whether it is another server's."""
        url = ask.url
        for _ in range(_REDIRECTS + 1):
            headers = dict(ask.headers)
            if authorization is not None and not foreign:
                headers["Authorization"] = authorization
            log.debug("%s %s", ask.method, redacted(url).partition("?")[0])  # a query may be a permission
            response = self._connections.send(ask.method, url, headers, ask.body, what=ask.what, patience=ask.patience)
            if response.status not in MOVED or response.status in ask.accepted:
                return response, foreign
            response.close()
            if ask.method not in ("GET", "HEAD"):
                raise FetchError(ask.what, why=f"{self._host} leads elsewhere with {response.status}")
            target = urljoin(url, response.headers.get("Location", ""))
            self._check(target, ask)
            foreign = foreign or origin(target) != origin(url)
            url = target
        raise FetchError(ask.what, why=f"more than {_REDIRECTS} redirections")

    def _check(self, url: str, ask: Ask) -> None:
        """Raise FetchError where ``url`` must not be asked."""
        check_address(url, ask.what)
        if not self._connections.may_be_plain(url):
            same = urlsplit(url).hostname == urlsplit(self._connections.base).hostname
            hint = "the proxy in front of the registry must tell it of TLS (X-Forwarded-Proto)" if same else None
            raise FetchError(ask.what, why=f"{self._host} leads to {redacted(url)}, without TLS", hint=hint)

    def patiently(self, what: str, attempt: Callable[[], _Answer], moved: Callable[[], int] = lambda: 0) -> _Answer:
        """Return what ``attempt`` returns, after as many attempts as `Timing` allows.

        ``moved`` says how many bytes have come or gone for good: an attempt that adds a mebibyte is no failed one.

        Raises:
            RateLimitError: the registry asks us to come again later than we wait.
            UnreachableError: no attempt brought an answer.
            Interrupted: the registry's `abort` was called meanwhile.
        """
        timing = self.timing
        failed = 0
        reached = moved()
        while True:
            try:
                return attempt()
            except Broken as broken:
                self._connections.check()
                progressed = moved() >= reached + _PROGRESS
                reached = max(reached, moved())
                failed = 1 if progressed else failed + 1
                too_long = isinstance(broken, TooMany) and (broken.pause or 0) > timing.longest_pause
                if failed >= timing.attempts or too_long:
                    if isinstance(broken, TooMany):
                        raise broken.final from broken
                    raise UnreachableError(what, why=f"{broken} (tried {failed} times)") from broken
                pause = timing.pause * 2 ** (failed - 1) if broken.pause is None else broken.pause
                log.debug("%s: %s; again in %.1f s", what, broken, min(pause, timing.longest_pause))
                self._connections.ended.wait(min(pause, timing.longest_pause))

    def ask(self, ask: Ask) -> BaseHTTPResponse:
        """Return the answer to a request that may be made several times; raises as `once` and `patiently` do."""
        return self.patiently(ask.what, lambda: self.once(ask))
