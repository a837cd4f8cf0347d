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
from repro.events import FileRecord, InputUsed, JobFinished, JobRecord, Usage
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


def test_input_from_elsewhere_is_told_without_its_bytes(host):
    """`why` on a fetched input, which is not in the project, says where it is from; so does what was made of it."""
    far = FileRecord("ref/x", Digest.of(b"far"), 3)
    near = FileRecord("db/", Digest.of(b"label"), 0, folder=True, asserted="label")
    record = JobRecord(
        Digest.of(b"key2"), {}, "use", "use", "use it", "tools", Digest.of(b"image"), {"x": (far,), "d": (near,)},
        {"o": FileRecord("y", Digest.of(b"y"), 1)}, (), {"cpus": 1}, 0, Usage(1.0, 1.0, 0.0, 1), "2026-01-02T00",
        "2026-01-02T01", "host",
    )  # fmt: skip
    with Journal(State(host.cwd).runs / "r2" / JOURNAL, lambda: datetime(2026, 1, 2, tzinfo=UTC)) as journal:
        journal(InputUsed("ref/x", "s3://b/x", "v7", far.digest, 3, 1, "sha256"))
        journal(InputUsed("db/", "site:db", "", near.digest, 0, 9, "label"))
        journal(JobFinished(record))
    asked = list(lineage_lines(why(host, "ref/x")))
    raw = "  no job made it: it is a raw input"
    assert [f"ref/x  {far.digest}  3 bytes", raw, "  from     s3://b/x  version v7", "  read by  use"] == asked
    (host.cwd / "y").write_text("y")
    made = list(lineage_lines(why(host, "y")))
    assert f"  input    x: ref/x  {far.digest}  3 bytes  from s3://b/x" in made
    shown = f"db/  {near.digest}  0 bytes  asserted (label)"
    assert f"  input    d: {shown}  from site:db" in made
    assert [f"  {shown}", "    from site:db", f"  {asked[0]}", "    from s3://b/x  version v7"] == made[-4:]
    (host.cwd / "in.txt").unlink()
    with pytest.raises(UsageError):
        why(host, "in.txt")


def test_parameters_stay_on_one_line(host):
    """Values that could be misread, or go over lines, are shown as JSON."""
    line = next(line for line in lineage_lines(why(host, "out")) if "params" in line)
    assert '  params   plain=a b, odd="x, y=1", lines="1\\n2", list=["a b", 3]' == line
