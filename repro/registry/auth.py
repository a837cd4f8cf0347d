"""Who we say we are: Basic, or a Bearer token from the server that the registry names.

A registry answers 401 and a challenge once; from then on requests carry what it asks for. Tokens are for scopes
(``repository:team/tool:pull,push``) and are kept until shortly before they end. Sources: RFC 9110, 11; Docker's "Token
Authentication Specification" and "OAuth2".
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from repro.data.addresses import redacted
from repro.dataclass import dataclass
from repro.errors import FetchError
from repro.registry.answers import LyingError, Refusal, denied
from repro.registry.challenges import parse_challenges
from repro.registry.connections import MOVED, check_address, origin, small_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.response import BaseHTTPResponse

    from repro.registry.connections import Connections
    from repro.registry.credentials import Login

_LIFETIME = 60.0  # seconds, where the server does not say: Token Authentication Specification, "expires_in"
_MARGIN = 0.2  # of its lifetime before its end, a token is renewed
_REDIRECTS = 3
_TOKEN = re.compile(r"[\x21-\x7e]+")  # what can stand in a header
_LONGEST_TOKEN = 1 << 20  # bytes of the answer


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs: ``path`` is the repository whose login is used (empty: the registry's)."""

    path: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def pull(cls, path: str) -> Access:
        """Return the right to read a repository."""
        return cls(path, (f"repository:{path}:pull",))

    @classmethod
    def push(cls, path: str, also_read: str = "") -> Access:
        """Return the right to write to a repository, and to read another one."""
        scopes = (f"repository:{path}:pull,push",)
        return cls(path, (*scopes, f"repository:{also_read}:pull") if also_read else scopes)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew: float  # on the monotonic clock


class Authorizer:
    """Gives requests to one registry their Authorization; safe to use from many threads."""

    def __init__(self, host: str, connections: Connections, login: Callable[[str], Login | None]) -> None:
        self._host = host
        self._connections = connections
        self._find = login
        self._lock = threading.Lock()
        self._logins: dict[str, Login | None] = {}
        self._scheme = ""
        self._realm = ""
        self._service = ""
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._wider: dict[Access, tuple[str, ...]] = {}  # scopes that the registry asked for beyond ours
        self._requests: dict[tuple[str, ...], threading.Lock] = {}

    def login(self, path: str) -> Login | None:
        """Return the login that a repository is used with."""
        with self._lock:
            if path not in self._logins:
                self._logins[path] = self._find(path)
            return self._logins[path]

    @property
    def asked(self) -> bool:
        """Whether the registry has asked who we are."""
        return bool(self._scheme)

    def header(self, access: Access, what: str) -> str | None:
        """Return the value of Authorization for a request; None before the registry asked for any.

        Raises:
            DeniedError, FetchError, LyingError, Broken: a token was needed and not given.
        """
        if self._scheme == "basic":
            login = self.login(access.path)
            return None if login is None or not login.user else login.basic()
        return f"Bearer {self._token(access, what, stale='')}" if self._scheme == "bearer" else None

    def challenged(self, response: BaseHTTPResponse, access: Access, sent: str | None, what: str) -> str | None:
        """Return the Authorization to try after a 401; None where there is nothing to try that was not ``sent``.

        Raises:
            FetchError: the registry asks in a way that is not known here, or that would give a password away.
            DeniedError, LyingError, Broken: as `header`.
        """
        challenges = parse_challenges(response.headers.getlist("WWW-Authenticate"))
        known = {challenge.scheme: challenge.parameters for challenge in reversed(challenges)}
        if "bearer" in known:
            return self._bearer(known["bearer"], access, sent, what)
        if "basic" in known:
            self._scheme = "basic"
            header = self.header(access, what)
            return None if header == sent else header
        if known:
            why = f"it asks for {', '.join(sorted(known))}; only Basic and Bearer are known here"
            raise FetchError(what, why=f"{self._host}: {why}")
        return None

    def _bearer(self, parameters: Mapping[str, str], access: Access, sent: str | None, what: str) -> str | None:
        realm = urljoin(self._connections.base + "/", parameters.get("realm", ""))
        check_address(realm, what)
        if not self._connections.may_be_plain(realm):
            raise FetchError(
                what,
                why=f"{self._host} wants tokens to be asked for at {redacted(realm)}, without TLS",
                hint="nothing was sent there; ask who runs the registry to mend its `realm`",
            )
        with self._lock:
            self._realm, self._service = realm, parameters.get("service", "")
            self._scheme = "bearer"  # last: others read it without the lock
            asked = tuple(scope for scope in parameters.get("scope", "").split() if not _covered(scope, access.scopes))
            if asked:
                self._wider[access] = asked
        stale = sent.removeprefix("Bearer ") if sent else ""
        header = f"Bearer {self._token(access, what, stale=stale)}"
        return None if header == sent else header

    def _token(self, access: Access, what: str, *, stale: str) -> str:
        """Return a token for the scopes that is not ``stale``; of many threads that need one, one asks for it."""
        with self._lock:
            scopes = tuple(sorted({*access.scopes, *self._wider.get(access, ())}))
            request = self._requests.setdefault(scopes, threading.Lock())
        with request:
            token = self._tokens.get(scopes)
            if token is None or token.value == stale or time.monotonic() >= token.renew:
                token = self._tokens[scopes] = self._ask(access, scopes, what)
            return token.value

    def _ask(self, access: Access, scopes: tuple[str, ...], what: str) -> _Token:
        login = self.login(access.path)
        if login is not None and login.token:  # for the registry itself: nobody else is shown it
            return _Token(login.token, math.inf)
        began = time.monotonic()
        with_identity = login is not None and bool(login.identity)
        response = self._post(login, scopes, what) if with_identity and login else self._get(login, scopes, what)
        if response.status != HTTPStatus.OK:
            refusal = Refusal.read(response)
            if refusal.status == HTTPStatus.BAD_REQUEST and login is not None:  # OAuth2 says "invalid_grant" so
                raise denied(what, f"the token server: {refusal.answered}", self._host, login)
            raise refusal.error(what, self._host, lambda: login)
        token = _read_token(small_body(response, self._realm, _LONGEST_TOKEN, what), began)
        if token is None:
            raise LyingError(what, why=f"the answer of {redacted(self._realm)} holds no token")
        return token

    def _get(self, login: Login | None, scopes: tuple[str, ...], what: str) -> BaseHTTPResponse:
        """Ask as the Token Authentication Specification has it, with the password where there is one."""
        query = [("service", self._service)] if self._service else []
        query += [("account", login.user)] if login is not None else []
        query += [("scope", scope) for scope in scopes]
        parts = urlsplit(self._realm)
        url = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))))
        headers = {} if login is None else {"Authorization": login.basic()}
        for _ in range(_REDIRECTS + 1):
            response = self._connections.send("GET", url, headers, what=what)
            if response.status not in MOVED:
                return response
            response.close()
            target = urljoin(url, response.headers.get("Location", ""))
            check_address(target, what)
            if not self._connections.may_be_plain(target):
                raise FetchError(what, why=f"the token server leads to {redacted(target)}, without TLS")
            if origin(target) != origin(url):
                headers = {}
            url = target
        raise FetchError(what, why=f"more than {_REDIRECTS} redirections at {redacted(self._realm)}")

    def _post(self, login: Login, scopes: tuple[str, ...], what: str) -> BaseHTTPResponse:
        """Ask with an identity token, as Docker's "OAuth2" has it."""
        form = {
            "grant_type": "refresh_token",
            "service": self._service,
            "client_id": "repro",
            "scope": " ".join(scopes),
            "refresh_token": login.identity,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._connections.send("POST", self._realm, headers, urlencode(form).encode(), what=what)


def _read_token(data: bytes, began: float) -> _Token | None:
    """Return the token in an answer to a request made at ``began``; None where there is none."""
    try:
        answer = json.loads(data)
        value = answer.get("token") or answer.get("access_token")
        lifetime = answer.get("expires_in") or _LIFETIME
    except (ValueError, RecursionError, AttributeError):
        return None
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None or not isinstance(lifetime, int | float):
        return None
    return _Token(value, began + lifetime * (1 - _MARGIN))


def _covered(scope: str, scopes: tuple[str, ...]) -> bool:
    """Return whether one of ``scopes`` allows all that ``scope`` does."""
    resource, _, actions = scope.rpartition(":")
    return any(
        resource == ours and set(actions.split(",")) <= set(allowed.split(","))
        for ours, _, allowed in (one.rpartition(":") for one in scopes)
    )
