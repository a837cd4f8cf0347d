"""The same attacks on an ordinary user: one ID, modes that bind their owner, no devices."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="this is an ordinary user already")
def test_hostile_images_are_refused_for_an_ordinary_user(ordinary) -> None:
    """All that is refused as root is refused for a user who is not."""
    tests = [f"{ordinary.path}/tests/security/test_{name}.py" for name in ("hostile_layers", "hostile_content")]
    done = ordinary.run(
        ordinary.python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--rootdir={ordinary.path}",
        f"--basetemp={ordinary.home}/security-tests",
        "-W",
        "error",
        *tests,
    )

    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
