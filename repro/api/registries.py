"""Registries as people use them: logging in and out, and looking what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.names import Reference, parse_domain
from repro.registry.client import Registry
from repro.registry.credentials import Credentials, Login
from repro.registry.mirrors import endpoints
from repro.registry.settings import Settings

if TYPE_CHECKING:
    from repro.api.host import Host


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login that was kept: ``kept`` says where; ``checked`` is false where the registry asked for none."""

    registry: str
    kept: str
    checked: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """What a registry has: ``kind`` is ``repositories`` (their paths) or ``tags`` (of the repository ``name``)."""

    name: str
    kind: str
    names: tuple[str, ...]


def open_registry(host: Host, domain: str, *, writes: bool = False) -> Registry:
    """Return the client for a registry, as the user of ``host`` reaches it; ``writes`` as `Registry` has it."""
    return Registry(
        domain, Settings.load(host.environ), Credentials(host.environ, host.uid), host.environ, writes=writes
    )


def open_endpoints(host: Host, domain: str) -> tuple[Registry, ...]:
    """Return where to read what is known by its digest: a registry's mirrors, and itself last."""
    return endpoints(domain, Settings.load(host.environ), Credentials(host.environ, host.uid), host.environ)


def registry_login(host: Host, name: str, user: str, password: str) -> LoggedIn:
    """Keep a login where podman, skopeo or docker find it too, once the registry has accepted it.

    Raises:
        UsageError: the name of the registry or of the user cannot be one.
        DeniedError: the registry does not accept it; nothing is kept.
        FetchError: the registry cannot be asked.
        DataError: the file of logins cannot be read.
    """
    domain = parse_domain(name)
    if not user or not password:
        raise UsageError("a user name and a password are needed")
    credentials = Credentials(host.environ, host.uid)
    login = Login(user, password, source="the command line")
    registry = Registry(domain, Settings.load(host.environ), credentials, host.environ, login=login)
    checked = registry.ping()
    return LoggedIn(domain, credentials.store(domain, user, password), checked)


def registry_logout(host: Host, name: str) -> tuple[str, ...]:
    """Forget the logins of a registry, wherever they are kept; return the places, for people."""
    return Credentials(host.environ, host.uid).remove(parse_domain(name))


def registry_listing(host: Host, name: str) -> Listing:
    """Return the repositories of a registry (``localhost:5000``), or a repository's tags (``localhost:5000/tool``).

    Raises:
        UsageError: ``name`` is neither.
        FetchError: the registry does not tell, or there is no such repository.
    """
    first, slash, path = name.rstrip("/").partition("/")
    domain = parse_domain(first)
    if not slash:
        return Listing(domain, "repositories", open_registry(host, domain).catalog())
    reference = Reference.parse(f"{domain}/{path}")
    if reference.digest is not None or reference.tag not in (None, "latest") or path.endswith(":latest"):
        raise UsageError(f"{name} has a tag or a digest", hint=f"name the repository: {domain}/{reference.path}")
    tags = open_registry(host, domain).tags(reference.path)
    return Listing(f"{domain}/{reference.path}", "tags", tags)
