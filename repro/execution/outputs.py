"""From a finished job's world into the project: find the declared outputs, check them, move them.

The container is gone when this runs, so nothing here races with the job; but its paths are the job's choice,
and no link that it made may lead the host out of its world.
"""

from __future__ import annotations

import difflib
import errno
import os
import stat
from typing import TYPE_CHECKING

from repro.data.checksum import walk
from repro.dataclass import dataclass
from repro.errors import DataError
from repro.execution.world import WORK
from repro.files import move, remove_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from repro.execution.world import World
    from repro.workflow.model import Job, JobOutput

_MOST_LINKS = 40  # as the kernel follows


@dataclass(frozen=True, slots=True)
class Collected:
    """What a job left: ``found`` maps output names to host paths, ``missing`` says what the others lack.

    ``undeclared`` are the other files it wrote, sorted, relative to /work.
    """

    found: Mapping[str, Path]
    missing: tuple[str, ...]
    undeclared: tuple[str, ...]


def collect(job: Job, world: World) -> Collected:
    """Return the job's outputs in its world, made usable for their owner, and what else it wrote."""
    found: dict[str, Path] = {}
    problems: dict[str, str] = {}
    unmade: list[str] = []
    for name, output in job.outputs.items():
        try:
            path = _find(world, output)
            if path is None:
                unmade.append(name)
                continue
            _normalise(path, output)
        except DataError as error:
            problems[name] = error.message
        else:
            found[name] = path
    undeclared = _undeclared(job, world)
    for name in unmade:
        output = job.outputs[name]
        problems[name] = f"{output.path} was not made{_near_miss(output, undeclared)}"
    missing = tuple(f"output {name}: {problems[name]}" for name in job.outputs if name in problems)
    return Collected(found, missing, undeclared)


def publish(
    job: Job, found: Mapping[str, Path], *, project: Path, trash: Path, foreign: Collection[str], shelf: Path
) -> None:
    """Move all outputs to their project paths, replacing older ones; a file is replaced atomically.

    An older folder is moved to ``trash`` first. All are on the project's file system before the first one appears.
    What lies where an output in ``foreign`` goes, and was made by no recorded job, is kept: below ``shelf``, at its
    project path.

    Raises:
        DataError: a target is a folder where a file should come, or the other way round.
    """
    targets = {name: _target(project, output) for name, output in job.outputs.items()}
    near: dict[str, Path] = {}
    try:
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            near[name] = _bring_near(found[name], target)
        for name, target in targets.items():
            if name in foreign and target.exists():
                kept = shelf / job.outputs[name].path
                kept.parent.mkdir(parents=True, exist_ok=True)
                move(target, kept, _copy)
            elif target.is_dir():
                _discard(target, trash / name)
            move(near[name], target, _copy)
    finally:
        for name, place in near.items():
            if place != found[name]:
                remove_tree(place)  # left only where something went wrong


def keep_logs(job: Job, world: World, project: Path) -> None:
    """Move the declared log files that the job wrote into the project, however it ended; what is no file stays."""
    for path in job.logs.values():
        host = None if path in world.stubs else _below(world.work, path)
        target = project / path
        if host is None or not stat.S_ISREG(host.lstat().st_mode) or target.is_dir():
            continue
        _own(str(host), host.lstat(), 0o600)
        target.parent.mkdir(parents=True, exist_ok=True)
        move(host, target, _copy)


def _find(world: World, output: JobOutput) -> Path | None:
    """Return the host path of an output, through links as far as they stay among what the job declared.

    None where nothing was made there; DataError where it is something else than declared.
    """
    path = output.path.rstrip("/")
    for _ in range(_MOST_LINKS):
        host = _inside(world, path)
        if host is None:
            if path != output.path.rstrip("/"):
                raise DataError(f"{output.path} is a link to {path}, which was not made")
            return None
        mode = host.lstat().st_mode
        if stat.S_ISLNK(mode):
            path = _link_target(output, path, os.readlink(host))
            continue
        if output.folder != stat.S_ISDIR(mode) or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            kind = "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "no regular file"
            raise DataError(f"{output.path} is {kind}, {'a folder' if output.folder else 'a file'} is declared")
        return host if path == output.path.rstrip("/") else _copy_of(world, host, output)
    raise DataError(f"{output.path} is a chain of links without an end")


def _inside(world: World, path: str) -> Path | None:
    """Return where the job's ``path`` lies on the host; None if nowhere, or if the way goes through a link."""
    for source, host in world.sources.items():
        if path == source:
            return host
        if path.startswith(f"{source}/"):
            return _below(host, path[len(source) + 1 :])
    return _below(world.work, path)


def _below(root: Path, path: str) -> Path | None:
    place = root
    parts = path.split("/")
    for index, part in enumerate(parts):
        place = place / part
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if index < len(parts) - 1 and not stat.S_ISDIR(mode):
            return None
    return place


def _link_target(output: JobOutput, path: str, link: str) -> str:
    """Return the path relative to /work that a link at ``path`` leads to; DataError where it leaves /work."""
    target = os.path.normpath(os.path.join(WORK, os.path.dirname(path), link))
    if not target.startswith(f"{WORK}/"):
        raise DataError(f"{output.path} is a link to {link}, which is not below {WORK}; copy the file instead")
    return target[len(WORK) + 1 :]


def _copy_of(world: World, host: Path, output: JobOutput) -> Path:
    """Return a copy of what a link leads to: its bytes are the output, the original may be one as well."""
    folder = world.root / "linked"
    folder.mkdir(exist_ok=True)
    copy = folder / output.path.rstrip("/").replace("/", "%")
    _copy(host, copy)
    return copy


def _normalise(path: Path, output: JobOutput) -> None:
    """Make files and folders the caller's own and usable, without set-id bits; refuse other kinds and endless paths."""
    pending = [str(path)]  # no recursion: a folder may be deeper than the stack
    while pending:
        place = pending.pop()
        try:
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                _own(place, status, 0o700)  # before it is entered: a job may have closed it to itself
                pending += [os.path.join(place, name) for name in os.listdir(place)]
            elif stat.S_ISREG(status.st_mode):
                _own(place, status, 0o600)
            elif stat.S_ISLNK(status.st_mode):
                _own(place, status, None)
            else:
                inside = os.path.relpath(place, path)
                raise DataError(f"{output.path}{_shown(inside)} is no file, folder or link")
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise DataError(f"{output.path} is deeper than a path can name ({error.strerror})") from error


def _own(place: str, status: os.stat_result, least: int | None) -> None:
    """Make what a job made the caller's (it may have run as another user), with at least this mode."""
    if status.st_uid != os.geteuid():
        os.lchown(place, os.geteuid(), os.getegid())
    if least is not None:
        os.chmod(place, status.st_mode & 0o777 | least)


def _shown(name: str) -> str:
    """Return a file's name, which may be any bytes, as text that can be printed."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _undeclared(job: Job, world: World) -> tuple[str, ...]:
    files = {output.path for output in job.outputs.values() if not output.folder}
    folders = tuple(output.path for output in job.outputs.values() if output.folder)
    written: list[str] = []
    pending = [str(world.work)]
    while pending:
        folder = pending.pop()
        try:
            if os.lstat(folder).st_mode & 0o500 != 0o500:
                os.chmod(folder, 0o700)
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            found = []  # deeper than a path can name: nobody would look for it there
        for entry in found:
            name = os.path.relpath(entry.path, world.work)
            if entry.is_dir(follow_symlinks=False):
                if f"{name}/" not in folders:
                    pending.append(entry.path)
            elif name not in files and not name.startswith(folders):
                written.append(_shown(name))
    return tuple(sorted(written))


def _near_miss(output: JobOutput, undeclared: tuple[str, ...]) -> str:
    """Return which of the other files written may have been meant."""
    wanted = output.path.rstrip("/")
    if output.folder:
        close = [name for name in undeclared if name == wanted]
    else:
        same = [name for name in undeclared if os.path.basename(name).lower() == os.path.basename(wanted).lower()]
        close = same or difflib.get_close_matches(wanted, undeclared, n=3, cutoff=0.7)
    if close:
        return f"; the step wrote {', '.join(close[:3])} instead"
    if undeclared:
        more = f" and {len(undeclared) - 5} more" if len(undeclared) > 5 else ""
        return f"; undeclared files written: {', '.join(undeclared[:5])}{more}"
    return "; the step wrote no other file in its /work"


def _target(project: Path, output: JobOutput) -> Path:
    target = project / output.path.rstrip("/")
    if output.folder:
        if target.is_symlink() and target.exists():
            target = target.resolve()  # the user keeps the folder elsewhere, and goes on doing so
        if target.exists() and not target.is_dir():
            raise DataError(f"{output.path} should become a folder, but is a file", hint="move the file away")
    elif target.is_dir() and not target.is_symlink():
        raise DataError(f"{output.path} should become a file, but is a folder", hint="move the folder away")
    return target


def _bring_near(source: Path, target: Path) -> Path:
    """Return ``source``, or a copy of it beside ``target`` where that is another file system."""
    if source.lstat().st_dev == target.parent.stat().st_dev:
        return source
    near = target.with_name(f".{target.name}.repro-new")
    remove_tree(near)  # of an attempt that was killed here
    _copy(source, near)
    return near


def _discard(folder: Path, trash: Path) -> None:
    trash.parent.mkdir(exist_ok=True)
    try:
        os.rename(folder, trash)
    except OSError:  # another file system: slower, and a crash may leave half of it, which no record vouches for
        remove_tree(folder)


def _copy(source: Path, target: Path) -> None:
    import shutil  # noqa: PLC0415 - only where a rename cannot do

    if source.is_symlink() or not source.is_dir():
        shutil.copy2(source, target, follow_symlinks=False)
        return
    entries = walk(source)  # refuses what cannot be copied before anything is
    target.mkdir()
    for entry in entries:  # sorted: a folder comes before what is in it
        place = target / entry.name
        if entry.kind == "folder":
            place.mkdir()
            place.chmod(entry.status.st_mode & 0o777 | 0o700)
        else:
            shutil.copy2(entry.path, place, follow_symlinks=False)
