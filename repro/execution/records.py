"""Records of finished jobs, one file each: ``records/<step>/<job hash>/<key>.json``."""

from __future__ import annotations

import contextlib
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
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_PIECE = 1 << 15  # bytes read at once: most records are smaller
_AT_ONCE_NS = 2_000_000_000


class Records:
    """The records below ``root``. A record appears whole or not at all; a damaged one counts as missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = os.fspath(root)

    def path(self, step: str, job: str, key: Digest) -> Path:
        """Return where the record with this key lies."""
        return self.root / step / _place(job) / f"{key.hex}.json"

    def add(self, record: JobRecord) -> None:
        """Keep the record, atomically; one with the same key is replaced, and what a kill left half written removed."""
        text = json.dumps(as_json(record), ensure_ascii=False, separators=(",", ":"))  # unsorted: order is declared
        path = self.path(record.step, record.job, record.key)
        write_atomic(path, text.encode())
        for name in os.listdir(path.parent):
            if name.startswith(".") and name.endswith(".tmp"):  # nobody else writes records of this job
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path.parent / name)

    def find(self, step: str, job: str, key: Digest) -> JobRecord | None:
        """Return the record of ``job`` with this key."""
        return _read(f"{self._folder(step, job)}/{key.hex}.json")

    def outputs(self, step: str, job: str, key: Digest) -> Mapping[str, FileRecord] | None:
        """Return the outputs in the record with this key, sooner than the whole: for each job of a run without news."""
        path = f"{self._folder(step, job)}/{key.hex}.json"
        value = _load(path)
        if value is None:
            return None
        try:
            if value["key"] == f"sha256:{key.hex}":
                return {name: _file(item) for name, item in _mapping(value["outputs"]).items()}
        except (KeyError, TypeError, ValueError, DataError):
            pass
        find = _read(path)  # tells what is wrong with it
        return None if find is None else find.outputs

    def latest(self, step: str, job: str) -> JobRecord | None:
        """Return the job's record that ended last.

        It is the file that was written last. Where two were written at about the same time, as by a copy of the whole
        project, what is in all of them decides.
        """
        try:
            with os.scandir(self._folder(step, job)) as entries:
                files = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if _is_record(entry.name)]
        except FileNotFoundError:
            return None
        files.sort(reverse=True)
        if len(files) > 1 and files[0][0] - files[1][0] > _AT_ONCE_NS:
            record = _read(files[0][1])
            if record is not None:
                return record
        found = [record for _, path in files if (record := _read(path)) is not None]
        return max(found, key=lambda record: record.ended, default=None)

    def _folder(self, step: str, job: str) -> str:
        return f"{self._top}/{step}/{_place(job)}"


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _place(job: str) -> str:
    return hashlib.sha256(job.encode()).hexdigest()[:16]


def _load(path: str) -> dict[str, Any] | None:
    """Return what the file holds as JSON; None where it is missing or damaged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _PIECE)
            while piece := os.read(descriptor, _PIECE):
                data += piece
        finally:
            os.close(descriptor)
        return _mapping(json.loads(data.decode()))
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError) as error:
        log.warning("record %s is damaged and counts as missing: %s", path, error)
        return None


def _read(path: str) -> JobRecord | None:
    value = _load(path)
    if value is None:
        return None
    try:
        record = from_json(value)
    except DataError as error:
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
