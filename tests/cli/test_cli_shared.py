"""A project that belongs to somebody else and may only be read."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_questions_need_no_right_to_write(ordinary):
    """`status` and `log` answer in a folder whose lock file another user holds for itself."""
    folder = ordinary.home.parent / "shared"
    folder.mkdir(exist_ok=True)
    (folder / ".repro").mkdir(exist_ok=True)
    (folder / ".repro/lock").touch(0o600)
    (folder / "workflow.yaml").write_text(
        "repro: 1\nname: shared\nenvironments: {base: {base: {archive: debian, suite: bookworm}}}\n"
        "steps: {one: {environment: base, outputs: {o: out.txt}, run: echo > out.txt}}\n"
    )
    done = ordinary.repro("status", cwd=folder)
    assert (0, "no run yet: start one with `repro run`\n") == (done.returncode, done.stdout), done.stderr
    assert 0 == ordinary.repro("log", cwd=folder).returncode
