"""Records of finished jobs: what is written comes back, and nothing damaged does."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.digest import Digest
from repro.errors import DataError
from repro.events import FileRecord, JobRecord, Usage, as_json
from repro.execution.records import Records, from_json

TEXT = st.text(max_size=8)
DIGESTS = st.binary(max_size=4).map(Digest.of)
FILES = st.builds(FileRecord, TEXT, DIGESTS, st.integers(0, 1 << 50), folder=st.booleans(), asserted=TEXT)
RECORDS = st.builds(
    JobRecord,
    key=DIGESTS,
    key_parts=st.dictionaries(TEXT, st.one_of(TEXT, st.lists(TEXT))),
    job=TEXT,
    step=st.just("step"),
    command=TEXT,
    environment=TEXT,
    image=DIGESTS,
    inputs=st.dictionaries(TEXT, st.lists(FILES, max_size=2).map(tuple), max_size=2),
    outputs=st.dictionaries(TEXT, FILES, max_size=2),
    code=st.lists(FILES, max_size=1).map(tuple),
    resources=st.dictionaries(TEXT, st.integers()),
    exit_status=st.integers(0, 255),
    usage=st.builds(Usage, st.floats(0, 9), st.floats(0, 9), st.floats(0, 9), st.integers(0)),
    started=TEXT,
    ended=TEXT,
    host=TEXT,
    dropped=st.lists(TEXT, max_size=2).map(tuple),
)


def make_record(key: bytes, ended: str, job: str = "a[x=1]") -> JobRecord:
    """Return a record with little in it."""
    file = FileRecord("out", Digest.of(key), 1)
    return JobRecord(
        Digest.of(key), {"command": "true"}, job, "a", "true", "tools", Digest.of(b"i"), {"z": (file,), "b": ()},
        {"z": file, "b": file}, (), {"cpus": 1}, 0, Usage(1.0, 0.5, 0.25, 4096), "t0", ended, "host", ("junk",),
    )  # fmt: skip


@given(record=RECORDS)
def test_json_round_trip(record):
    """A record survives JSON without loss."""
    assert record == from_json(json.loads(json.dumps(as_json(record))))


@given(RECORDS)
def test_older_record_asserts_nothing(record):
    """A record from before inputs could be asserted is read, and its digests are those of bytes."""
    document = json.loads(json.dumps(as_json(record)))
    files = [*(file for files in document["inputs"].values() for file in files), *document["outputs"].values()]
    for file in files:
        del file["asserted"]
    found = from_json(document)
    again = [*(file for files in found.inputs.values() for file in files), *found.outputs.values()]
    assert [""] * len(files) == [file.asserted for file in again]


def test_found_by_job_and_key(tmp_path):
    """A record is found by its job and key, and by nothing else; declared order is kept."""
    records = Records(tmp_path)
    record = make_record(b"k", "t1")
    records.add(record)
    found = records.find("a", "a[x=1]", record.key)
    assert record == found
    assert ["z", "b"] == list(found.outputs)
    assert found.outputs == records.outputs("a", "a[x=1]", record.key)
    assert records.outputs("a", "a[x=1]", Digest.of(b"other")) is None
    assert records.find("a", "a[x=2]", record.key) is None
    assert records.find("a", "a[x=1]", Digest.of(b"other")) is None


def test_latest_is_by_time(tmp_path):
    """The latest record is the one that ended last, whatever its key."""
    records = Records(tmp_path)
    assert records.latest("a", "a[x=1]") is None
    for key, ended in ((b"1", "2026-01-02"), (b"2", "2026-01-03"), (b"3", "2026-01-01")):
        records.add(make_record(key, ended))
    assert Digest.of(b"2") == records.latest("a", "a[x=1]").key
    written = records.path("a", "a[x=1]", Digest.of(b"3"))
    os.utime(written, ns=(0, written.stat().st_mtime_ns + 10**10))
    assert Digest.of(b"3") == records.latest("a", "a[x=1]").key, "written long after the others"
    written.write_text("{")
    os.utime(written, ns=(0, written.stat().st_mtime_ns + 10**10))
    assert Digest.of(b"2") == records.latest("a", "a[x=1]").key


def test_half_written_record_is_removed(tmp_path):
    """What a kill left of a record goes when the job is recorded again."""
    records = Records(tmp_path)
    folder = records.path("a", "a[x=1]", Digest.of(b"1")).parent
    folder.mkdir(parents=True)
    (folder / ".x.json.abc.tmp").write_text("{")
    records.add(make_record(b"1", "t1"))
    assert [f"{Digest.of(b'1').hex}.json"] == os.listdir(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"key": "sha256:00"}'])
def test_damaged_record_counts_as_missing(tmp_path, text):
    """A damaged record makes the job run again instead of stopping the run."""
    records = Records(tmp_path)
    record = make_record(b"k", "t1")
    records.add(record)
    records.path("a", "a[x=1]", record.key).write_text(text)
    assert records.find("a", "a[x=1]", record.key) is None
    assert records.outputs("a", "a[x=1]", record.key) is None
    assert records.latest("a", "a[x=1]") is None


def test_record_under_another_key_counts_as_missing(tmp_path):
    """A record that was copied to another key's name vouches for nothing."""
    records = Records(tmp_path)
    record = make_record(b"k", "t1")
    records.add(record)
    other = records.path("a", "a[x=1]", Digest.of(b"other"))
    records.path("a", "a[x=1]", record.key).rename(other)
    assert records.find("a", "a[x=1]", Digest.of(b"other")) is None
    assert records.outputs("a", "a[x=1]", Digest.of(b"other")) is None


def test_not_a_record_is_an_error():
    """What is no record is refused when read from elsewhere."""
    with pytest.raises(DataError, match="not the record of a job"):
        from_json({"key": 1})
