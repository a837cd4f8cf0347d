"""The same tests as an ordinary user: one ID, and modes that bind their owner."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="this is an ordinary user already")
def test_layers_and_store_work_for_an_ordinary_user(ordinary) -> None:
    """Everything that needs no root passes as a user who is not: a closed folder is really closed there."""
    done = ordinary.tests("oci")

    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
