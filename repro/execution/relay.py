"""What nodes tell: each appends to a journal of its own, and the driver reads along and tells it on as events."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from repro import events
from repro.digest import Digest
from repro.errors import DataError
from repro.execution.records import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from repro.events import Event

PREFIX = "journal-"  # of the nodes' journals in the folder of a run

_TOLD = (
    events.ImageUsed, events.InputUsed, events.JobStarted, events.JobFinished, events.JobCached, events.JobFailed,
    events.JobRetried, events.Notice,
)  # fmt: skip
_KINDS: dict[str, type[Any]] = {one.kind: one for one in _TOLD}
_DIGESTS = {"key", "image", "recipe", "digest"}


def journal_name(batch: str) -> str:
    """Return the name of a batch's journal in the folder of its run."""
    return f"{PREFIX}{batch}.jsonl"


class Relay:
    """Reads the journals of batches under way, as far as they are there, again and again."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is the run's."""
        self._folder = folder
        self._offsets: dict[str, int] = {}
        self.begun: set[str] = set()  # batches of which something was read

    @property
    def following(self) -> tuple[str, ...]:
        """The batches whose journals are read."""
        return tuple(self._offsets)

    def follow(self, batch: str) -> None:
        """Read the journal of a batch from now on."""
        self._offsets.setdefault(batch, 0)

    def read(self) -> Iterator[Event]:
        """Yield what came since the last time; a line that is not whole yet waits."""
        for batch in self.following:
            yield from self._read(batch)

    def finish(self, batch: str) -> Iterator[Event]:
        """Yield what else there is of a batch that has ended, and read no more of it."""
        yield from self._read(batch)
        del self._offsets[batch]

    def _read(self, batch: str) -> Iterator[Event]:
        try:
            with (self._folder / journal_name(batch)).open("rb") as file:
                file.seek(self._offsets[batch])
                data = file.read()
        except OSError:  # not there yet, or its server is away for a moment
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[batch] += len(whole)
        self.begun.add(batch)
        for line in whole.splitlines():
            event = event_of(line)
            if event is not None:
                yield event


def event_of(line: bytes) -> Event | None:
    """Return the event in a line of a journal; None for one that concerns the node alone, and for a damaged line."""
    try:
        entry: Mapping[str, Any] = json.loads(line)
        kind = _KINDS.get(entry["kind"])
        if kind is None:
            return None
        names = [one.name for one in dataclasses.fields(kind)]
        event: Event = kind(**{name: _value(name, entry[name]) for name in names if name in entry})
    except (KeyError, TypeError, ValueError, DataError):  # a node that died while it wrote
        return None
    return event


def _value(name: str, value: Any) -> object:
    if name == "record":
        return from_json(value)
    if name in _DIGESTS and isinstance(value, str):
        return Digest.parse(value)
    if isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return value


def ended_lines(journal: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a journal that tell of a job that succeeded, each with the job."""
    for line in journal.read_bytes().splitlines(keepends=True):
        event = event_of(line) if line.endswith(b"\n") else None
        if isinstance(event, events.JobFinished):
            yield event.record.job, line
