"""What a person sees while something runs: events drawn on standard error, one line each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import amount, heading, size_text
from repro.cli.flow import Flow
from repro.cli.screen import Screen, fit
from repro.events import (
    BuildOutput,
    BuildStep,
    ImageUsed,
    InputUsed,
    JobCached,
    JobFailed,
    JobFinished,
    JobSkipped,
    JobStarted,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import ReproError
    from repro.events import Event

_MOST_LINES: Final = 8  # drawn over at once
_SECONDS_A_LINE: Final = 30.0  # between lines about one part, where nothing can be drawn over


class Console:
    """A sink that draws events. Quiet drops all but warnings and failures; verbose adds what builds print.

    On a terminal the last line is drawn over with what is going on; elsewhere only whole lines appear.
    """

    def __init__(self, environ: Mapping[str, str], *, quiet: bool = False, verbose: bool = False) -> None:
        self._screen = Screen(environ)
        self._quiet = quiet
        self._verbose = verbose
        self._lock = threading.Lock()
        self._jobs = 0
        self._done = 0
        self._progress_shown: dict[str, int] = {}
        self._flows: dict[str, tuple[Flow, str]] = {}  # what is under way, and its line

    def paint(self, text: str, colour: str) -> str:
        """Return ``text`` in ``colour`` where colours are wanted."""
        return self._screen.paint(text, colour)

    def __call__(self, event: Event) -> None:
        """Draw one event; safe from any thread."""
        with self._lock:
            self._draw(event)

    def _line(self, text: str) -> None:
        self._screen.lines(text)

    def _draw(self, event: Event) -> None:
        match event:
            case Notice(level, text):
                if level == "warning":
                    self._line(f"{self.paint('warning:', 'yellow')} {text}")
                elif not self._quiet:
                    self._line(text)
            case JobFailed():
                self._done += 1
                self._draw_failure(event)
            case BuildOutput(text=text):
                self._keep(text)
            case _ if self._quiet:
                return
            case RunStarted(run=run, workflow=workflow, jobs=jobs):
                self._jobs = jobs
                self._done = 0
                self._line(f"run {self.paint(run, 'bold')}: {workflow}, {jobs} jobs")
            case JobStarted(job=job, why=why, attempt=attempt):
                again = f", attempt {attempt}" if attempt > 1 else ""
                self._line(f"{self._count()} {job}: {self.paint('started', 'blue')}{again} ({why})")
            case JobFinished(record=record):
                self._done += 1
                usage = record.usage
                self._line(
                    f"{self._count()} {record.job}: {self.paint('done', 'green')} in {usage.wall:.1f} s"
                    f" (cpu {usage.user + usage.system:.1f} s, {size_text(usage.max_rss)})"
                )
            case JobCached(job=job):
                self._done += 1
                if self._verbose:
                    self._line(f"{self._count()} {job}: {self.paint('cached', 'dim')}")
            case JobSkipped(job=job, because=because):
                self._done += 1
                self._line(f"{self._count()} {job}: {self.paint('skipped', 'yellow')}, {because} failed")
            case RunFinished(status=status, ran=ran, cached=cached, failed=failed, skipped=skipped):
                colour = "green" if status == "succeeded" else "red"
                parts = [f"{ran} ran", f"{cached} cached"]
                parts += [f"{failed} failed"] if failed else []
                parts += [f"{skipped} skipped"] if skipped else []
                self._line(f"{self.paint(status, colour)}: {', '.join(parts)}")
            case BuildStep():
                self._draw_build(event)
            case Progress():
                self._draw_progress(event)
            case ImageUsed() | InputUsed():
                return

    def _count(self) -> str:
        width = len(str(self._jobs))
        return f"[{self._done:{width}}/{self._jobs}]"

    def _draw_failure(self, event: JobFailed) -> None:
        status = f" with exit status {event.exit_status}" if event.exit_status else ""  # 0: what it left is wrong
        self._line(f"{self._count()} {event.job}: {self.paint('failed', 'red')}{status}")
        for line in event.message.splitlines():
            self._line(f"    {line}")
        if event.hint:
            self._line(f"    {self.paint('fix:', 'bold')} {event.hint}")
        if event.log:
            self._line(f"    log: {event.log}")

    def _draw_build(self, step: BuildStep) -> None:
        head = fit(heading(step, named=True), 120)
        if step.state == "started":
            self._draw_transient(head)
        elif step.state == "done" and step.seconds > 0:
            self._line(f"{head} {self.paint(f'{step.seconds:.1f} s', 'dim')}")
        elif step.state == "cached" and self._verbose:
            self._line(f"{head} {self.paint('CACHED', 'dim')}")

    def _draw_progress(self, event: Progress) -> None:
        """Draw one line for each part that is under way; where nothing can be drawn over, a line now and then."""
        flow = self._flows[event.what][0] if event.what in self._flows else Flow()
        line = f"{event.what}: {flow.add(event)}"
        self._flows[event.what] = flow, line
        if event.done >= event.total:
            del self._flows[event.what]
        if self._screen.terminal:
            columns = self._screen.size()[0]
            self._screen.draw((), [fit(text, columns) for _, text in list(self._flows.values())[:_MOST_LINES]])
        elif event.done < event.total:
            if time.monotonic() - flow.told >= _SECONDS_A_LINE:
                flow.told = time.monotonic()
                self._line(line)
        elif self._progress_shown.get(event.what) != event.total:
            self._progress_shown[event.what] = event.total
            self._line(f"{event.what}: {amount(event)}")

    def _keep(self, text: str) -> None:
        if self._verbose and not self._quiet:
            for line in text.splitlines():
                self._line(f"  {self.paint('|', 'dim')} {line}")

    def _draw_transient(self, text: str) -> None:
        if self._screen.terminal:
            self._screen.draw((), [fit(text, self._screen.size()[0])])

    def failed(self, error: ReproError) -> None:
        """Tell the error that ended a build."""
        from repro.cli.main import print_error  # noqa: PLC0415 - only where there is one

        print_error(error)

    def finish(self) -> None:
        """Leave the terminal on a fresh line."""
        with self._lock:
            self._screen.erase()
