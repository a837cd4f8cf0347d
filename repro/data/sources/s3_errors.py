"""What an S3 server's answer, or the lack of one, means: nothing there, no right, changed, or another attempt.

No server's words about a login are repeated: an answer may name an access key.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from repro.data.answers import Broken, NotThereError, retry_after
from repro.data.sources.model import ChangedError, DeniedError
from repro.errors import FetchError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Codes of the S3 API reference, "Error responses", and of the token service behind temporary logins. A server answers
# a HEAD without a body: botocore gives the status as the code then.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_WRONG = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"})
_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "MethodNotAllowed", "404", "405"})
_CHANGED = frozenset({"PreconditionFailed", "InvalidRange", "412", "416"})
_ELSEWHERE = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "307"})
_AGAIN = frozenset(
    {
        *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"),
        *("BadDigest", "IncompleteBody"),  # what arrived is not what was sent
        *("ConditionalRequestConflict", "OperationAborted"),  # somebody else is writing there at this moment
    }
)
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_NO_LOGIN = (
    "logins are looked for in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws (AWS_PROFILE, `profile:`), and "
    "where a cloud machine has its own; data for everybody is read with `anonymous: true`"
)
_RENEW = "renew the session (for instance `aws sso login`), then run again: what is there already is kept"
_CORRECT = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws"
_ASK = "ask its owner for the right, or use another login (`profile:`); a server may also say so of what is not there"
_REGION = "name the bucket's region in AWS_REGION, or its server with `endpoint:`"
_TRUST = "for a server with a certificate of its own, name the CA bundle in AWS_CA_BUNDLE"


def foreign() -> tuple[type[Exception], ...]:
    """Return the classes of what botocore, and what it is built on, raise where something is wrong outside."""
    import aiohttp  # noqa: PLC0415 - as slow to import as the client that raises
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    return (BotoCoreError, ClientError, ResponseParserError, aiohttp.ClientError, OSError, ValueError, RecursionError)


def plain(error: Exception, address: str, endpoint: str = "") -> Broken | FetchError:
    """Return one of the errors of `foreign` in plain words.

    Args:
        error: what was raised.
        address: of the object, for messages: ``s3://bucket/key``.
        endpoint: the server's URL, for messages.
    """
    from botocore import exceptions  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    what, host = f"cannot reach {address}", urlsplit(endpoint).netloc or "the server"
    match error:
        case exceptions.ClientError():
            return answered(error, address)
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return DeniedError(what, why="no login was found", hint=_NO_LOGIN)
        case (
            exceptions.TokenRetrievalError()
            | exceptions.UnauthorizedSSOTokenError()
            | exceptions.SSOTokenLoadError()
            | exceptions.LoginError()
        ):
            return DeniedError(what, why="the session has ended, or was never begun", hint=_RENEW)
        case exceptions.CredentialRetrievalError() | exceptions.NoAuthTokenError():
            return DeniedError(what, why="the login could not be had from where it is configured to be", hint=_NO_LOGIN)
        case exceptions.ProfileNotFound() | exceptions.ConfigParseError() | exceptions.InvalidConfigError():
            return FetchError(what, why=str(error), hint="correct ~/.aws/config, or `profile:`")
        case exceptions.SSLError():
            return FetchError(what, why=f"the certificate of {host} was not accepted", hint=_TRUST)
        case exceptions.ReadTimeoutError() | exceptions.ConnectTimeoutError() | TimeoutError():
            return Broken(f"no answer from {host} in time")
        case exceptions.ProxyConnectionError():
            return Broken(f"the proxy for {host} cannot be used")
        case exceptions.EndpointConnectionError():
            return Broken(f"cannot connect to {host}")
        case exceptions.ParamValidationError() | exceptions.InvalidRegionError() | ValueError():
            return FetchError(what, why=str(error).partition("\n")[0])
        case exceptions.HTTPClientError() | exceptions.IncompleteReadError() | ResponseParserError():
            return Broken(f"the connection to {host} broke")
        case exceptions.BotoCoreError():
            return FetchError(what, why=str(error))
        case RecursionError():  # botocore asks where a bucket is until it is told
            return FetchError(what, why=f"{host} says that it is elsewhere, and not where", hint=_REGION)
        case _:  # of the HTTP client, or of the operating system
            return Broken(f"the connection to {host} broke")


def answered(error: ClientError, address: str) -> Broken | FetchError:
    """Return what the server's error answer means for the object at ``address``."""
    code, status = code_of(error), status_of(error)
    what, said = f"cannot reach {address}", f"the server answered {code}" if code else f"the server answered {status}"
    if code == "NoSuchBucket":
        return NotThereError(what, why=f"there is no bucket {urlsplit(address).netloc}")
    if code in _EXPIRED:
        return DeniedError(what, why=f"the login has expired ({code})", hint=_RENEW)
    if code in _WRONG:
        return DeniedError(what, why=f"the login is not accepted ({code})", hint=_CORRECT)
    if code in _ABSENT:
        return NotThereError(what, why="the server does not have it")
    if code in _CHANGED:
        return ChangedError(f"{address} is another one now", why=f"it was replaced since it was listed ({code})")
    if code in _ELSEWHERE:
        return FetchError(what, why=f"the bucket is in another region ({code})", hint=_REGION)
    if code == "InvalidObjectState":
        return FetchError(what, why="it is archived", hint="have it restored first: `aws s3api restore-object`")
    if code == "RequestTimeTooSkewed":
        return FetchError(what, why=said, hint="set this machine's clock")
    if code == "NotImplemented" or status == HTTPStatus.NOT_IMPLEMENTED:
        return UnsupportedError(what, why=said)
    if code in _AGAIN or status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Broken(said, pause=retry_after(_headers(error).get("retry-after")))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return DeniedError(what, why=f"access was denied ({code})", hint=_ASK)
    return FetchError(what, why=f"{said} ({status})")


class UnsupportedError(FetchError):
    """The server does not know what it was asked for (``NotImplemented``)."""


def code_of(error: ClientError) -> str:
    """Return the code in a server's answer: ``NoSuchKey``, or the status where there was no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of a server's answer; 0 where it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _headers(error: ClientError) -> dict[str, Any]:
    return error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}) or {}
