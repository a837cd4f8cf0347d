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


def test_the_commands_of_data_have_examples():
    """The help of each says how it is called."""
    page = (PROJECT / "docs" / "reference" / "commands.md").read_text()
    sections = {text.partition("\n")[0]: text for text in page.split("\n### ") if text.startswith("repro data ")}
    names = [f"repro data {name}" for name in ("ls", "get", "put", "check", "tree", "gc")]
    assert names == list(sections)
    assert [] == [name for name in names if f"\n{name} " not in sections[name].partition("```text")[2]]
