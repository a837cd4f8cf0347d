"""`repro data`: the inputs of a workflow looked at, fetched, checked at their sources; the cache kept small."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.inputs import Inputs
from repro.api.lockfile import LockFile
from repro.api.project import DEFAULT_FILE, holding, open_project
from repro.data.checksum import StatCache, walk
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import DataError, FetchError, StoreError, UsageError
from repro.events import ignore
from repro.files import reflink, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.api.host import Host
    from repro.api.project import Project
    from repro.data.model import InputLock
    from repro.events import FileRecord, Sink
    from repro.workflow.model import DataSource

_NAMED = 3  # differences that a line tells


@dataclass(frozen=True, slots=True)
class DataRow:
    """An input: what is locked of it, and where its bytes are.

    ``state`` is ``not locked``, ``declared anew`` (since it was locked), ``in place`` (on this machine, bound from
    there), ``missing`` (it should be there), ``cached`` or ``elsewhere`` (fetched when a job needs it). ``standing``
    is ``proven`` where the digest is that of the bytes, else ``asserted`` with what was declared.
    """

    path: str
    source: str
    files: int | None
    size: int | None
    digest: Digest | None
    state: str
    standing: str
    private: bool


def list_data(host: Host, named: str | None, *, sink: Sink = ignore) -> tuple[DataRow, ...]:
    """Return a row for each input, in declared order; no byte is read, and nobody asked."""
    with _opened_inputs(host, named, sink) as (project, lock, inputs):
        return tuple(_row(source, lock, inputs) for source in project.workflow.inputs.values())


def _row(source: DataSource, lock: LockFile, inputs: Inputs) -> DataRow:
    address = source.uri if source.uri is not None else f"site:{source.site}"
    current, known = lock.current_input(source.path), lock.content.inputs.get(source.path)
    kind = source.fingerprint.kind
    standing = "proven" if kind == "sha256" else f"asserted ({kind})"
    place = inputs.local(source)
    if current is None:
        state = "not locked" if known is None else "declared anew"
    elif place is not None:
        state = "in place" if place.exists() else "missing"
    else:
        state = "cached" if inputs.cached(source.path) else "elsewhere"
    count, size, digest = (None, None, None) if current is None else (current.count, current.size, current.digest)
    return DataRow(source.path, address, count, size, digest, state, standing, source.private)


@dataclass(frozen=True, slots=True)
class Gotten:
    """An input that is here: ``place`` is the path of this machine where its bytes are."""

    path: str
    place: str
    digest: Digest
    size: int


def get_data(
    host: Host, named: str | None, paths: Sequence[str], *, to: str | None = None, sink: Sink
) -> tuple[Gotten, ...]:
    """Have inputs on this machine, locked where they are not yet; with ``to`` also in that folder, at their paths.

    What is put into the folder is a reflink where the file system has them, else a copy: never a link to the cache.

    Raises:
        UsageError: a path is no input.
        FetchError, DataError: it cannot be had, or is not what was locked; in ``to`` other bytes are in the way.
    """
    found = []
    with _opened_inputs(host, named, sink, fetching=True) as (project, lock, inputs):
        wanted = _chosen(project, inputs, paths)
        with holding(host, project, "repro data get"):
            inputs.pin()
        for path in wanted:
            record = inputs.check(path)[0]
            place = inputs.place(path)
            if to is not None:
                target = Path(os.path.normpath(host.cwd / to / path.rstrip("/")))
                _put_into(place, target, record, lock.cache, listed=inputs.listed(path))
                place = target
            found.append(Gotten(path, str(place), record.digest, record.size))
        lock.cache.save()
    return tuple(found)


def _put_into(place: Path, target: Path, record: FileRecord, cache: StatCache, *, listed: bool) -> None:
    """Make ``target`` a copy of ``place``; what is there already with the same bytes stays.

    ``listed``: a folder was locked as a server lists it, so that its links are files, and none is executable.
    """
    try:
        if not os.path.lexists(target):
            _copy(place, target, record, listed=listed)
        elif record.asserted or target.is_dir() != record.folder or _digest(target, cache) != record.digest:
            raise DataError(f"{target} holds something else", hint="move it away, or name another folder")
    except OSError as error:
        hint = "see that there is room, and that you may write there; then run it again"
        raise StoreError(f"{target} cannot be written", why=error.strerror, hint=hint) from error


def _digest(path: Path, cache: StatCache) -> Digest:
    return (cache.digest_folder(path) if path.is_dir() else cache.digest_file(path))[0]


def _copy(place: Path, target: Path, record: FileRecord, *, listed: bool) -> None:
    """Make ``target`` a copy of a file or a folder, which is seen when it is whole, and has the right bytes."""
    half = target.with_name(f".{target.name}.repro-new")
    remove_tree(half)  # of a copy that was killed here
    half.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        undo.callback(remove_tree, half)
        if record.folder:
            _copy_folder(place, half, listed=listed)
        else:
            _copy_file(place, half)
        if not record.asserted and _digest(half, StatCache(half)) != record.digest:
            raise DataError(f"{place} changed while it was copied", hint="run it again once nothing writes to it")
        half.rename(target)
        undo.pop_all()


def _copy_folder(place: Path, target: Path, *, listed: bool) -> None:
    target.mkdir()
    for entry in walk(place):  # a folder comes before what is in it
        path = target / entry.name
        if entry.kind == "folder":
            path.mkdir()
        elif entry.kind == "link" and not (listed and os.path.isfile(entry.path)):
            path.symlink_to(os.readlink(entry.path))
        else:
            _copy_file(Path(entry.path), path)
            if entry.status.st_mode & stat.S_IXUSR and not listed:
                path.chmod(path.stat().st_mode | 0o111)


def _copy_file(place: Path, target: Path) -> None:
    with open(place, "rb") as source, open(target, "wb") as out:
        try:
            reflink(source.fileno(), out.fileno())
        except OSError:  # no reflinks here, or another file system
            shutil.copyfileobj(source, out, CHUNK)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a check of an input found.

    ``state`` is ``ok``; ``moved on``: there is a newer version, and the locked one can still be had; ``changed``;
    ``gone``; ``damaged``: a copy in the cache was; ``not locked``; ``unknown``: the source did not answer.
    """

    path: str
    state: str
    detail: str


def check_data(
    host: Host, named: str | None, paths: Sequence[str], *, full: bool = False, sink: Sink
) -> tuple[Standing, ...]:
    """Return whether sources still have what was locked; the lock stays as it is.

    Of what lies elsewhere sizes, versions and ETags are compared; ``full`` reads every byte, of what is cached too.
    """
    with _opened_inputs(host, named, sink, fetching=True) as (project, lock, inputs):
        found = []
        for path in _chosen(project, inputs, paths):
            source = project.workflow.inputs.get(path)
            if source is None:
                raise UsageError(f"{path} is in an input", hint="name the input itself: `repro data ls`")
            entry = lock.current_input(path)
            if entry is None:
                found.append(Standing(path, "not locked", "run `repro lock`"))
                continue
            found.append(_standing(source, entry, lock, inputs, full=full))
        lock.cache.save()
    return tuple(found)


def _standing(source: DataSource, entry: InputLock, lock: LockFile, inputs: Inputs, *, full: bool) -> Standing:
    from repro.data.answers import NotThereError  # noqa: PLC0415 - what listing does without

    try:
        if inputs.local(source) is not None:
            state, differences = "changed", _differences_here(source, entry, lock, full=full)
        else:
            damaged = inputs.damaged(source.path) if full else []  # before anything is fetched in its place
            state, differences = _differences_there(source, entry, lock, full=full)
            if damaged and not differences:
                state, differences = "damaged", [f"{name}: the cached copy" for name in damaged]
    except NotThereError as error:
        return Standing(source.path, "gone", error.why or error.message)
    except DataError as error:
        return Standing(source.path, "changed", error.why or error.message)
    except FetchError as error:
        return Standing(source.path, "unknown", error.why or error.message)
    if not differences:
        return Standing(source.path, "ok", _word(entry, looked=full or inputs.local(source) is not None))
    more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    return Standing(source.path, state, "; ".join(differences[:_NAMED]) + more)


def _word(entry: InputLock, *, looked: bool) -> str:
    """Return what an input that is as locked was known by; ``looked``: its bytes, or what stands for them, were."""
    if looked:
        return "proven" if entry.proven else f"asserted ({entry.fingerprint})"
    if all(file.version for file in entry.files):
        return "the same versions"
    return "the same ETags, or sizes and times" if all(file.etag for file in entry.files) else "the same sizes"


def _differences_here(source: DataSource, entry: InputLock, lock: LockFile, *, full: bool) -> list[str]:
    """Return what is not as locked of an input on this machine; ``full`` reads what a list of checksums claims, too."""
    from repro.data.fingerprints import belied  # noqa: PLC0415 - only for this

    digest, _ = lock.pinner.digest(source)
    if digest != entry.digest:
        return [f"locked {entry.digest}, now {digest}"]
    place = lock.pinner.local(source)
    if not full or place is None or source.fingerprint.kind != "manifest":
        return []
    return belied(place, source.fingerprint.value)


def _differences_there(source: DataSource, entry: InputLock, lock: LockFile, *, full: bool) -> tuple[str, list[str]]:
    """Return the state of an input elsewhere, and what is not as locked."""
    from repro.data.answers import NotThereError  # noqa: PLC0415 - what listing does without
    from repro.data.pinning import as_told  # noqa: PLC0415

    if full:
        now = lock.pinner.pin(replace(source, version=source.version or _only_version(entry)), None)
        before, after = ({file.name: file.digest for file in one.files} for one in (entry, now))
        return "changed", [
            f"{name or source.path}: locked {before.get(name, 'none')}, now {after.get(name, 'none')}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    try:
        listed = {file.name: file for file in lock.pinner.listed(source)}
    except NotThereError:
        if not all(file.version for file in entry.files):
            raise
        listed = {}
    changed = [file for file in entry.files if file.name not in listed or not as_told(file, listed[file.name])]
    lines = [f"{name}: is new" for name in sorted(listed.keys() - {file.name for file in entry.files})]
    for file in changed:
        there = listed.get(file.name)
        was = file.version or file.etag or file.size
        now_is = "gone" if there is None else there.version or there.etag or there.size
        lines.append(f"{file.name or source.path}: was {was}, is {now_is}")
    pinned = [file for file in changed if file.version]
    still = lock.pinner.there(source, replace(entry, files=tuple(pinned))) if pinned else []
    pinned_all = bool(entry.files) and all(file.version for file in entry.files)
    return "moved on" if pinned_all and len(still) == len(changed) else "changed", lines


def _only_version(entry: InputLock) -> str | None:
    return entry.files[0].version or None if not entry.folder and entry.files else None


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a tree."""

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class DataTree:
    """A file or folder, with the digest that a lock or a record would have of it."""

    path: str
    digest: Digest
    size: int
    count: int
    files: tuple[TreeFile, ...]


def data_tree(host: Host, named: str | None, path: str, *, sink: Sink = ignore) -> DataTree:
    """Return the files of an input, as locked; or of any file or folder of this machine, as they are now."""
    local = host.cwd / path
    if named is not None or (host.cwd / DEFAULT_FILE).is_file():  # without a workflow, any folder can be asked about
        with _opened_inputs(host, named, sink) as (project, lock, inputs):
            entry = lock.content.inputs.get(path) or lock.content.inputs.get(f"{path.rstrip('/')}/")
            if entry is not None and entry.files:
                files = tuple(TreeFile(file.name, file.digest, file.size) for file in entry.files)
                return DataTree(entry.path, entry.digest, entry.size, entry.count, files)
            if entry is not None:
                local = inputs.local(project.workflow.inputs[entry.path]) or local
    cache = StatCache(Path("unused"))
    if not local.is_dir():
        digest, size = cache.digest_file(local)
        return DataTree(path, digest, size, 1, (TreeFile("", digest, size),))
    found = [entry for entry in walk(local) if entry.kind == "file"]
    hashed = cache.digest_files([entry.path for entry in found])
    files = tuple(TreeFile(entry.name, *one) for entry, one in zip(found, hashed, strict=True))
    digest, size = cache.digest_folder(local)
    return DataTree(path, digest, size, len(files), files)


@contextlib.contextmanager
def _opened_inputs(
    host: Host, named: str | None, sink: Sink, *, fetching: bool = False
) -> Iterator[tuple[Project, LockFile, Inputs]]:
    """Give project, lock and inputs of a workflow."""
    project = open_project(host, named)
    with opened(host, sink) as engine:
        if fetching:
            engine.enter()  # before anything is fetched: that takes threads
        lock = LockFile(project, engine)
        yield project, lock, Inputs(project, engine, lock)


def _chosen(project: Project, inputs: Inputs, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the inputs meant, by their declared paths, or paths in them; all where none is named."""
    chosen = []
    for path in paths or project.workflow.inputs:
        declared = next((one for one in (path, f"{path}/") if one in project.workflow.inputs), path)
        if not inputs.has(declared):
            hint = f"the inputs are {', '.join(project.workflow.inputs) or 'none'}"
            raise UsageError(f"{path} is no input of {project.shown}", hint=hint)
        chosen.append(declared)
    return tuple(chosen)
