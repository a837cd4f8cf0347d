"""The same attacks on an ordinary user: one ID, modes that bind their owner, no devices."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="this is an ordinary user already")
def test_hostile_images_are_refused_for_an_ordinary_user(ordinary) -> None:
    """All that is refused as root is refused for a user who is not."""
    done = ordinary.tests("security/test_hostile_layers.py", "security/test_hostile_content.py")

    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
