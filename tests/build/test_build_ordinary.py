"""The same builds as an ordinary user without subuid ranges."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.skipif(os.geteuid() != 0, reason="all the other tests here run as the ordinary user then")
def test_the_build_tests_pass_as_an_ordinary_user(ordinary):
    """RUN, COPY, stages and cache hold with a single ID."""
    done = ordinary.run(
        ordinary.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/build/test_build_run.py",
        "tests/build/test_build_copy.py", "tests/build/test_build_cache.py", "-x",
        cwd=Path(ordinary.path),
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-4000:] + done.stderr[-2000:]
