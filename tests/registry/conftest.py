"""Fixtures for registries: three real ones, a scripted one, and a home in which nobody is logged in."""

from __future__ import annotations

import pytest

from repro.registry.client import Registry
from repro.registry.connections import Timing
from repro.registry.credentials import Credentials
from repro.registry.settings import Settings, Trust
from tests import servers
from tests.registry.scripted import Scripted

QUICK = Timing(connect=2.0, read=1.0, pause=0.001, longest_pause=0.01, attempts=4)


def _served(kind, tmp_path_factory):
    if servers.missing():
        pytest.skip(f"{servers.missing()} is not installed: see tests/run")
    return kind(tmp_path_factory.mktemp(kind.__name__))


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A registry without TLS and without logins."""
    with _served(servers.plain_registry, tmp_path_factory) as served:
        yield served


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """A registry with its own authority and Basic authentication."""
    with _served(servers.tls_registry, tmp_path_factory) as served:
        yield served


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """A registry with bearer tokens."""
    with _served(servers.token_registry, tmp_path_factory) as served:
        yield served


@pytest.fixture
def environ(tmp_path):
    """The environment of a user with an empty home."""
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def scripted():
    """A registry whose answers the test writes."""
    with Scripted() as server:
        yield server


@pytest.fixture
def connect(environ):
    """A function that opens a registry: ``connect(host, insecure=True, login=Login(..))``; quick to give up."""
    opened = []

    def open_it(host, *, login=None, writes=False, timing=QUICK, environ=environ, **trust):
        settings = Settings(f"{environ['HOME']}/.config/repro/registries.toml", {host: Trust(**trust)})
        registry = Registry(host, settings, Credentials(environ), environ, login=login, writes=writes, timing=timing)
        opened.append(registry)
        return registry

    yield open_it
    for registry in opened:
        registry.close()
