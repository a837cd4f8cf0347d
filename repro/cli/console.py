"""What a person sees while something runs: events drawn on standard error, one line each."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from repro.events import (
    BuildOutput,
    BuildStep,
    ImageUsed,
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

    from repro.events import Event

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}


def colour_wanted(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to colour ``stream``: a terminal that is not dumb, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def size_text(count: int) -> str:
    """Return a number of bytes for people: decimal units, as Docker prints them."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(count)


class Console:
    """A sink that draws events. Quiet drops all but warnings and failures; verbose adds what builds print.

    On a terminal the last line is rewritten with the progress of downloads; elsewhere only whole lines appear.
    """

    def __init__(self, environ: Mapping[str, str], *, quiet: bool = False, verbose: bool = False) -> None:
        self._stream = sys.stderr
        self._colour = colour_wanted(self._stream, environ)
        self._terminal = self._stream.isatty()
        self._quiet = quiet
        self._verbose = verbose
        self._lock = threading.Lock()
        self._transient = False
        self._broken = False
        self._jobs = 0
        self._done = 0
        self._progress_shown: dict[str, int] = {}

    def paint(self, text: str, colour: str) -> str:
        """Return ``text`` in ``colour`` where colours are wanted."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._colour else text

    def __call__(self, event: Event) -> None:
        """Draw one event; safe from any thread."""
        with self._lock:
            self._draw(event)

    def _line(self, text: str) -> None:
        clear = "\r\033[K" if self._transient else ""
        self._transient = False
        self._write(f"{clear}{text}\n")

    def _write(self, text: str) -> None:
        """Write to the stream; once its reader is gone or its disk is full, to nowhere: the work goes on."""
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._broken = True

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
            case BuildOutput(_, text):
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
            case BuildStep(
                image=image, stage=stage, number=number, total=total, text=text, state=state, seconds=seconds
            ):
                self._draw_build(image, f"{stage} {number}/{total}", text, state, seconds)
            case Progress():
                self._draw_progress(event)
            case ImageUsed():
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

    def _draw_build(self, image: str, where: str, text: str, state: str, seconds: float) -> None:
        first = text.splitlines()[0] if text else ""
        first = first if len(first) <= 100 else first[:97] + "..."
        if state == "started":
            if self._terminal:
                self._write_transient(f"{image} [{where}] {first}")
            return
        took = f" {seconds:.1f} s" if state == "done" else " CACHED"
        if state == "done" or self._verbose:
            self._line(f"{image} [{where}]{self.paint(took, 'dim')} {first}")

    def _draw_progress(self, event: Progress) -> None:
        if event.unit == "bytes":
            amount = f"{size_text(event.done)} of {size_text(event.total)}"
        else:
            amount = f"{event.done} of {event.total} {event.unit}"
        if self._terminal:
            self._write_transient(f"{event.what}: {amount}")
        elif event.done >= event.total and self._progress_shown.get(event.what) != event.total:
            self._progress_shown[event.what] = event.total
            self._line(f"{event.what}: {amount}")

    def _keep(self, text: str) -> None:
        if self._verbose and not self._quiet:
            for line in text.splitlines():
                self._line(f"  {self.paint('|', 'dim')} {line}")

    def _write_transient(self, text: str) -> None:
        self._write(f"\r\033[K{text[: self._width()]}")
        self._transient = True

    def _width(self) -> int:
        """Return how much of a line the terminal shows without wrapping it, for a wrapped line cannot be taken back."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns - 1
        except OSError:
            return 79

    def finish(self) -> None:
        """Leave the terminal on a fresh line."""
        with self._lock:
            if self._transient:
                self._write("\r\033[K")
                self._transient = False
