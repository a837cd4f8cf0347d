"""Fixtures for downloads: a faulty server on the loopback."""

from __future__ import annotations

import pytest

from tests.data.loopback import Loopback


@pytest.fixture
def loopback():
    """A server on 127.0.0.1."""
    server = Loopback()
    yield server
    server.close()
