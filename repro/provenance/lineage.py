"""Where a file comes from: a pure fold over the journals' entries, from the file back to raw inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError
from repro.events import FileRecord, as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.digest import Json
    from repro.provenance.journal import Entry


@dataclass(frozen=True, slots=True, order=True)
class Elsewhere:
    """A declared input, as a run had it: the fields of `repro.events.InputUsed`."""

    path: str
    uri: str
    version: str
    digest: Digest
    size: int
    files: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A file that a job read; ``made_by`` is the key of the job that made it, None for a raw input.

    ``elsewhere`` is the declared input that a raw one is or lies in, where its bytes come from elsewhere.
    """

    file: FileRecord
    made_by: Digest | None
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image that took part; ``packages`` as (name, version), empty where no journal tells them."""

    image: Digest
    environment: str
    recipe: Digest | None
    packages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A finished job that took part."""

    key: Digest
    job: str
    step: str
    command: str
    environment: str
    image: Digest
    inputs: Mapping[str, tuple[Origin, ...]]
    code: tuple[Origin, ...]
    outputs: Mapping[str, FileRecord]
    params: Mapping[str, Json]
    resources: Mapping[str, Json]
    run: str
    host: str
    started: str
    ended: str
    wall: float


@dataclass(frozen=True, slots=True)
class Lineage:
    """All that led to ``file``.

    Attributes:
        file: the file asked about, as its job recorded it (the folder that it lies in, where that was the
            output).
        jobs: the jobs, each once: the one that made the file first, each before those that it needs.
        raw: the inputs and code that no recorded job made, sorted by path.
        images: the images of the jobs, in the jobs' order.
        readers: where no job made ``file``: the jobs that read it as a raw input or as code, first ones first.
        elsewhere: the declared inputs that ``raw`` are or lie in, sorted, as the runs had them that read them.
    """

    file: FileRecord
    jobs: tuple[JobInfo, ...]
    raw: tuple[FileRecord, ...]
    images: tuple[ImageInfo, ...]
    readers: tuple[str, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()

    def sources(self, file: FileRecord) -> tuple[Elsewhere, ...]:
        """Return where the bytes of a raw input come from: several, where runs had the same bytes from several."""
        return tuple(source for source in self.elsewhere if _of(source, file))

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON can hold it; field names become keys."""
        value = as_json(self)
        assert isinstance(value, dict)
        return value


def why(journals: Iterable[tuple[str, Sequence[Entry]]], path: str, digest: Digest | None = None) -> Lineage:
    """Return how the project path came to be; of a raw input, who read it.

    Args:
        journals: run ID and entries of each run, oldest first.
        path: the file; a path in a folder output stands for that folder.
        digest: the bytes that are there now; None: as last made. A file that was moved is found by it.

    Raises:
        DataError: no recorded job made or read this path, or not with these bytes.
    """
    history = _History(journals)
    start = history.maker(path, digest)
    if start is None:
        read = history.read(path, digest)
        if read is None:
            raise _unknown(history, path, digest)
        return _of_raw(read)
    job, file = start
    infos: dict[Digest, JobInfo] = {}
    raw: set[FileRecord] = set()
    elsewhere: set[Elsewhere] = set()
    pending = [job]
    while pending:
        current = pending.pop(0)
        if current.key in infos:
            continue
        info = infos[current.key] = history.info(current)
        for origin in (*(item for files in info.inputs.values() for item in files), *info.code):
            if origin.made_by is None:
                raw.add(origin.file)
                elsewhere.update(() if origin.elsewhere is None else (origin.elsewhere,))
            else:
                pending.append(history.job(origin.made_by))
    jobs = _in_order(job.key, infos)
    sorted_raw = tuple(sorted(raw, key=lambda item: (item.path, item.digest)))
    return Lineage(file, jobs, sorted_raw, history.images(jobs), elsewhere=tuple(sorted(elsewhere)))


def last_read(journals: Iterable[tuple[str, Sequence[Entry]]], path: str) -> Lineage | None:
    """Return who read the project path as a raw input, with the bytes that were read last; None: nobody did."""
    read = _History(journals).read(path, None)
    return None if read is None else _of_raw(read)


def _of_raw(read: _Read) -> Lineage:
    return Lineage(read.file, (), (read.file,), (), read.jobs, read.elsewhere)


@dataclass(frozen=True, slots=True)
class _Made:
    """A job-finished entry."""

    run: str
    key: Digest
    record: Mapping[str, Any]  # Any: JSON as journaled


@dataclass(frozen=True, slots=True)
class _Read:
    """A raw input with certain bytes: the jobs that read it, first ones first, and where they had it from."""

    file: FileRecord
    jobs: tuple[str, ...]
    elsewhere: tuple[Elsewhere, ...]


class _History:
    """The finished jobs of all runs, by key and by what they made."""

    def __init__(self, journals: Iterable[tuple[str, Sequence[Entry]]]) -> None:
        self._jobs: dict[Digest, _Made] = {}
        self._by_path: dict[str, list[tuple[_Made, FileRecord]]] = {}
        self._by_digest: dict[Digest, tuple[_Made, FileRecord]] = {}
        self._images: dict[Digest, ImageInfo] = {}
        self._elsewhere: dict[str, dict[str, Elsewhere]] = {}  # by run, then by project path
        for run, entries in journals:
            for entry in entries:
                if entry["kind"] == "job-finished":
                    self._finished(_Made(run, Digest.parse(entry["record"]["key"]), entry["record"]))
                elif entry["kind"] == "image-used":
                    self._image_used(entry)
                elif entry["kind"] == "input-used":
                    self._elsewhere.setdefault(run, {})[str(entry["path"])] = _elsewhere(entry)

    def _finished(self, made: _Made) -> None:
        self._jobs[made.key] = made
        for item in made.record["outputs"].values():
            file = _file(item)
            self._by_path.setdefault(file.path, []).append((made, file))
            self._by_digest[file.digest] = (made, file)

    def _image_used(self, entry: Entry) -> None:
        image = Digest.parse(entry["image"])
        recipe = Digest.parse(entry["recipe"]) if entry["recipe"] else None
        packages = tuple((str(name), str(version)) for name, version in entry["packages"])
        self._images[image] = ImageInfo(image, str(entry["environment"]), recipe, packages)

    def made(self, path: str) -> list[tuple[_Made, FileRecord]]:
        """Return what was made at the path, or at the folder output that it lies in, oldest first."""
        if path in self._by_path or f"{path}/" in self._by_path:
            return self._by_path.get(path) or self._by_path[f"{path}/"]
        parts = path.split("/")
        for end in range(len(parts) - 1, 0, -1):
            folder = "/".join(parts[:end]) + "/"
            if folder in self._by_path:
                return self._by_path[folder]
        return []

    def maker(self, path: str, digest: Digest | None) -> tuple[_Made, FileRecord] | None:
        """Return the job that made these bytes, the latest at this path first, else anywhere."""
        made = self.made(path)
        if digest is None:
            return made[-1] if made else None
        for candidate in reversed(made):
            inside = candidate[1].folder and candidate[1].path.rstrip("/") != path.rstrip("/")
            if inside or candidate[1].digest == digest:
                return candidate
        return self._by_digest.get(digest)

    def readings(self, path: str) -> list[tuple[_Made, FileRecord]]:
        """Return each job that read the path, with the bytes that it read, oldest first."""
        bare = path.rstrip("/")
        return [
            (made, _file(item))
            for made in self._jobs.values()
            for item in (*(item for files in made.record["inputs"].values() for item in files), *made.record["code"])
            if item["path"].rstrip("/") == bare
        ]

    def read(self, path: str, digest: Digest | None) -> _Read | None:
        """Return the file as it was read (with these bytes, else as last read), and the jobs that read it so."""
        readings = self.readings(path)
        wanted = readings[-1][1].digest if digest is None and readings else digest
        found = [(made, file) for made, file in readings if file.digest == wanted]
        if not found:
            return None
        jobs = dict.fromkeys(made.record["job"] for made, _ in found)
        sources = {source for made, file in found if (source := self.elsewhere(file, made)) is not None}
        return _Read(found[0][1], tuple(jobs), tuple(sorted(sources)))

    def elsewhere(self, file: FileRecord, reader: _Made) -> Elsewhere | None:
        """Return the declared input that a file is or lies in which a job read as nobody's output."""
        declared = self._elsewhere.get(reader.run, {})
        parts = file.path.rstrip("/").split("/")
        for end in range(len(parts), 0, -1):
            path = "/".join(parts[:end])
            found = declared.get(path) or declared.get(f"{path}/")
            if found is not None:
                return found
        return None

    def job(self, key: Digest) -> _Made:
        """Return the finished job with this key."""
        return self._jobs[key]

    def info(self, made: _Made) -> JobInfo:
        """Return what is told about the job."""
        record = made.record
        parts = record["key_parts"]
        return JobInfo(
            key=made.key,
            job=record["job"],
            step=record["step"],
            command=record["command"],
            environment=record["environment"],
            image=Digest.parse(record["image"]),
            inputs={
                name: tuple(self._origin(_file(item), made) for item in files)
                for name, files in record["inputs"].items()
            },
            code=tuple(self._origin(_file(item), made) for item in record["code"]),
            outputs={name: _file(item) for name, item in record["outputs"].items()},
            params={**parts.get("params", {}), **parts.get("values", {})},
            resources=record["resources"],
            run=made.run,
            host=record["host"],
            started=record["started"],
            ended=record["ended"],
            wall=record["usage"]["wall"],
        )

    def _origin(self, file: FileRecord, reader: _Made) -> Origin:
        """Return who made these bytes at this path: nobody, where only other bytes were ever made there."""
        for made, output in reversed(self.made(file.path)):
            inside = output.folder and output.path.rstrip("/") != file.path.rstrip("/")
            earlier = made.record["ended"] <= reader.record["started"]
            if made.key != reader.key and earlier and (inside or output.digest == file.digest):
                return Origin(file, made.key)
        return Origin(file, None, self.elsewhere(file, reader))

    def images(self, jobs: Iterable[JobInfo]) -> tuple[ImageInfo, ...]:
        """Return the images of the jobs, each once."""
        found: dict[Digest, ImageInfo] = {}
        for job in jobs:
            unknown = ImageInfo(job.image, job.environment, None, ())
            found.setdefault(job.image, self._images.get(job.image, unknown))
        return tuple(found.values())


def _in_order(start: Digest, infos: Mapping[Digest, JobInfo]) -> tuple[JobInfo, ...]:
    """Return the jobs so that each comes before those that it needs."""
    done: dict[Digest, None] = {}
    stack = [(start, False)]
    while stack:  # depth first without recursion: a pipeline may be longer than the stack is deep
        key, left = stack.pop()
        if left:
            done[key] = None
        elif key not in done:
            stack.append((key, True))
            info = infos[key]
            origins = (*(item for files in info.inputs.values() for item in files), *info.code)
            needs = [item.made_by for item in origins if item.made_by is not None]
            stack.extend((need, False) for need in dict.fromkeys(needs) if need not in done)
    return tuple(infos[key] for key in reversed(done))


def _file(item: Mapping[str, Any]) -> FileRecord:
    return FileRecord(
        str(item["path"]),
        Digest.parse(item["digest"]),
        int(item["size"]),
        bool(item["folder"]),
        str(item.get("asserted", "")),  # older journals have none
    )


def _elsewhere(entry: Entry) -> Elsewhere:
    return Elsewhere(
        path=str(entry["path"]),
        uri=str(entry["uri"]),
        version=str(entry["version"]),
        digest=Digest.parse(entry["digest"]),
        size=int(entry["size"]),
        files=int(entry["files"]),
        fingerprint=str(entry["fingerprint"]),
    )


def _of(source: Elsewhere, file: FileRecord) -> bool:
    """Return whether the file is the declared input, with its bytes, or lies in it."""
    bare, path = source.path.rstrip("/"), file.path.rstrip("/")
    return source.digest == file.digest if path == bare else source.path.endswith("/") and path.startswith(f"{bare}/")


def _unknown(history: _History, path: str, digest: Digest | None) -> DataError:
    made = history.made(path)
    if made and digest is not None:
        job, file = made[-1]
        return DataError(
            f"{path} is not as any recorded job left it",
            why=f"{job.record['job']} made it as {file.digest.short}; now it is {digest.short}",
            hint="run `repro run` to make it again",
        )
    if readings := history.readings(path):
        job, file = readings[-1]
        return DataError(
            f"{path} is not as any recorded job read it",
            why=f"{job.record['job']} read it as {file.digest.short}"
            + (f"; now it is {digest.short}" if digest else ""),
            hint="run `repro run` to use it as it is now",
        )
    hint = "name an output or an input of the workflow that was run here"
    return DataError(f"no recorded job made or read {path}", hint=hint)
