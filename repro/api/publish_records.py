"""What was published, kept in the project: ``.repro/published/<time>-<run>.json``, a file a publication."""

from __future__ import annotations

import json
import logging
from datetime import UTC
from typing import TYPE_CHECKING, Any

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError
from repro.events import as_json
from repro.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from repro.data.publication import Published

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A published file.

    ``path`` is its project path, ``address`` where it is, without any login; ``state`` says whether it was ``sent`` or
    ``there`` already, and of a dry run ``missing`` or ``differs``; ``version`` and ``etag`` are the target's, where it
    gives any.
    """

    path: str
    address: str
    digest: Digest
    size: int
    state: str
    version: str = ""
    etag: str = ""

    @classmethod
    def of(cls, one: Published, path: str, folder: str) -> PublishedFile:
        """Return how the file ``path`` stands below the address ``folder``."""
        version, etag = ("", "") if one.found is None else (one.found.version, one.found.etag)
        return cls(path, f"{folder}{one.item.name}", one.item.digest, one.item.size, one.state, version, etag)


@dataclass(frozen=True, slots=True)
class PublicationRecord:
    """A publication: ``time`` in UTC, ``run`` the last run before it (empty: none is known)."""

    time: str
    run: str
    workflow: str
    files: tuple[PublishedFile, ...]


def keep_record(
    folder: Path, files: Sequence[PublishedFile], *, run: str, workflow: str, now: datetime
) -> PublicationRecord:
    """Keep a record in ``folder``, unless an earlier one says the same of the same run; return it."""
    moment = now.astimezone(UTC)
    record = PublicationRecord(moment.isoformat(timespec="milliseconds"), run, workflow, tuple(files))
    told = {(file.path, file.address, file.digest) for file in files}
    for earlier in read_records(folder) if all(file.state == "there" for file in files) else ():
        if earlier.run == run and told <= {(file.path, file.address, file.digest) for file in earlier.files}:
            return earlier
    name = f"{moment:%Y%m%dT%H%M%S.%fZ}-{run or 'no-run'}.json"
    write_atomic(folder / name, json.dumps(as_json(record), indent=2, ensure_ascii=False).encode())
    return record


def read_records(folder: Path) -> tuple[PublicationRecord, ...]:
    """Return the records in ``folder``, the newest first; a damaged one is left out."""
    found = []
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            found.append(_record(json.loads(path.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, DataError) as error:
            log.warning("the record %s of a publication cannot be read: %s", path, error)
    return tuple(found)


def _record(value: dict[str, Any]) -> PublicationRecord:  # Any: JSON, checked field by field right here
    files = tuple(
        PublishedFile(
            path=str(one["path"]),
            address=str(one["address"]),
            digest=Digest.parse(one["digest"]),
            size=int(one["size"]),
            state=str(one["state"]),
            version=str(one["version"]),
            etag=str(one["etag"]),
        )
        for one in value["files"]
    )
    return PublicationRecord(str(value["time"]), str(value["run"]), str(value["workflow"]), files)
