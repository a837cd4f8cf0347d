"""The same builds as an ordinary user without subuid ranges."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="all the other tests here run as the ordinary user then")
def test_the_build_tests_pass_as_an_ordinary_user(ordinary):
    """RUN and its mounts, COPY, stages, secrets and cache hold with a single ID."""
    parts = ("run", "copy", "add", "cache", "graph", "mounts", "secrets", "onbuild")
    files = [f"tests/build/test_build_{part}.py" for part in parts]
    done = ordinary.run(
        ordinary.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-x", cwd=Path(ordinary.path)
    )
    assert 0 == done.returncode, done.stdout[-4000:] + done.stderr[-2000:]
