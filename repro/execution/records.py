"""Records of finished jobs, one file each: ``records/<step>/<job hash>/<key>.json``."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from repro.digest import Digest
from repro.errors import DataError
from repro.events import FileRecord, JobRecord, Usage, as_json
from repro.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class Records:
    """The records below ``root``. A record appears whole or not at all; a damaged one counts as missing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, step: str, job: str, key: Digest) -> Path:
        """Return where the record with this key lies."""
        return self._folder(step, job) / f"{key.hex}.json"

    def add(self, record: JobRecord) -> None:
        """Keep the record, atomically; one with the same key is replaced."""
        text = json.dumps(as_json(record), ensure_ascii=False, separators=(",", ":"))  # unsorted: order is declared
        write_atomic(self.path(record.step, record.job, record.key), text.encode())

    def find(self, step: str, job: str, key: Digest) -> JobRecord | None:
        """Return the record of ``job`` with this key."""
        return _read(str(self.path(step, job, key)))

    def latest(self, step: str, job: str) -> JobRecord | None:
        """Return the job's record that ended last."""
        folder = self._folder(step, job)
        try:
            names = [name for name in sorted(os.listdir(folder)) if name.endswith(".json") and name[0] != "."]
        except FileNotFoundError:
            return None
        found = [record for name in names if (record := _read(f"{folder}/{name}")) is not None]
        return max(found, key=lambda record: record.ended, default=None)

    def _folder(self, step: str, job: str) -> Path:
        return self.root / step / hashlib.sha256(job.encode()).hexdigest()[:16]


def _read(path: str) -> JobRecord | None:
    try:
        with open(path, "rb") as file:
            record = from_json(json.loads(file.read()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, DataError) as error:
        log.warning("record %s is damaged and counts as missing: %s", path, error)
        return None
    if f"{record.key.hex}.json" != os.path.basename(path):
        log.warning("record %s holds another key and counts as missing", path)
        return None
    return record


def from_json(value: object) -> JobRecord:
    """Return the record that `repro.events.as_json` turned into ``value``; DataError where it is none."""
    try:
        return _record(_mapping(value))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("not the record of a job", why=f"{type(error).__name__}: {error}") from error


def _record(value: dict[str, Any]) -> JobRecord:  # Any: JSON, checked field by field right here
    usage = _mapping(value["usage"])
    return JobRecord(
        key=Digest.parse(value["key"]),
        key_parts=_mapping(value["key_parts"]),
        job=str(value["job"]),
        step=str(value["step"]),
        command=str(value["command"]),
        environment=str(value["environment"]),
        image=Digest.parse(value["image"]),
        inputs={name: tuple(_file(item) for item in files) for name, files in _mapping(value["inputs"]).items()},
        outputs={name: _file(item) for name, item in _mapping(value["outputs"]).items()},
        code=tuple(_file(item) for item in value["code"]),
        resources=_mapping(value["resources"]),
        exit_status=int(value["exit_status"]),
        usage=Usage(
            wall=float(usage["wall"]),
            user=float(usage["user"]),
            system=float(usage["system"]),
            max_rss=int(usage["max_rss"]),
        ),
        started=str(value["started"]),
        ended=str(value["ended"]),
        host=str(value["host"]),
        dropped=tuple(str(item) for item in value.get("dropped", ())),
    )


def _file(value: object) -> FileRecord:
    item = _mapping(value)
    return FileRecord(
        str(item["path"]),
        Digest.parse(item["digest"]),
        int(item["size"]),
        folder=bool(item["folder"]),
        asserted=str(item.get("asserted", "")),  # older records have none
    )


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):  # as json gives it; an abstract Mapping would cost a no-op run a tenth
        raise TypeError(f"an object was expected, not {type(value).__name__}")
    return value
