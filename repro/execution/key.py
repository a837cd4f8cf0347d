"""The job key: a digest over everything declared that decides a job's result.

Resources are left out: a result must not hang on them, and a record says what they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import Digest, Json, record_digest
from repro.events import as_json

if TYPE_CHECKING:
    from repro.events import FileRecord
    from repro.workflow.model import Job

KIND = "job-key/1"  # hashed with the parts; another meaning of the parts needs another kind

# The order in which changes are told: what the scientist did first.
_ORDER = (
    "command",
    "argv",
    "script",
    "params",
    "values",
    "inputs",
    "lists",
    "code",
    "env",
    "image",
    "outputs",
    "network",
    "fetch",
    "entrypoint",
    "user",
    "companions",
    "secrets",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a job key that differs from the job's latest record; None where the part was not there."""

    part: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.part} is new"
        if self.new is None:
            return f"{self.part} is gone"
        if "\n" in self.old + self.new or len(self.old) + len(self.new) > 80:
            return f"{self.part} changed"
        return f"{self.part}: {self.old} -> {self.new}"


def job_key(
    job: Job,
    *,
    image: Digest,
    command: str | tuple[str, ...],
    inputs: Mapping[str, Sequence[FileRecord]],
    code: Sequence[FileRecord],
    platform: str,
) -> tuple[Digest, dict[str, Json]]:
    """Return the key and the parts whose digest it is.

    Args:
        job: the job.
        image: ID of the image that it runs in.
        command: the rendered command with resources left symbolic: its words where ``run`` is a list; for a
            script, its path.
        inputs: the bound inputs in declared order, the companions of each after its own files.
        code: the script and the code it may import.
        platform: ``linux/amd64``.
    """
    step = job.step
    parts: dict[str, Json] = {
        "image": str(image),
        # by form: the list [echo, a] and the text "echo a" are different commands
        ("script" if step.script is not None else "command" if isinstance(command, str) else "argv"): as_json(command),
        "env": dict(step.env),
        "params": as_json(job.params),
        "values": {name: as_json(job.values[name]) for name in job.used},
        "inputs": {name: _files(files) for name, files in inputs.items()},
        "lists": sorted(name for name, bound in job.inputs.items() if bound.many),
        "code": _files(code),
        "outputs": {name: output.path for name, output in job.outputs.items()},
        "network": step.network,
        "platform": platform,
    }
    # What few steps have is in the keys of these alone.
    parts |= {name: True for name in ("fetch", "entrypoint") if getattr(step, name)}
    if step.user is not None:
        parts["user"] = step.user
    if companions := {name: list(bound.companions) for name, bound in job.inputs.items() if bound.companions}:
        parts["companions"] = companions
    if step.secrets:
        parts["secrets"] = sorted(step.secrets)  # names alone: a new password is no new result, and none must be kept
    return record_digest(KIND, parts), parts


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[Change, ...]:
    """Return what differs between the parts of two keys, most telling first."""
    before, after = _flat(old), _flat(new)
    names = [*after, *(name for name in before if name not in after)]
    return tuple(
        Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def summary(found: Sequence[Change]) -> str:
    """Return one line that names the changes, three at most."""
    shown = ", ".join(str(change) for change in found[:3])
    return shown if len(found) <= 3 else f"{shown} and {len(found) - 3} more"


def asserted_text(kind: str) -> str:
    """Return how it is said that a digest stands on what was declared (``kind`` of fingerprint), not on the bytes."""
    return f"asserted ({kind})"


def _files(files: Sequence[FileRecord]) -> list[Json]:
    return [[file.path, str(file.digest), *([file.asserted] if file.asserted else [])] for file in files]


def _flat(parts: Mapping[str, Json]) -> dict[str, str]:
    """Return the parts as lines of name and value; a file's name is its part's and its path."""
    flat: dict[str, str] = {}
    known = [name for name in _ORDER if name in parts]
    for part in [*known, *(name for name in parts if name not in _ORDER)]:
        value = parts[part]
        if part == "code":
            flat.update(_flat_files("code", value))
        elif isinstance(value, Mapping):
            for name, item in value.items():
                if part == "inputs":
                    flat.update(_flat_files(f"inputs.{name}", item))
                else:
                    flat[f"{part}.{name}"] = _value(item)
        else:
            flat[part] = _value(value)
    return flat


def _flat_files(part: str, files: Json) -> dict[str, str]:
    flat: dict[str, str] = {}
    if isinstance(files, Sequence) and not isinstance(files, str):
        for item in files:
            if isinstance(item, Sequence) and len(item) in (2, 3):  # path, digest, and how it is asserted
                digest = str(item[1]).removeprefix("sha256:")[:12]
                flat[f"{part} {item[0]}"] = digest if len(item) == 2 else f"{digest} {asserted_text(str(item[2]))}"
    return flat


def _value(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
