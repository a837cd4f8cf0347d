"""Temporary outputs of a run: each is removed once all jobs that read it are done, and stays known by its record."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from repro.errors import DataError
from repro.files import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from repro.execution.assess import Files
    from repro.execution.jobs import Jobs


class Temporaries:
    """Who still needs which temporary output. Nothing is removed while steps without jobs yet may need it."""

    def __init__(self, jobs: Jobs, files: Files, trash: Path, *, part: bool = False) -> None:
        """``trash`` is a folder, made when needed, of which nothing is left in the end.

        ``part``: the plan is a part of one, whose other jobs may need all of them; nothing is removed.
        """
        self._part = part
        self._jobs = jobs
        self._files = files
        self._trash = trash
        self._done: set[str] = set()
        self._waiting: dict[str, set[str]] = {}  # path to jobs, its own maker among them
        self._paths: dict[str, list[str]] = {}  # job to the paths that wait for it
        self.refresh()

    def refresh(self) -> None:
        """Look at the plan again, which has grown; remove what nobody needs any more."""
        if self._part or self._jobs.plan.deferred:
            return
        for path, readers in self._jobs.temporaries().items():
            waiting = {*readers, self._jobs.maker(path).id} - self._done
            self._waiting[path] = waiting
            for job in waiting:
                self._paths.setdefault(job, []).append(path)
            if not waiting:
                self._remove(path)

    def again(self, job: str) -> None:
        """Note that a job that was done has to run once more."""
        self._done.discard(job)
        for output in self._jobs.by_id[job].outputs.values():
            if output.path in self._waiting:
                self._waiting[output.path].add(job)
                self._paths.setdefault(job, []).append(output.path)

    def done(self, job: str) -> None:
        """Note that a job has succeeded, or was found cached."""
        self._done.add(job)
        for path in self._paths.pop(job, ()):
            waiting = self._waiting[path]
            waiting.discard(job)
            if not waiting:
                self._remove(path)

    def _remove(self, path: str) -> None:
        """Remove the output whole: a kill that leaves half a folder would leave a damaged one."""
        place = self._files.project / path.rstrip("/")
        if place.is_symlink():  # the user keeps it elsewhere
            return
        try:
            record = self._files.check(path)[0]
            if record.folder:
                remove_tree(self._aside(place))
            else:
                place.unlink()
        except (DataError, OSError):
            return  # gone already, or it has to stay
        self._files.may_go([path])
        self._files.remember(record)

    def _aside(self, folder: Path) -> Path:
        """Return where the folder is now, out of the way."""
        self._trash.mkdir(parents=True, exist_ok=True)
        aside = self._trash / folder.name
        try:
            os.rename(folder, aside)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            aside = folder.with_name(f".{folder.name}.repro-old")
            remove_tree(aside)
            os.rename(folder, aside)
        return aside
