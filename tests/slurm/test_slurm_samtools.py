"""The walk-through of the README on Slurm."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.accounts import PROJECT
from tests.slurm.conftest import PROFILE, Desk

pytestmark = [pytest.mark.judge, pytest.mark.archive, pytest.mark.timeout(1800)]

OWN = ("work", "results", ".repro")


def test_samtools_as_on_this_host(lab, store, tmp_path, download_cache, monkeypatch):
    """examples/samtools gives the same bytes on a node as here, job by job."""
    monkeypatch.setenv("REPRO_CACHE", str(download_cache))
    root = tmp_path / "samtools"
    shutil.copytree(PROJECT / "examples/samtools", root, ignore=shutil.ignore_patterns(*OWN))
    desk = Desk(root, store, lab)
    here = desk.repro("run", timeout=1500)
    assert 0 == here.returncode, here.stderr
    assert "19 ran, 0 cached" in here.stderr
    expected = desk.digests("work", "results")
    for name in OWN:
        shutil.rmtree(root / name)
    desk.write("profiles/slurm.yaml", PROFILE)
    away = desk.run()
    assert "19 ran, 0 cached" in away.stderr
    assert expected == desk.digests("work", "results")
    assert len(expected) > 30
    assert {os.getuid()} == {path.stat().st_uid for path in (root / "results").rglob("*")}
    assert [] == lab.queue()
