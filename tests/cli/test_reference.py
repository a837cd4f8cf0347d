"""The page of commands says what the parsers say."""

from __future__ import annotations

import subprocess
import sys

from tests.accounts import PROJECT


def test_the_page_of_commands_is_fresh():
    """docs/reference/commands.md is what docs/make_reference.py makes of the parsers as they are."""
    done = subprocess.run(
        [sys.executable, PROJECT / "docs" / "make_reference.py", "--check"],
        env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_every_command_stands_in_the_page():
    """Each command and each option of `repro build` can be found there by its spelling."""
    page = (PROJECT / "docs" / "reference" / "commands.md").read_text()
    commands = ["validate", "plan", "lock", "build", "run", "status", "log", "why", "doctor", "image ls", "image build"]
    assert [] == [name for name in commands if f"# repro {name}\n" not in page]
    assert "`-e NAME`, `--environment NAME`" in page
