"""`why` on files as they are on disk: in a folder output, changed, raw; and `status` of somebody else's project."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from repro.api.host import Host
from repro.api.questions import lineage_lines, why
from repro.data.checksum import StatCache
from repro.digest import Digest
from repro.errors import DataError, UsageError
from repro.events import JobFinished, JobRecord, Usage
from repro.execution.state import State
from repro.provenance.journal import JOURNAL, Journal

PARAMS = {"plain": "a b", "odd": "x, y=1", "lines": "1\n2", "list": ["a b", 3]}


@pytest.fixture
def host(tmp_path):
    """A host in a project in which one job made the folder ``out/`` of ``in.txt``."""
    (tmp_path / "in.txt").write_text("raw\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").write_text("made\n")
    cache = StatCache(tmp_path / "unused")
    record = JobRecord(
        Digest.of(b"key"), {"params": PARAMS}, "make", "make", "make it", "tools", Digest.of(b"image"),
        {"x": (cache.record(tmp_path, "in.txt"),)}, {"o": cache.record(tmp_path, "out/")}, (), {"cpus": 1}, 0,
        Usage(1.0, 1.0, 0.0, 1), "2026-01-01T00", "2026-01-01T01", "host",
    )  # fmt: skip
    with Journal(State(tmp_path).runs / "r1" / JOURNAL, lambda: datetime(2026, 1, 1, tzinfo=UTC)) as journal:
        journal(JobFinished(record))
    return dataclasses.replace(Host.current(), cwd=tmp_path)


def test_file_in_a_folder_output_must_be_as_it_was_made(host):
    """A file in a folder output leads to the folder's job, but not once anything in the folder was changed."""
    assert ("out/", "make") == (why(host, "out/a.txt").file.path, why(host, "out/a.txt").jobs[0].job)
    (host.cwd / "out/a.txt").write_text("edited by hand\n")
    with pytest.raises(DataError, match="out/ is not as any recorded job left it"):
        why(host, "out/a.txt")


def test_raw_input_is_told_with_its_readers(host):
    """`why` on an input says that it is raw and which jobs read it."""
    assert ["  no job made it: it is a raw input", "  read by  make"] == list(lineage_lines(why(host, "in.txt")))[1:]
    with pytest.raises(UsageError):
        why(host, "nothing.txt")


def test_parameters_stay_on_one_line(host):
    """Values that could be misread, or go over lines, are shown as JSON."""
    line = next(line for line in lineage_lines(why(host, "out")) if "params" in line)
    assert '  params   plain=a b, odd="x, y=1", lines="1\\n2", list=["a b", 3]' == line
