"""Fixtures for all tests: the two kinds of user, and a cache of downloads that outlives a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import accounts


def pytest_configure() -> None:
    """Forget that a machine for tests runs this: `repro run` asks for a lock there; the tests of that say so.

    Processes of tests share the machine, so how long an example takes says nothing.
    """
    os.environ.pop("CI", None)
    settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("tests")


@pytest.fixture(scope="session")
def ordinary():
    """An ordinary user without subuid ranges."""
    account = accounts.make_ordinary()
    yield account
    accounts.remove(account)


@pytest.fixture(scope="session")
def with_ranges():
    """An ordinary user with a subordinate range; only root can make one."""
    if os.getuid() != 0:
        pytest.skip("only root can make a user with subordinate ranges")
    account = accounts.make_with_ranges()
    yield account
    accounts.remove(account)


@pytest.fixture(scope="session")
def download_cache() -> Path:
    """The folder of downloads that tests share from one session to the next; content-addressed and verified."""
    named = os.environ.get("REPRO_TEST_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(named) if named else Path(cache) / "repro-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
