"""What a person sees while something runs: events drawn on standard error, one line each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import amount, heading
from repro.cli.flow import Flow
from repro.cli.screen import Screen, fit
from repro.events import BuildOutput, BuildStep, Notice, Progress

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
        """Write a line for good, above what is drawn over."""
        block = self._block() if self._screen.terminal else []
        if block:
            self._screen.draw((text,), block)
        else:
            self._screen.lines(text)

    def _block(self) -> list[str]:
        """Return the lines that are drawn over, on a terminal: what is under way."""
        columns = self._screen.size()[0]
        return [fit(text, columns) for _, text in list(self._flows.values())[:_MOST_LINES]]

    def _redraw(self) -> None:
        block = self._block()
        if block:
            self._screen.draw((), block)
        else:
            self._screen.erase()

    def _draw(self, event: Event) -> None:
        match event:
            case Notice(level, text):
                if level == "warning":
                    self._line(f"{self.paint('warning:', 'yellow')} {text}")
                elif not self._quiet:
                    self._line(text)
            case BuildOutput(text=text):
                self._keep(text)
            case _ if self._quiet:
                return
            case BuildStep():
                self._draw_build(event)
            case Progress():
                self._draw_progress(event)
            case _:
                return  # of runs: `repro.cli.run_console`

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
            self._redraw()
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
