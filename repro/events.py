"""What happens, as frozen values: parts emit them, the journal and the console listen.

An event carries no time: a sink stamps what it keeps. Every field is JSON-able by `as_json`, so that the journal
is a plain list of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, TypeAlias

from repro.dataclass import dataclass
from repro.digest import Digest, Json


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file or folder that a job read or wrote: project path, size in bytes (a folder's: of all files), digest.

    ``asserted`` says what was declared to stand for the bytes of an input that was not read to be hashed (``stat``,
    ``manifest``, ``label``: `repro.workflow.model.Fingerprint`); empty where the digest is that of the bytes.
    """

    path: str
    digest: Digest
    size: int
    folder: bool = False
    asserted: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job used: seconds, and the largest resident set of one process in bytes."""

    wall: float
    user: float
    system: float
    max_rss: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What a finished job left; the job key is the record's name.

    ``key_parts`` are the parts whose digest ``key`` is, so that a later plan can say which of them changed.
    ``inputs`` and ``outputs`` map the declared names to files, in their declared order.
    """

    key: Digest
    key_parts: Mapping[str, Json]
    job: str
    step: str
    command: str
    environment: str
    image: Digest
    inputs: Mapping[str, tuple[FileRecord, ...]]
    outputs: Mapping[str, FileRecord]
    code: tuple[FileRecord, ...]
    resources: Mapping[str, Json]
    exit_status: int
    usage: Usage
    started: str
    ended: str
    host: str
    dropped: tuple[str, ...] = ()  # undeclared files that the job wrote


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins: ``jobs`` is their number, ``workflow`` the file's name, its digest beside it."""

    kind: ClassVar[str] = "run-started"
    run: str
    workflow: str
    workflow_digest: Digest
    lock_digest: Digest | None
    jobs: int
    host: str
    user: str
    version: str


@dataclass(frozen=True, slots=True)
class ImageUsed:
    """An environment's image, told once a run before its first job; ``packages`` as (name, version)."""

    kind: ClassVar[str] = "image-used"
    environment: str
    image: Digest
    recipe: Digest | None
    packages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class InputUsed:
    """An entry of ``inputs:`` that jobs of this run may read, told once a run: where its bytes come from.

    ``uri`` is as the lock has it, without any login; ``version`` is that of a single S3 object, ``files`` how many
    there are, ``fingerprint`` what the digest stands on (``sha256``: the bytes).
    """

    kind: ClassVar[str] = "input-used"
    path: str
    uri: str
    version: str
    digest: Digest
    size: int
    files: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job's container is about to start; ``attempt`` from 1."""

    kind: ClassVar[str] = "job-started"
    job: str
    key: Digest
    why: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class JobFinished:
    """A job succeeded and its outputs are in the project."""

    kind: ClassVar[str] = "job-finished"
    record: JobRecord


@dataclass(frozen=True, slots=True)
class JobCached:
    """A job need not run: a record with its key exists and the outputs are as recorded."""

    kind: ClassVar[str] = "job-cached"
    job: str
    key: Digest


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job failed: ``exit_status`` is None where no process was started; ``log`` is a project path.

    ``debug`` is the command that steps into its container; empty where it came to none.
    """

    kind: ClassVar[str] = "job-failed"
    job: str
    exit_status: int | None
    message: str
    hint: str
    log: str
    debug: str = ""


@dataclass(frozen=True, slots=True)
class JobRetried:
    """Attempt number ``attempt`` at a job failed; another one comes after ``pause`` seconds. ``log`` is its own."""

    kind: ClassVar[str] = "job-retried"
    job: str
    attempt: int
    exit_status: int | None
    message: str
    pause: float
    log: str


@dataclass(frozen=True, slots=True)
class JobSkipped:
    """A job does not run because ``because`` failed: ``needed`` by it, or else the failure that ends the run."""

    kind: ClassVar[str] = "job-skipped"
    job: str
    because: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class JobsAdded:
    """The jobs of steps that range over what earlier steps made are known now: so many more than were told."""

    kind: ClassVar[str] = "jobs-added"
    steps: tuple[str, ...]
    jobs: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run ended; the counts add up to its jobs (those not reached after an interrupt aside)."""

    kind: ClassVar[str] = "run-finished"
    run: str
    status: str  # "succeeded", "failed" or "interrupted"
    ran: int
    cached: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class BuildStep:
    """An instruction of a build: ``number`` of ``total`` in its stage; told when it starts and when it is done.

    ``reason`` says why it came from the cache or did not (``hit``, ``miss: a.txt changed``); empty where that was
    not asked for, and for instructions that make no layer.
    """

    kind: ClassVar[str] = "build-step"
    image: str
    stage: str
    number: int
    total: int
    text: str
    state: str  # "started", "cached", "done" or "failed"
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BuildOutput:
    """A line that a RUN instruction printed, as it comes; ``stage`` and ``number`` are those of its `BuildStep`."""

    kind: ClassVar[str] = "build-output"
    image: str
    text: str
    stage: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a lengthy part has come: ``done`` of ``total`` in ``unit`` (``bytes``, ``packages``)."""

    kind: ClassVar[str] = "progress"
    what: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know; ``level`` is ``info`` or ``warning``."""

    kind: ClassVar[str] = "notice"
    level: str
    text: str


Event: TypeAlias = (
    RunStarted
    | ImageUsed
    | InputUsed
    | JobStarted
    | JobFinished
    | JobCached
    | JobFailed
    | JobRetried
    | JobSkipped
    | JobsAdded
    | RunFinished
    | BuildStep
    | BuildOutput
    | Progress
    | Notice
)
Sink: TypeAlias = Callable[[Event], None]  # called from any thread; must not block for long


def ignore(event: Event) -> None:
    """Listen to nothing."""


_PLAIN = (str, bool, int, float)  # a tuple: asked of each value in 10,000 jobs, a union made anew costs five times it


def as_json(value: object) -> Json:
    """Return dataclasses, digests, tuples and mappings as what JSON can hold; field names become keys."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, Enum):
        return as_json(value.value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        items = sorted(value) if isinstance(value, frozenset | set) else value
        return [as_json(item) for item in items]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    raise TypeError(f"not JSON-able: {type(value).__name__}")


def event_json(event: Event) -> dict[str, Json]:
    """Return the event's fields with its ``kind`` in front, as the journal keeps it."""
    fields = as_json(event)
    assert isinstance(fields, dict)
    return {"kind": event.kind, **fields}
