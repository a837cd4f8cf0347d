"""Tickets: what a node of a cluster needs to run a batch of jobs, as JSON; it reads no workflow and plans nothing.

A ticket holds jobs as `repro.workflow.model` has them. A value of a class is an object whose key ``""`` names it;
fields that have their defaults are left out, and a mapping that has a key ``""`` itself is written as a list of pairs.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.digest import Digest, Json
from repro.errors import DataError, Location
from repro.execution.image import Image
from repro.files import write_atomic
from repro.workflow import model

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from repro.workflow.model import Job

FORMAT = 1
_KIND = ""  # the key that names a class
_PAIRS = "pairs"  # its value for a mapping that has that key, too
_DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that one Slurm job runs one after the other, as far as its processors do not allow for more.

    Attributes:
        name: unique in the run.
        jobs: each with those of its ``needs`` that run in the same round, and resources as numbers.
        attempts: number of the attempt that each job is at, by its ID, where it is not the first.
        after: batches of the same round in which needs of the jobs run.
        cpus: what Slurm gives; so are ``memory`` (bytes), ``time`` (seconds), None: what the partition gives.
        memory: see ``cpus``.
        time: see ``cpus``.
        gpus: see ``cpus``.
        named: what a job takes of the run's named resources.
    """

    name: str
    jobs: tuple[Job, ...]
    attempts: Mapping[str, int] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    cpus: int = 1
    memory: int | None = None
    time: int | None = None
    gpus: int = 0
    named: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all batches of a round have in common.

    Attributes:
        run: the run's ID.
        project: absolute path of the project's folder, on every node.
        shown: the workflow file as the user named it.
        workflow: absolute path of the file, or of a copy beside which the lock's copy lies, where the workflow has
            inputs from elsewhere; empty: it has none.
        cwd: where the user called `repro`, for paths of secrets.
        images: by environment; where their layers are each node finds out.
        environ: variables for `repro` on nodes.
        scratch: folder for the jobs' worlds on nodes; ``$NAME`` in it is a node's variable. Empty: ``$TMPDIR``.
        secrets: what was said with ``--secret``: where the bytes are, never these.
        keep_going: jobs go on after one failed.
        forced: steps whose jobs run though nothing changed.
        fetched: what the lock says of the outputs of steps with ``fetch``, by project path.
        may_lock: whether more of them may be added to it.
    """

    run: str
    project: str
    shown: str
    workflow: str
    cwd: str
    images: tuple[Image, ...]
    environ: Mapping[str, str]
    scratch: str = ""
    secrets: tuple[str, ...] = ()
    keep_going: bool = False
    forced: tuple[str, ...] = ()
    fetched: Mapping[str, Digest] = field(default_factory=dict)
    may_lock: bool = True


_CLASSES: dict[str, type] = {
    **{name: one for name, one in inspect.getmembers(model, inspect.isclass) if dataclasses.is_dataclass(one)},
    **{one.__name__: one for one in (Batch, Image, Location, Shared)},
}


def write(path: Path, value: Batch | Shared) -> None:
    """Keep ``value`` in the file, atomically."""
    text = json.dumps({"format": FORMAT, "value": encoded(value)}, separators=(",", ":"))
    write_atomic(path, text.encode(), durable=False)  # a run that a power cut ended is not taken up again


def read_batch(path: Path) -> Batch:
    """Return what `write` kept; DataError where the file holds no batch of this version."""
    value = _read(path)
    if not isinstance(value, Batch):
        raise DataError(f"{path} holds no batch of jobs")
    return value


def read_shared(path: Path) -> Shared:
    """Return what `write` kept; DataError where the file holds nothing of that kind."""
    value = _read(path)
    if not isinstance(value, Shared):
        raise DataError(f"{path} does not say what its run is about")
    return value


def _read(path: Path) -> object:
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            hint = "install the same version of repro on all machines of the cluster"
            raise DataError(f"{path} was written by another version of repro", hint=hint)
        return decoded(document["value"])
    except OSError as error:
        hint = "the project must lie at the same path on the nodes, on a file system that all of them share"
        raise DataError(f"{path} cannot be read", why=error.strerror, hint=hint) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no ticket", why=f"{type(error).__name__}: {error}") from error


def encoded(value: object) -> Json:
    """Return ``value`` as what JSON can hold; TypeError for what no ticket has."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Digest):
        return {_KIND: _DIGEST, "text": str(value)}
    if isinstance(value, Mapping):
        if _KIND in value:
            return {_KIND: _PAIRS, "pairs": [[str(key), encoded(item)] for key, item in value.items()]}
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    if type(value).__name__ in _CLASSES and dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        told = {one.name: encoded(kept[one.name]) for one in dataclasses.fields(value) if not _plain(one, kept)}
        return {_KIND: type(value).__name__, **told}
    raise TypeError(f"a ticket cannot hold a {type(value).__name__}")


def _plain(one: dataclasses.Field[Any], kept: Mapping[str, object]) -> bool:
    """Return whether a field has its default value."""
    if one.default is not dataclasses.MISSING:
        return bool(kept[one.name] == one.default)
    return one.default_factory is not dataclasses.MISSING and kept[one.name] == one.default_factory()


def decoded(value: Json) -> object:
    """Return what `encoded` was given, lists as tuples; KeyError, TypeError or ValueError where it is no such thing."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        if _KIND not in value:
            return {key: decoded(item) for key, item in value.items()}
        kind = value[_KIND]
        if kind == _DIGEST:
            return Digest.parse(str(value["text"]))
        if kind == _PAIRS:
            return dict(decoded(value["pairs"]))  # type: ignore[call-overload]  # pairs, or a ValueError
        made: object = _CLASSES[str(kind)](**{name: decoded(item) for name, item in value.items() if name != _KIND})
        return made
    return tuple(decoded(item) for item in value)
