"""Logs and journals read while they grow."""

from __future__ import annotations

import threading
import time

import pytest

from repro.api.following import GrowingFile, JobOutputs
from repro.digest import Digest
from repro.events import JobFailed, JobRetried, JobStarted

KEY = Digest.of(b"key")


def test_lines_come_once_and_whole(tmp_path):
    """A line is told when its end is there, a character when all its bytes are; the rest at the end."""
    path = tmp_path / "log"
    file = GrowingFile(path)
    assert [] == file.lines()
    with path.open("wb") as log:
        log.write(b"one\ntw")
        log.flush()
        assert ["one"] == file.lines()
        log.write("o\nü".encode()[:-1])
        log.flush()
        assert ["two"] == file.lines()
        log.write("ü".encode()[-1:])
    assert [] == file.lines()
    assert ["ü"] == file.lines(last=True)


def test_a_renamed_log_is_read_to_its_end(tmp_path):
    """The log of a failed attempt goes out of the way of the next one's, and loses nothing."""
    path = tmp_path / "log"
    path.write_text("first\n")
    file = GrowingFile(path)
    assert ["first"] == file.lines()
    with path.open("a") as log:
        log.write("last words\n")
    path.rename(tmp_path / "log.attempt-1")
    path.write_text("second attempt\n")
    assert ["last words"] == file.lines(last=True)


@pytest.fixture
def outputs(tmp_path):
    """What was heard, and the listener that hears it."""
    heard: list[tuple[str, str]] = []
    listener = JobOutputs(lambda job: tmp_path / job, lambda job, line: heard.append((job, line)))
    yield heard, listener
    listener.close()


def test_output_is_heard_as_it_is_printed(tmp_path, outputs):
    """While a job runs its lines come by themselves; what it printed last comes with its end."""
    heard, listener = outputs
    listener(JobStarted("a", KEY, "new"))
    with (tmp_path / "a").open("w") as log:
        print("hello", file=log, flush=True)
        for _ in range(100):
            if heard:
                break
            time.sleep(0.05)
        assert [("a", "hello")] == heard
        print("bye", file=log, end="", flush=True)
        listener(JobFailed("a", 1, "", "", ""))
    assert [("a", "hello"), ("a", "bye")] == heard


def test_each_attempt_is_heard(tmp_path, outputs):
    """A second attempt's log is read from its beginning."""
    heard, listener = outputs
    for attempt, line in enumerate(("one", "two"), 1):
        (tmp_path / "a").write_text(f"{line}\n")
        listener(JobStarted("a", KEY, "new", attempt))
        listener(JobRetried("a", attempt, 1, "", 0.0, ""))
        (tmp_path / "a").rename(tmp_path / f"a.{attempt}")
    assert [("a", "one"), ("a", "two")] == heard
    listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "job output"]
