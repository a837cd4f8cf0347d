"""The project's ``.repro`` folder: what lies where.

::

    .repro/
      .gitignore                            everything here is ignored by git
      lock                                  held by the run that is under way
      cluster                               the run that has jobs on a cluster
      stat-cache                            digests by path and stat
      records/<step>/<job hash>/<key>.json  what each finished job left
      runs/<run id>/journal.jsonl           events of one run
      runs/<run id>/logs/<job>.log          output of its jobs; of earlier attempts: <job>.attempt-<n>.log
      checkpoints/<job hash>/<key>/         what failed attempts at a job with this key left for the next
      scratch/<run id>/<n>/                 worlds of running jobs
      scratch-debug/job-<random>/           worlds that somebody looks at
      removed/                              temporary outputs on their way out
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.files import locked, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNSAFE = re.compile(r"[^A-Za-z0-9._=,\[\]+@-]")
_LONGEST_NAME = 120  # characters of a log's name before its hash; file names end at 255 bytes


@dataclass(frozen=True, slots=True)
class State:
    """Paths in the ``.repro`` folder of ``project``; ``scratch_root`` holds the worlds where given."""

    project: Path
    scratch_root: Path | None = None

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.project / ".repro"

    @property
    def lock(self) -> Path:
        """The lock file of runs."""
        return self.root / "lock"

    @property
    def stat_cache(self) -> Path:
        """The stat cache's file."""
        return self.root / "stat-cache"

    @property
    def records(self) -> Path:
        """The folder of records."""
        return self.root / "records"

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.root / "runs"

    @property
    def scratch(self) -> Path:
        """The folder under which jobs of this project, and of no other, have their worlds."""
        if self.scratch_root is None:
            return self.root / "scratch"
        mark = hashlib.sha256(str(self.project.resolve()).encode(errors="surrogateescape")).hexdigest()[:12]
        return self.scratch_root / f"repro-{mark}"

    @property
    def debug(self) -> Path:
        """The folder under which jobs are laid out for people, apart from those of runs."""
        return self.scratch.with_name(f"{self.scratch.name}-debug")

    @property
    def cluster(self) -> Path:
        """The file with the ID of the run that has, or had, jobs on a cluster; gone once it has ended."""
        return self.root / "cluster"

    @property
    def removed(self) -> Path:
        """The folder of what is being removed."""
        return self.root / "removed"

    def log(self, run: str, job: str, attempt: int | None = None) -> Path:
        """Return where the output of ``job`` goes in ``run``: different jobs, different files.

        With ``attempt``: where it is kept once another attempt comes.
        """
        end = "" if attempt is None else f".attempt-{attempt}"
        return self.runs / run / "logs" / f"{log_name(job)}{end}.log"

    def checkpoints(self, job: str) -> Path:
        """Return the folder of all checkpoints of ``job``, whatever its key was; gone once it has succeeded."""
        return self.root / "checkpoints" / hashlib.sha256(job.encode()).hexdigest()[:16]

    def prepare(self) -> None:
        """Make the folder, and have git ignore it."""
        self.root.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        with contextlib.suppress(FileExistsError), ignore.open("x", encoding="ascii") as file:
            file.write("*\n")

    @contextlib.contextmanager
    def exclusive(self, owner: str) -> Iterator[None]:
        """Hold the project for one run; BusyError names the owner of another one that is under way.

        What a killed run left in scratch is removed: with the lock held, nobody uses it.
        """
        self.prepare()
        with locked(self.lock, owner=owner, wait=False):
            self._sweep()
            try:
                yield
            finally:
                self._sweep()

    def _sweep(self) -> None:
        remove_tree(self.scratch)
        remove_tree(self.removed)


def log_name(job: str) -> str:
    """Return a file name for the job's id; ids that would collide or need other characters get a hash."""
    safe = _UNSAFE.sub("_", job)[:_LONGEST_NAME]
    if safe == job:
        return safe
    return f"{safe}-{hashlib.sha256(job.encode()).hexdigest()[:8]}"
