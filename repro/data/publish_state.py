"""How far a publication has come, kept on this machine: the next one goes on from there, however this one ended.

::

    <folder>/lock           held by the publication that is under way
    <folder>/known.json     what is at the target, as the last publication that ended left it
    <folder>/journal.jsonl  how far the files of one that has not ended are: the last line about a file counts
    <folder>/SHA256SUMS     the list of checksums that is published last
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any

from repro.data.sources.model import Found
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError
from repro.events import as_json
from repro.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repro.digest import Json

_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, DataError)


class Phase(Enum):
    """How far a file has come: brought out of sight, on its way to its name, or under it."""

    STAGED = "staged"
    COMMITTING = "committing"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class Progressed:
    """A file of a publication that has not ended.

    ``token`` is what `Target.stage` gave, whole or not; ``found`` what was put in place, once it was; ``replaced``
    whether something else was there before.
    """

    name: str
    digest: Digest
    size: int
    phase: Phase
    token: Mapping[str, Json]
    found: Found | None = None
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What was put at a name: ``found`` is how the target described it then."""

    digest: Digest
    found: Found


class PublishState:
    """The state in ``folder``; safe from many threads. A change outlives the process once its method returns.

    A power cut may take the last ones, and what is damaged counts as not there: then only work is lost, for what is at
    the target is looked at again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = folder / "journal.jsonl"
        self._guard = threading.Lock()
        self._files: dict[str, Progressed] = {}
        self._known: dict[str, Known] = {}

    def load(self) -> None:
        """Read what an earlier publication left."""
        with contextlib.suppress(OSError):
            for line in self._journal.read_bytes().splitlines():
                with contextlib.suppress(*_DAMAGED):
                    self._take(json.loads(line))
        with contextlib.suppress(OSError, *_DAMAGED):
            document = json.loads((self.folder / "known.json").read_bytes())
            self._known = {
                name: Known(Digest.parse(value["digest"]), _found(value["found"])) for name, value in document.items()
            }

    def _take(self, value: dict[str, Any]) -> None:  # Any: JSON, checked field by field
        if value["phase"] is None:
            self._files.pop(value["name"], None)
        else:
            entry = _progressed(value)
            self._files[entry.name] = entry

    def entries(self) -> tuple[Progressed, ...]:
        """Return the files of a publication that has not ended, sorted by name."""
        return tuple(self._files[name] for name in sorted(self._files))

    def entry(self, name: str) -> Progressed | None:
        """Return how far ``name`` has come; None where nothing was done for it."""
        return self._files.get(name)

    def known(self, name: str, found: Found) -> Digest | None:
        """Return the digest of what is at ``name``, where it is what we put there: the target's ETag says so.

        None also where that was not settled when it was seen (`Found`): the same ETag may be that of other bytes.
        """
        entry = self._files.get(name)
        mine = self._known.get(name)
        if entry is not None and entry.found is not None:
            mine = Known(entry.digest, entry.found)
        if mine is None or not mine.found.settled or not found.etag:
            return None
        return mine.digest if (mine.found.etag, mine.found.size) == (found.etag, found.size) else None

    def keep(self, entry: Progressed) -> None:
        """Keep how far a file has come."""
        with self._guard:
            if self._files.get(entry.name) != entry:
                self._append(as_json(entry))
                self._files[entry.name] = entry

    def drop(self, name: str) -> None:
        """Forget how far a file has come; idempotent."""
        with self._guard:
            if self._files.pop(name, None) is not None:
                self._append({"name": name, "phase": None})

    def finish(self, known: Mapping[str, Known]) -> None:
        """Keep what is at the target now, and forget how that came about."""
        self._known = dict(known)
        write_atomic(self.folder / "known.json", json.dumps(as_json(known)).encode(), durable=False)
        self._files = {}
        self._journal.unlink(missing_ok=True)

    def _append(self, value: Json) -> None:
        """Add a line in one write; it begins with the end of one that a crash may have cut short."""
        line = f"\n{json.dumps(value, separators=(',', ':'))}\n".encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


def _progressed(value: dict[str, Any]) -> Progressed:  # Any: JSON, checked field by field right here
    found = value["found"]
    return Progressed(
        name=str(value["name"]),
        digest=Digest.parse(value["digest"]),
        size=int(value["size"]),
        phase=Phase(value["phase"]),
        token=dict(value["token"]),
        found=None if found is None else _found(found),
        replaced=bool(value["replaced"]),
    )


def _found(value: dict[str, Any]) -> Found:  # Any: as above
    digest = value["digest"]
    return Found(
        size=int(value["size"]),
        digest=None if digest is None else Digest.parse(digest),
        etag=str(value["etag"]),
        version=str(value["version"]),
        settled=bool(value["settled"]),
    )
