"""s3fs's file system for one address: whose login, which server, through which proxy, trusting which certificates.

All of it is where botocore looks, read in the variables of `Reach.environ` (they may be others than this process's):
``AWS_ACCESS_KEY_ID`` and its companions, ``AWS_PROFILE``, ``AWS_REGION``, ``AWS_ENDPOINT_URL_S3``, ``AWS_CA_BUNDLE``,
the files of ``~/.aws``, and what a cloud machine is given.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from repro.data.addresses import proxy_for
from repro.data.transports import CONNECT_TIMEOUT
from repro.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiobotocore.session import AioSession
    from s3fs import S3FileSystem

    from repro.data.sources.model import Reach
    from repro.workflow.model import Access

_CONNECTIONS = 64  # a client's at most
_ATTEMPTS = 2  # botocore's own; who asks counts and waits
_REGION = "us-east-1"  # where nobody names one: S3's own default, and the servers of others take any


def open_file_system(access: Access, reach: Reach) -> S3FileSystem:
    """Return a file system that is not connected yet and remembers nothing; its errors are botocore's.

    FetchError where the CA bundle that is named is not there.
    """
    for name in ("botocore", "aiobotocore"):  # at DEBUG they write down signed headers, a session's token among them
        logging.getLogger(name).setLevel(logging.INFO)
    session = _session(access, reach.environ)
    endpoint = access.endpoint or _endpoint(session, reach.environ)
    bundle = _bundle(session, reach.environ)
    settings: dict[str, Any] = {
        "connect_timeout": min(CONNECT_TIMEOUT, reach.timeout),
        "read_timeout": reach.timeout,
        "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        "max_pool_connections": _CONNECTIONS,
        # Bytes that come are compared with a sha256; those that go are sent with a checksum that is named.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if endpoint is not None:  # else botocore knows where, and asks for the proxy to there itself
        proxy = proxy_for(endpoint, reach.environ)
        settings["proxies"] = {urlsplit(endpoint).scheme: proxy} if proxy else {}
    return _file_system_class()(
        anon=access.anonymous,
        endpoint_url=endpoint,
        session=session,
        client_kwargs={
            "region_name": _variable(reach.environ, "AWS_REGION", "AWS_DEFAULT_REGION")
            or session.get_scoped_config().get("region")
            or _REGION,
            **({"verify": bundle} if bundle else {}),
        },
        config_kwargs=settings,
        skip_instance_cache=True,
        use_listings_cache=False,
    )


@functools.cache
def _file_system_class() -> type[S3FileSystem]:
    """Return s3fs's class; its import takes half a second, which only a transfer pays.

    What it makes stays until the end: looked at by the garbage collector as it comes, and again when the process ends,
    it took 0.2 s more.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        import s3fs  # noqa: PLC0415
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
    made: type[S3FileSystem] = s3fs.S3FileSystem
    return made


def _session(access: Access, environ: Mapping[str, str]) -> AioSession:
    """Return botocore's session: the chain in which a login is looked for."""
    from aiobotocore.session import AioSession  # noqa: PLC0415
    from botocore.exceptions import UnknownCredentialError  # noqa: PLC0415

    profile = access.profile
    if profile is None and "AWS_ACCESS_KEY_ID" not in environ:  # a profile that is named comes before the variables
        profile = _variable(environ, "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
    session = AioSession(profile=profile)
    session.register_component("data_loader", _descriptions())
    folder = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".aws")
    for name, variable in (("config", "AWS_CONFIG_FILE"), ("credentials", "AWS_SHARED_CREDENTIALS_FILE")):
        session.set_config_variable(f"{name}_file", environ.get(variable) or os.path.join(folder, name))
    with contextlib.suppress(UnknownCredentialError):  # left out where a profile is named
        session.get_component("credential_provider").get_provider("env").environ = environ
    return session


@functools.cache
def _descriptions() -> Any:
    """Return botocore's reader of what services can do, which remembers: reading S3's takes 0.2 s."""
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader()


def _endpoint(session: AioSession, environ: Mapping[str, str]) -> str | None:
    """Return the server's URL that a variable names; None where ~/.aws or botocore itself says it."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    return _variable(environ, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def _bundle(session: AioSession, environ: Mapping[str, str]) -> str | None:
    """Return the file of trusted certificates; None for the usual ones."""
    bundle = environ.get("AWS_CA_BUNDLE") or session.get_scoped_config().get("ca_bundle")
    bundle = bundle or _variable(environ, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    if bundle is not None and not os.path.isfile(bundle):
        raise FetchError(f"the CA bundle {bundle} is not there", hint="correct or unset AWS_CA_BUNDLE or SSL_CERT_FILE")
    return bundle


def _variable(environ: Mapping[str, str], *names: str) -> str | None:
    """Return the first of the variables that is set and not empty."""
    return next((environ[name] for name in names if environ.get(name)), None)
