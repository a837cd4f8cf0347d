"""What a registry's answer means: its errors in plain words, those that pass and those that are final.

::

    FetchError
    ├── DeniedError         401 and 403: nobody, or somebody without the right
    ├── RateLimitError      429: too many requests
    ├── NotThereError       404
    │   ├── UnknownNameError        the registry has no such repository
    │   └── UnknownManifestError    the repository has no such tag or digest
    └── UnreachableError    no attempt got an answer
    DataError
    └── LyingError          an answer that contradicts itself or what was asked for

Source: distribution-spec, "Error Codes"; RFC 9110, 15.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from repro.data.answers import PROXY_LOGIN, TRY_AGAIN, WANTS_LOGIN, Broken, NotThereError, retry_after
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3.response import BaseHTTPResponse

    from repro.registry.credentials import Login

_LONGEST_BODY = 64 << 10  # bytes of an error's body that are read
_LONGEST_TEXT = 300  # characters of a server's own words that are shown
PORTAL = "is there a page to log in to this network?"
_UNNAMED = {
    "MANIFEST_BLOB_UNKNOWN": "a blob that the manifest names was not uploaded",
    "SIZE_INVALID": "the number of bytes is not the announced one",
    "DIGEST_INVALID": "the bytes have another digest than announced",
    "UNSUPPORTED": "the registry does not do this",
    "NAME_INVALID": "the registry does not take this repository name",
}


class DeniedError(FetchError):
    """The registry does not let us do this: no login, a wrong one, or one without the right."""

    code: ClassVar[str] = "denied"


class RateLimitError(FetchError):
    """The registry answers nobody, or us, for a while."""

    code: ClassVar[str] = "rate-limit"


class UnknownNameError(NotThereError):
    """The registry has no such repository."""


class UnknownManifestError(NotThereError):
    """The repository has no such tag, or no manifest with such a digest."""


class LyingError(DataError):
    """A registry's answer contradicts itself, or what was asked for."""

    code: ClassVar[str] = "registry"


class TooMany(Broken):
    """The server asks to come again later; ``final`` is the error where we do not."""

    def __init__(self, reason: str, pause: float | None, final: FetchError) -> None:
        super().__init__(reason, pause)
        self.final = final


def claimed_digest(response: BaseHTTPResponse) -> Digest | None:
    """Return Docker-Content-Digest where it is one of sha256; others say nothing that could be compared."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except DataError:
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not what was hoped for: status, the specification's error codes, the server's words."""

    status: int
    codes: tuple[str, ...]
    text: str
    retry_after: float | None

    @classmethod
    def read(cls, response: BaseHTTPResponse) -> Refusal:
        """Return what a response says, and close it; a body that is no error of the specification says nothing."""
        import urllib3  # noqa: PLC0415

        try:
            data = response.read(_LONGEST_BODY, decode_content=False)
        except urllib3.exceptions.HTTPError:
            data = b""
        response.release_conn() if response.closed else response.close()
        codes, texts = _errors(data)
        text = "; ".join(texts) or _plain_text(response, data)
        pause = retry_after(response.headers.get("Retry-After"))
        return cls(response.status, tuple(codes), text, pause)

    @property
    def answered(self) -> str:
        """The status and the server's words, for people."""
        known = self.status in HTTPStatus.__members__.values()
        name = HTTPStatus(self.status).phrase if known else "unknown status"
        said = self.text or next((_UNNAMED[code] for code in self.codes if code in _UNNAMED), "")
        return f"the registry answered {self.status} {name}" + (f": {said}" if said else "")

    def error(self, what: str, host: str, login: Callable[[], Login | None]) -> FetchError | Broken:
        """Return what this means for ``what``, tried at ``host`` as ``login`` says."""
        if self.status == HTTPStatus.TOO_MANY_REQUESTS or "TOOMANYREQUESTS" in self.codes:
            return TooMany(self.answered, self.retry_after, self._rate_limit(what, host, login()))
        if self.status in TRY_AGAIN:
            return Broken(self.answered, self.retry_after)
        if self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return denied(what, self.answered, host, login())
        if self.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return FetchError(what, why=f"the proxy {WANTS_LOGIN}", hint=PROXY_LOGIN)
        if self.status == HTTPStatus.NOT_FOUND:
            return self._unknown(what)
        if self.status == HTTPStatus.BAD_REQUEST and "HTTPS" in self.text:
            hint = f"remove `insecure = true` for {host} from registries.toml"
            return FetchError(what, why=f"{host} speaks TLS and was asked in plain HTTP", hint=hint)
        if self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return FetchError(what, why=self.answered, hint=f"let the proxy in front of {host} take larger bodies")
        if self.status < HTTPStatus.BAD_REQUEST:
            return FetchError(what, why=f"{self.answered}, which is no answer to that", hint=PORTAL)
        return FetchError(what, why=self.answered)

    def _unknown(self, what: str) -> NotThereError:
        if "NAME_UNKNOWN" in self.codes:
            hint = "see its name for a typing slip"
            return UnknownNameError(what, why="the registry has no such repository", hint=hint)
        if "MANIFEST_UNKNOWN" in self.codes:
            hint = "`repro registry ls HOST/PATH` lists the tags"
            return UnknownManifestError(what, why="the repository has no such tag or digest", hint=hint)
        return NotThereError(what, why=self.answered)

    def _rate_limit(self, what: str, host: str, login: Login | None) -> RateLimitError:
        when = "later" if self.retry_after is None else f"in {_duration(self.retry_after)}"
        better = f", or log in for a higher limit: repro registry login {host}" if login is None else ""
        why = f"{host} has had too many requests from here" + (f" ({self.text})" if self.text else "")
        return RateLimitError(what, why=why, hint=f"try again {when}{better}")


def denied(what: str, answered: str, host: str, login: Login | None) -> DeniedError:
    """Return the error of somebody without the right, naming the file of the login but not the secret."""
    if login is None:
        why = f"{answered}; no login for {host} is known, and private repositories look like missing ones"
        return DeniedError(f"denied: {what}", why=why, hint=f"repro registry login {host}")
    name = f"{login.user!r}" if login.user else "the owner of a registry token" if login.token else "an identity token"
    return DeniedError(
        f"denied: {what}",
        why=f"{answered}; asked as {name}, from {login.source}",
        hint=f"see the name for a typing slip, ask for the right, or: repro registry login {host}",
    )


def _errors(data: bytes) -> tuple[list[str], list[str]]:
    """Return the codes and messages of the specification's error object."""
    try:
        document = json.loads(data)
        entries = document["errors"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return [], []
    codes, texts = [], []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        code, message, detail = entry.get("code"), entry.get("message"), entry.get("detail")
        if isinstance(code, str):
            codes.append(code)
        if isinstance(message, str) and message:
            told = message + (f" ({detail})" if isinstance(detail, str) and detail else "")
            texts.append(_shown(told))
    return codes, texts


def _plain_text(response: BaseHTTPResponse, data: bytes) -> str:
    """Return a short text that is no page: what proxies and Go's server say."""
    if not response.headers.get("Content-Type", "text/plain").startswith("text/plain"):
        return ""
    return _shown(data.decode(errors="replace"))


def _shown(text: str) -> str:
    """Return a server's words on one line, without what would move a terminal's cursor."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "..."


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} minutes" if seconds < 7200 else f"{round(seconds / 3600)} hours"
