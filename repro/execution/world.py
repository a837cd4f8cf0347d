"""The world that a job sees, laid out on the host: declared inputs at their own paths, and nothing else.

Pinned inputs lie in a cache, or in place elsewhere on this machine, and are seen at their project paths all the same.

One scratch folder holds ``world`` (seen as /work), ``tmp`` (/tmp), ``upper`` and ``ovl`` (the throw-away
changes to the image) and ``control`` (/run/repro, read-only). Inputs are bound read-only, so that staging
never touches a source's inode; their mount points are stubs in ``world`` that are taken away afterwards.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.execution.secrets import SECRETS
from repro.runtime.spec import Bind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from repro.workflow.model import Job

WORK = "/work"
CONTROL = "/run/repro"
TMP = "/tmp"  # noqa: S108 - the container's own
HOME = f"{TMP}/home"
_MANY = 32  # files of a folder that are worth a look at whether they are all that it holds
_MOST_BINDS = 50_000


@dataclass(frozen=True, slots=True)
class World:
    """A world below ``root``; ``sources`` maps each bound project path (no slash at its end) to the host's.

    ``secrets`` is the host's folder of the job's secrets, ``checkpoint`` the project path (no slash at its end) of what
    survives failed attempts and the host's folder that holds it, where it has any.
    """

    root: Path
    sources: Mapping[str, Path]
    stubs: tuple[str, ...]
    secrets: Path | None = None
    checkpoint: tuple[str, Path] | None = None

    @property
    def work(self) -> Path:
        """What the job sees as /work."""
        return self.root / "world"

    @property
    def tmp(self) -> Path:
        """What the job sees as /tmp."""
        return self.root / "tmp"

    @property
    def upper(self) -> Path:
        """The job's changes to the image."""
        return self.root / "upper"

    @property
    def overlay(self) -> Path:
        """The overlay's own work folder."""
        return self.root / "ovl"

    @property
    def control(self) -> Path:
        """What the job sees as /run/repro."""
        return self.root / "control"

    def binds(self) -> tuple[Bind, ...]:
        """Return all mounts in the order in which they must be made."""
        inputs = (Bind(source, f"{WORK}/{path}") for path, source in self.sources.items())
        return (
            Bind(self.work, WORK, read_only=False),
            *inputs,
            *self._kept(),
            Bind(self.tmp, TMP, read_only=False),
            Bind(self.control, CONTROL),
            *(() if self.secrets is None else (Bind(self.secrets, SECRETS),)),
        )

    def _kept(self) -> tuple[Bind, ...]:
        if self.checkpoint is None:
            return ()
        path, host = self.checkpoint
        return (Bind(host, f"{WORK}/{path}", read_only=False),)

    def give(self, uid: int, gid: int) -> None:
        """Make all that is laid out here, and what survives, belong to a user other than the container's root."""
        for top in (self.work, self.tmp / "home", self.control, *(() if self.secrets is None else (self.secrets,))):
            for folder, _folders, names in os.walk(top):
                for place in (folder, *(os.path.join(folder, name) for name in names)):
                    os.lchown(place, uid, gid)
        if self.checkpoint is not None:
            os.lchown(self.checkpoint[1], uid, gid)

    def remove_stubs(self) -> None:
        """Take the mount points away once the container is gone, so that only what the job wrote is left."""
        for path in self.stubs:
            target = self.work / path
            with contextlib.suppress(OSError):  # the job may have moved the folder that it lies in
                if target.is_dir():
                    target.rmdir()
                elif target.stat().st_size == 0:
                    target.unlink()


def wanted_paths(job: Job) -> tuple[str, ...]:
    """Return every project path that the job reads: inputs in declared order with their companions, then code."""
    return (*(path for bound in job.inputs.values() for path in (*bound.paths, *bound.companions)), *job.code)


def lay_out(
    root: Path,
    *,
    project: Path,
    job: Job,
    control: Mapping[str, bytes],
    places: Mapping[str, Path],
    checkpoint: Path | None = None,
) -> World:
    """Make the world of ``job`` below ``root``, which must not exist yet.

    Args:
        root: the scratch folder.
        project: the project's folder.
        job: whose inputs are laid out.
        control: names below /run/repro to contents.
        places: project paths of what lies elsewhere than in the project, to the host's.
        checkpoint: the host's folder for the job's checkpoint, made where it is not there; None: it has none.

    Raises:
        DataError: an input is missing, or is a folder where a file is declared, or the other way round.
    """
    written = [*(output.path for output in job.outputs.values()), *job.logs.values()]
    written += [] if job.checkpoint is None else [job.checkpoint]
    sources = _folded(_sources(project, wanted_paths(job), places), written)
    if len(sources) > _MOST_BINDS:
        hint = "declare the folder that they lie in as the input, with '/' at its end"
        raise DataError(f"{len(sources)} inputs are more than can be bound one by one", hint=hint)
    kept = None if checkpoint is None or job.checkpoint is None else (job.checkpoint.rstrip("/"), checkpoint)
    stubs = (*sources, *(() if kept is None else (kept[0],)))
    made = World(root, sources, stubs, checkpoint=kept)
    root.mkdir(parents=True)
    top = os.fspath(root)
    for name in ("world", "tmp", "upper", "ovl", "control", "tmp/home"):
        os.mkdir(f"{top}/{name}", 0o755)
    made.tmp.chmod(0o1777)  # mkdir's mode is subject to the umask
    for path, source in sources.items():
        stub = made.work / path
        if source.is_dir():
            stub.mkdir(parents=True, exist_ok=True)
        else:
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.touch()
    for folder in {(made.work / path.rstrip("/")).parent for path in written} - {made.work}:
        folder.mkdir(parents=True, exist_ok=True)
    if kept is not None:
        (made.work / kept[0]).mkdir(exist_ok=True)
        kept[1].mkdir(parents=True, exist_ok=True)
    for name, data in control.items():
        target = made.control / name
        if "/" in name:
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return made


def _folded(sources: Mapping[str, Path], outputs: Sequence[str]) -> dict[str, Path]:
    """Return the same binds, fewer: many files that are all that a folder holds are bound as that folder.

    A bind costs a tenth of a millisecond, and the kernel has at most 100,000 (proc_sys_fs(5), mount-max). A folder
    into which the job writes an output stays open for that.
    """
    together: dict[str, list[str]] = {}
    for path in sources:
        together.setdefault(path.rpartition("/")[0], []).append(path)
    folded = dict(sources)
    for folder, paths in together.items():
        if len(paths) < _MANY or not folder or any(output.startswith(f"{folder}/") for output in outputs):
            continue
        host = sources[paths[0]].parent
        if all(sources[path] == host / path.rpartition("/")[2] for path in paths) and len(os.listdir(host)) == len(
            paths
        ):
            for path in paths:
                del folded[path]
            folded[folder] = host
    return folded


def _sources(project: Path, paths: Iterable[str], places: Mapping[str, Path]) -> dict[str, Path]:
    """Return project path to host path of what is bound: nothing that a bound folder shows already."""
    wanted = sorted({path.rstrip("/"): path for path in paths}.items())
    sources: dict[str, Path] = {}
    folders: dict[str, bool] = {}  # and whether each lies elsewhere
    for path, declared in wanted:  # sorted: a folder comes before what is in it
        is_folder, elsewhere = declared.endswith("/"), declared in places
        around = next((folder for folder in folders if path.startswith(f"{folder}/")), None)
        if around is not None:
            if elsewhere != folders[around]:
                hint = "name the files of the folder that the step reads, or give the input a place of its own"
                raise DataError(f"input {path} comes from elsewhere than {around}/, which it lies in", hint=hint)
            continue
        source = places.get(declared, project / path).resolve()  # a symlinked input stands for its target's bytes
        if not source.exists():
            raise DataError(f"input {path} is missing")
        if source.is_dir() != is_folder:
            fix = f"write it as {path}/" if source.is_dir() else f"write it as {path}"
            raise DataError(f"input {path} is {'a folder' if source.is_dir() else 'no folder'}", hint=fix)
        sources[path] = source
        if is_folder:
            folders[path] = elsewhere
    return sources
