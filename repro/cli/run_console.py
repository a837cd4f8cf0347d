"""A run as a person sees it: a line when a job starts and ends, what is running now, and at the end what failed."""

from __future__ import annotations

import shlex
import threading
import time
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import size_text
from repro.cli.console import Console
from repro.cli.flow import span_text
from repro.cli.screen import fit, plain
from repro.dataclass import dataclass
from repro.events import (
    JobCached,
    JobFailed,
    JobFinished,
    JobRetried,
    JobsAdded,
    JobSkipped,
    JobStarted,
    RunFinished,
    RunStarted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.events import Event

_BEAT: Final = 0.5  # seconds between two frames
_MOST_RUNNING: Final = 6  # jobs named in the block that is drawn over
_MOST_SKIPPED: Final = 10  # jobs named as skipped; the rest are counted
_MOST_FAILED: Final = 10  # failures told in full at the end


@dataclass(slots=True)
class _Running:
    """A job under way: since when on the clock that only grows, and which attempt."""

    since: float
    attempt: int


class RunConsole(Console):
    """A sink that draws a run, and the builds and fetches before it. Quiet: warnings, failures, and how it ended.

    On a terminal the last lines are drawn over: what runs, how much is done, and how long the rest may take. The thread
    for that begins with the first job; until then the engine may need the process to have one thread only.
    """

    def __init__(self, environ: Mapping[str, str], *, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(environ, quiet=quiet, verbose=verbose)
        self._workflow = ""
        self._jobs = 0
        self._done = 0
        self._ran = 0  # in this run, to tell how fast it goes
        self._began = 0.0  # when the first job did
        self._running: dict[str, _Running] = {}
        self._failures: list[JobFailed] = []
        self._skipped = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def output(self, job: str, line: str) -> None:
        """Draw a line that a job printed, with its name in front; safe from any thread."""
        with self._lock:
            self._line(f"{self.paint(f'{job} |', 'dim')} {plain(line)}")

    def finish(self) -> None:
        """Tell failures that were not told yet, and leave the terminal on a fresh line."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._running.clear()
            self._tell_failures()
        super().finish()

    def _draw(self, event: Event) -> None:
        match event:
            case JobFailed():
                self._failed(event)
            case JobRetried(job=job, attempt=attempt, pause=pause):
                self._running.pop(job, None)
                then = f"again in {span_text(pause)}" if pause >= 1 else "again"
                self._job_line(job, f"{self.paint('failed', 'yellow')} at attempt {attempt}, {then}, log: {event.log}")
            case JobSkipped():
                self._skip(event)
            case RunFinished():
                self._finished(event)
            case _ if self._quiet:
                self._count(event)
                super()._draw(event)
            case _:
                self._count(event)
                self._told(event)

    def _count(self, event: Event) -> None:
        match event:
            case RunStarted(jobs=jobs, workflow=workflow):
                self._jobs, self._done, self._workflow = jobs, 0, workflow
            case JobsAdded(jobs=jobs):
                self._jobs += jobs
            case JobStarted(job=job, attempt=attempt):
                self._began = self._began or time.monotonic()
                self._running[job] = _Running(time.monotonic(), attempt)
            case JobFinished(record=record):
                self._running.pop(record.job, None)
                self._done += 1
                self._ran += 1
            case JobCached():
                self._done += 1
            case _:
                return

    def _told(self, event: Event) -> None:
        match event:
            case RunStarted(run=run, workflow=workflow, jobs=jobs):
                self._line(f"run {self.paint(run, 'bold')}: {workflow}, {jobs} jobs")
            case JobsAdded(steps=steps, jobs=jobs):
                self._line(f"{jobs} more jobs are known now, of {', '.join(steps)}")
            case JobStarted(job=job, why=why, attempt=attempt):
                again = f", attempt {attempt}" if attempt > 1 else ""
                self._job_line(job, f"{self.paint('started', 'blue')}{again} ({why})")
                self._start()
            case JobFinished(record=record):
                usage = record.usage
                left = self._left()
                more = f"; {left}" if left and not self._screen.terminal else ""
                self._job_line(
                    record.job,
                    f"{self.paint('done', 'green')} in {usage.wall:.1f} s"
                    f" (cpu {usage.user + usage.system:.1f} s, {size_text(usage.max_rss)}){more}",
                )
            case JobCached(job=job):
                if self._verbose:
                    self._job_line(job, self.paint("cached", "dim"))
            case _:
                super()._draw(event)

    def _failed(self, event: JobFailed) -> None:
        self._running.pop(event.job, None)
        self._done += 1
        self._failures.append(event)
        status = f" with exit status {event.exit_status}" if event.exit_status else ""  # 0: what it left is wrong
        log = f", log: {event.log}" if event.log else ""
        self._job_line(event.job, f"{self.paint('failed', 'red')}{status}{log}")

    def _skip(self, event: JobSkipped) -> None:
        self._done += 1
        self._skipped += 1
        if event.needed and self._skipped <= _MOST_SKIPPED and not self._quiet:
            self._job_line(event.job, f"{self.paint('skipped', 'yellow')}, {event.because} failed")

    def _finished(self, event: RunFinished) -> None:
        self._running.clear()
        self._tell_failures()
        if self._quiet:
            return
        parts = [f"{event.ran} ran", f"{event.cached} cached"]
        parts += [f"{event.failed} failed"] if event.failed else []
        parts += [f"{event.skipped} skipped"] if event.skipped else []
        colour = "green" if event.status == "succeeded" else "red"
        self._line(f"{self.paint(event.status, colour)}: {', '.join(parts)}")

    def _tell_failures(self) -> None:
        """Tell what failed: why, with the last lines of its log, and how to look into it."""
        failures, self._failures = self._failures, []
        for event in failures[:_MOST_FAILED]:
            self._line(f"{self.paint('failed:', 'red')} {event.job}")
            for line in event.message.splitlines():
                self._line(f"    {plain(line)}")
            if event.hint:
                self._line(f"    {self.paint('fix:', 'bold')} {event.hint}")
            if event.log:
                self._line(f"    log: {event.log}")
                self._line(f"    look inside: {self._debug(event.job)}")
        if len(failures) > _MOST_FAILED:
            self._line(f"and {len(failures) - _MOST_FAILED} more failed: `repro status` lists them")

    def _debug(self, job: str) -> str:
        words = ["repro", "debug", *([] if self._workflow == "workflow.yaml" else [self._workflow]), job]
        return shlex.join(words)

    # ---- what is drawn over

    def _job_line(self, job: str, text: str) -> None:
        width = len(str(self._jobs))
        head = f"{time.strftime('%H:%M:%S')} [{self._done:{width}}/{self._jobs}]"
        self._line(f"{self.paint(head, 'dim')} {job}: {text}")

    def _block(self) -> list[str]:
        columns = self._screen.size()[0]
        lines = super()._block()
        if not self._running:
            return lines
        now = time.monotonic()
        oldest = sorted(self._running.items(), key=lambda item: item[1].since)
        for job, running in oldest[:_MOST_RUNNING]:
            again = f", attempt {running.attempt}" if running.attempt > 1 else ""
            lines.append(self.paint(fit(f"  {job}: {span_text(now - running.since)}{again}", columns), "blue"))
        left = self._left()
        parts = [f"{self._done} of {self._jobs} done", f"{len(self._running)} running"]
        parts += [f"{len(self._failures)} failed"] if self._failures else []
        parts += [left] if left else []
        return [*lines, fit(", ".join(parts), columns)]

    def _left(self) -> str:
        """Return how long the rest may take at the pace so far; empty where that cannot be said yet."""
        waiting = self._jobs - self._done
        if self._ran < 2 or waiting < 1:
            return ""
        seconds = (time.monotonic() - self._began) / self._ran * waiting
        return f"about {span_text(seconds)} left" if seconds >= 1 else ""

    def _start(self) -> None:
        if self._thread is None and self._screen.terminal and not self._ended.is_set():
            self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with self._lock:
                self._redraw()
