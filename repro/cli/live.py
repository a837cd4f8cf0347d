"""Builds drawn on a terminal: what is done stays as one line each, what runs is a block below that keeps moving."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING, Final

from repro.cli.build_text import Seen, StepKey, amount, heading, key_of
from repro.cli.screen import Screen, fit, plain, width
from repro.dataclass import dataclass
from repro.events import BuildOutput, BuildStep, Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import ReproError
    from repro.events import Event

_TAIL: Final = 5  # lines of output below a running instruction
_BEAT: Final = 0.1  # seconds between two frames


@dataclass(slots=True)
class _Running:
    """An instruction under way, and the last lines that it printed."""

    head: str
    since: float
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))


class LiveProgress:
    """A sink that draws; `finish` takes the moving block away.

    Its thread begins with the first instruction: until then the engine may need the process to have one thread only.
    """

    def __init__(self, environ: Mapping[str, str], *, named: bool, explain: bool) -> None:
        self._screen = Screen(environ)
        self._named = named
        self._explain = explain
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = Seen(set())
        self._running: dict[StepKey, _Running] = {}
        self._fetching: dict[str, Progress] = {}
        self._above: list[str] = []  # lines that stay, not written yet
        self._begun = time.monotonic()
        self._done = 0

    def __call__(self, event: Event) -> None:
        """Take one event; safe from any thread."""
        with self._lock:
            match event:
                case Notice(level, text):
                    word = f"{self._screen.paint('warning:', 'yellow')} " if level == "warning" else ""
                    self._above.extend(f"{word}{text}".splitlines())
                case BuildStep():
                    self._step(event)
                case BuildOutput():
                    self._output(event)
                case Progress():
                    self._progress(event)
                case _:
                    return
            if self._thread is None:
                self._draw()

    def _step(self, step: BuildStep) -> None:
        if self._seen.is_setting(step):
            return
        key = key_of(step)
        head = heading(step, named=self._named)
        if step.state == "started":
            self._running[key] = _Running(head, time.monotonic())
            self._start()
            return
        self._done += 1
        ran = self._running.pop(key, None)
        colour, end = {
            "cached": ("dim", "CACHED"),
            "done": ("", f"{step.seconds:.1f}s" if ran is not None else ""),
            "failed": ("red", f"FAILED {step.seconds:.1f}s"),
        }.get(step.state, ("dim", step.state.upper()))
        line = self._line(head, end)
        self._above.append(self._screen.paint(line, colour) if colour else line)
        if self._explain and step.reason:
            self._above.append(self._screen.paint(f"    {step.reason}", "dim"))

    def _output(self, event: BuildOutput) -> None:
        running = self._running.get(key_of(event))
        if running is not None:
            running.tail.extend(plain(line) for line in event.text.splitlines())

    def _progress(self, event: Progress) -> None:
        if event.done < event.total:
            self._fetching[event.what] = event
        elif self._fetching.pop(event.what, None) is not None:
            self._above.append(f"{event.what}: {amount(event)}")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        above, self._above = self._above, []
        block = self._block()
        if above or block:
            self._screen.draw(above, block)
        else:
            self._screen.erase()

    def _block(self) -> list[str]:
        """Return the moving lines, as many as the terminal has room for: heads first, then output, newest first."""
        columns, rows = self._screen.size()
        now = time.monotonic()
        fetching = [fit(f"{one.what}: {amount(one)}", columns) for one in self._fetching.values()]
        running = list(self._running.values())
        if not running:
            return fetching[:rows]
        room = rows - 1 - len(fetching) - len(running)
        each = max(0, min(_TAIL, room // len(running)))
        lines = fetching
        for one in running:
            lines.append(self._screen.paint(self._line(one.head, f"{now - one.since:.1f}s"), "blue"))
            tail = list(one.tail)[-each:] if each else []
            lines.extend(self._screen.paint(fit(f"  | {text}", columns), "dim") for text in tail)
        summary = f"building: {self._done} done, {len(running)} running, {now - self._begun:.1f}s"
        return [*lines[: rows - 1], fit(summary, columns)]

    def _line(self, head: str, end: str) -> str:
        """Return ``head`` with ``end`` at the right edge of the terminal; a head too long for that is cut."""
        columns = self._screen.size()[0]
        if columns - width(end) < 8:
            return fit(head, columns)
        head = fit(head, columns - width(end) - 1)
        return f"{head}{' ' * (columns - width(head) - width(end))}{end}" if end else head

    def failed(self, error: ReproError) -> None:
        """Tell the error that ended the build."""
        from repro.cli.main import print_error  # noqa: PLC0415 - only where there is one

        print_error(error)

    def finish(self) -> None:
        """Draw what stays, take the moving block away, and end the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._running.clear()
            self._fetching.clear()
            self._draw()
