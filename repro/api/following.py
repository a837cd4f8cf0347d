"""Files that grow, read as they do: what running jobs print, and the journal of a run that another process makes."""

from __future__ import annotations

import codecs
import json
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from repro.api.project import open_project
from repro.api.run_history import find_run, holder, job_log
from repro.errors import UsageError
from repro.events import JobFailed, JobFinished, JobRetried, JobStarted
from repro.execution.state import State
from repro.provenance import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from repro.api.host import Host
    from repro.events import Event
    from repro.provenance.journal import Entry

_PAUSE: Final = 0.1  # seconds between two looks at a file
_MOST: Final = 1 << 20  # bytes read at once


class GrowingFile:
    """The lines of a text file so far, and later those that have come since; one that is not there yet has none.

    Once seen it stays the same file, also when it is renamed and another one takes its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def lines(self, *, last: bool = False) -> list[str]:
        """Return the new lines without their ends; ``last``: also one that has no end yet, and close the file."""
        found: list[str] = []
        while data := self._read():
            *whole, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
            found += whole
        if last:
            found += [self._rest] if self._rest else []
            self._rest = ""
            self.close()
        return found

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> bytes:
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return b""
        return self._file.read(_MOST)


class JobOutputs:
    """Tells ``hear`` of each line that a job of a run prints, with the job's id, from a thread of its own.

    A sink of the run's events, whose process it is in; `close` ends it.
    """

    def __init__(self, log_of: Callable[[str], Path], hear: Callable[[str, str], None]) -> None:
        self._log_of = log_of
        self._hear = hear
        self._files: dict[str, GrowingFile] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Begin to read a job's log where it starts; tell the rest of it where it ends."""
        with self._lock:
            match event:
                case JobStarted(job=job):
                    self._files[job] = GrowingFile(self._log_of(job))
                    self._start()
                case JobFinished(record=record):
                    self._end(record.job)
                case JobFailed(job=job) | JobRetried(job=job):
                    self._end(job)
                case _:
                    return

    def close(self) -> None:
        """Tell what is left, and end the thread; idempotent."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for job in list(self._files):
                self._end(job)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="job output", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._closed.wait(_PAUSE):
            with self._lock:
                for job, file in self._files.items():
                    self._tell(job, file.lines())

    def _end(self, job: str) -> None:
        file = self._files.pop(job, None)
        if file is not None:
            self._tell(job, file.lines(last=True))

    def _tell(self, job: str, lines: list[str]) -> None:
        for line in lines:
            self._hear(job, line)


def follow_run(host: Host, named: str | None, run: str) -> Iterator[Entry]:
    """Give the entries of a run's journal, and while it goes on those that come; ends with the run.

    Raises:
        UsageError: there is no such run (an ID, the start of one, or ``last``).
    """
    state = State(open_project(host, named).root)
    found = find_run(state.runs, run)
    with closing(GrowingFile(state.runs / found / journal.JOURNAL)) as file:
        while True:
            ended = not _goes_on(state, found)  # before reading: what is written in between is not missed
            entries = [json.loads(line) for line in file.lines()]
            yield from entries
            if ended or any(entry["kind"] == "run-finished" for entry in entries):
                return
            time.sleep(_PAUSE)


def follow_log(host: Host, named: str | None, run: str, job: str) -> Iterator[str]:
    """Give the lines that a job printed in a run, and those that come while it runs.

    Raises:
        UsageError: there is no such run, or no such job in it.
    """
    state = State(open_project(host, named).root)
    found = find_run(state.runs, run)
    try:
        file = GrowingFile(job_log(host, named, run, job))
    except UsageError:
        if not _goes_on(state, found):
            raise
        file = GrowingFile(state.log(found, job))  # it has not begun yet
    with closing(file):
        while True:
            ended = not _goes_on(state, found) or _has_ended(state, found, job)
            yield from file.lines(last=ended)
            if ended:
                return
            time.sleep(_PAUSE)


def _goes_on(state: State, run: str) -> bool:
    """Return whether a process is at the run; a run names itself in what it holds the project with."""
    return run in (holder(state) or "").split()


def _has_ended(state: State, run: str, job: str) -> bool:
    jobs = journal.jobs(journal.read(state.runs / run / journal.JOURNAL))
    return any(one.job == job and one.state not in {"running", "retried"} for one in jobs)
