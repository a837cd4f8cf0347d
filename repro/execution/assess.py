"""Whether a job must run: its key against the records, its outputs against what was recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from repro.data.checksum import Signature, StatCache, signature, walk
from repro.dataclass import dataclass
from repro.errors import DataError
from repro.events import FileRecord
from repro.execution.commands import key_command
from repro.execution.fetched import Unlocked, differing
from repro.execution.key import Change, asserted_text, changes, job_key, summary
from repro.execution.pinned import Nothing
from repro.execution.world import wanted_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from repro.digest import Digest, Json
    from repro.execution.fetched import Fetched
    from repro.execution.pinned import Pinned
    from repro.execution.records import Records
    from repro.workflow.model import Job

Checked: TypeAlias = tuple[FileRecord, Signature]  # the bytes, and the stamps taken before they were hashed


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands.

    ``status`` is ``cached``, ``run``, or ``pending`` where jobs that it needs run first; ``why`` says it in
    words; ``changes`` are the parts of its key that differ from its latest record.
    """

    job: Job
    status: str
    why: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """A job's key, what went into it, and the decision."""

    state: JobState
    key: Digest
    parts: Mapping[str, Json]
    inputs: Mapping[str, tuple[FileRecord, ...]]
    code: tuple[FileRecord, ...]
    read: Mapping[str, Checked]  # all inputs and code by project path

    @property
    def cached(self) -> bool:
        """Whether the job need not run."""
        return self.state.status == "cached"


class Files:
    """The project's files and the pinned inputs as seen now; what this process made is known without reading it.

    A temporary output that was removed because nobody needed it any more is still known, by its record.
    """

    def __init__(self, project: Path, cache: StatCache, pinned: Pinned | None = None) -> None:
        self.project = project
        self._root = os.fspath(project)
        self.cache = cache
        self.pinned = pinned or Nothing()
        self._made: dict[str, Checked] = {}
        self._passing: set[str] = set()  # temporary outputs that may be gone
        self._gone: dict[str, FileRecord] = {}

    def check(self, path: str) -> Checked:
        """Return record and stamps of the project path; DataError where it is missing, unreadable, or not as pinned."""
        if self.pinned.has(path):
            return self.pinned.check(path)
        try:
            place, folder = f"{self._root}/{path}", path.endswith("/")
            entries = walk(place) if folder else None  # once, for both
            stamps = signature(place, folder=folder, entries=entries)
            made = self._made.get(path)
            if made is not None and made[1] == stamps:
                return made
            return self.cache.record(self.project, path, entries), stamps
        except DataError as error:  # in the user's terms: paths are the project's
            if (record := self.gone(path)) is not None:
                return record, ()
            message = error.message.removeprefix(f"{self.project}/")
            raise DataError(message, why=error.why, hint=error.hint) from error

    def made(self, record: FileRecord) -> None:
        """Note an output that was hashed before it was moved here, and that only we have touched since."""
        self._made[record.path] = (record, signature(self.project / record.path, folder=record.folder))

    def may_go(self, paths: Iterable[str]) -> None:
        """Take these outputs for temporary: when they are missing, nothing is wrong."""
        self._passing.update(paths)

    def need(self, path: str) -> None:
        """Want a temporary output back: while it is missing, its job has to run."""
        self._passing.discard(path)

    def remember(self, record: FileRecord) -> bool:
        """Return whether an output that was recorded so is gone as it may be; it is known by its record from now on."""
        if record.path not in self._passing or os.path.lexists(os.path.join(self.project, record.path.rstrip("/"))):
            return False
        self._gone[record.path] = record
        return True

    def gone(self, path: str) -> FileRecord | None:
        """Return the record of a temporary output that is known to be gone."""
        record = self._gone.get(path) if path in self._passing else None
        missing = record is not None and not os.path.lexists(os.path.join(self.project, path.rstrip("/")))
        return record if missing else None

    def check_all(self, paths: Iterable[str]) -> dict[str, Checked]:
        """Return `check` of those paths that can be read, hashing files several at a time."""
        stamps: dict[str, Signature] = {}
        checked: dict[str, Checked] = {}
        for path in dict.fromkeys(paths):
            try:
                if path.endswith("/") or self.pinned.has(path):
                    checked[path] = self.check(path)
                else:
                    stamps[path] = signature(os.path.join(self.project, path), folder=False)
            except DataError:
                continue  # told where it is needed
        try:
            records = self.cache.records(self.project, list(stamps))
        except DataError:
            return checked  # the rest one by one, so that the error falls on the job that it concerns
        return checked | {record.path: (record, stamps[record.path]) for record in records}


class Assessor:
    """Decides about jobs. ``seen`` lets the jobs of one pass share what they read; without it all is read anew."""

    def __init__(
        self,
        files: Files,
        records: Records,
        platform: str,
        *,
        forced: frozenset[str] = frozenset(),
        fetched: Fetched | None = None,
    ) -> None:
        """``forced`` are steps whose jobs are never cached; ``fetched`` what those with ``fetch`` must have made."""
        self._files = files
        self._records = records
        self._platform = platform
        self._forced = forced
        self._fetched = fetched or Unlocked()

    def assess(self, job: Job, image: Digest, seen: dict[str, Checked] | None = None) -> Assessment:
        """Return the decision about a job whose inputs are all there; DataError where one is not."""
        seen = {} if seen is None else seen
        inputs = {
            name: tuple(self._check(path, seen) for path in (*bound.paths, *bound.companions))
            for name, bound in job.inputs.items()
        }
        code = tuple(self._check(path, seen) for path in job.code)
        key, parts = job_key(
            job, image=image, command=key_command(job), inputs=inputs, code=code, platform=self._platform
        )
        read = {path: seen[path] for path in wanted_paths(job)}
        return Assessment(self._decide(job, key, parts, read, seen), key, parts, inputs, code, read)

    def _decide(
        self,
        job: Job,
        key: Digest,
        parts: Mapping[str, Json],
        read: Mapping[str, Checked],
        seen: dict[str, Checked],
    ) -> JobState:
        if job.step.name in self._forced:
            return JobState(job, "run", "it is forced to")
        outputs = self._records.outputs(job.step.name, job.id, key)
        if outputs is not None:
            wrong = self._wrong_output(job, outputs, seen)
            return JobState(job, "run", wrong) if wrong else JobState(job, "cached", _unchanged(read))
        latest = self._records.latest(job.step.name, job.id)
        if latest is None:
            return JobState(job, "run", "it has no record yet")
        differing = changes(latest.key_parts, parts)
        return JobState(job, "run", summary(differing) or "the meaning of its key changed", differing)

    def _wrong_output(self, job: Job, outputs: Mapping[str, FileRecord], seen: dict[str, Checked]) -> str:
        for name, output in job.outputs.items():
            recorded = outputs.get(name)
            if output.temporary and recorded is not None and self._files.remember(recorded):
                continue
            try:
                now = self._check(output.path, seen)
            except DataError as error:
                missing = not os.path.lexists(self._files.project / output.path)
                return f"output {output.path} is missing" if missing else f"output {name}: {error.message}"
            if recorded is None or recorded.digest != now.digest:
                return f"output {output.path} is not as it was recorded"
        if job.step.fetch:
            for other, _locked in differing(tuple(outputs.values()), self._fetched):
                return f"output {other.path} is not what the lock says"
        return ""

    def _check(self, path: str, seen: dict[str, Checked]) -> FileRecord:
        found = seen.get(path)
        if found is None:
            found = seen[path] = self._files.check(path)
        return found[0]


def _unchanged(read: Mapping[str, Checked]) -> str:
    """Return why a job is cached: its inputs are what they were, or are said to be."""
    records = (record for record, _ in read.values())
    asserted = [f"{record.path} {asserted_text(record.asserted)}" for record in records if record.asserted]
    return f"unchanged; {', '.join(asserted)}" if asserted else "unchanged"
