"""Everything once more as an ordinary user without subordinate IDs, where the tests run as root."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests run as an ordinary user already")
def test_all_of_it_as_an_ordinary_user(ordinary):
    """The same tests pass for a user who has one ID and no rights."""
    ini = ordinary.home / "pytest.ini"
    ini.write_text("[pytest]\nfilterwarnings = error\n")
    ordinary.give(ini)
    tests = f"{ordinary.path.split(':')[0]}/tests/runtime"
    command = (ordinary.python, "-m", "pytest", "-q", "-x", "-c", str(ini), "-p", "no:cacheprovider", tests)
    done = ordinary.run(*command)
    assert 0 == done.returncode, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
