"""Builds drawn as lines that stay, for logs: as BuildKit's plain progress reads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from repro.cli.build_text import Seen, StepKey, amount, heading, key_of
from repro.cli.screen import Screen, plain
from repro.events import BuildOutput, BuildStep, Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.errors import ReproError
    from repro.events import Event


class PlainProgress:
    """A sink: ``#3 [build 2/5] RUN make``, ``#3 0.312 output``, ``#3 DONE 1.2s``; numbers tell parallel ones apart."""

    def __init__(self, environ: Mapping[str, str], *, named: bool, explain: bool) -> None:
        self._screen = Screen(environ)
        self._named = named
        self._explain = explain
        self._lock = threading.Lock()
        self._seen = Seen(set())
        self._numbers: dict[StepKey, int] = {}
        self._started: dict[StepKey, float] = {}
        self._last: int | None = None
        self._fetched: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Draw one event; safe from any thread."""
        with self._lock:
            match event:
                case Notice(level, text):
                    self._notice(level, text)
                case BuildStep():
                    self._step(event)
                case BuildOutput():
                    self._output(event)
                case Progress() if event.done >= event.total and self._fetched.get(event.what) != event.total:
                    self._fetched[event.what] = event.total
                    self._write(None, f"{event.what}: {amount(event)}")
                case _:
                    return

    def _notice(self, level: str, text: str) -> None:
        word = f"{self._screen.paint('warning:', 'yellow')} " if level == "warning" else ""
        self._write(None, f"{word}{text}")

    def _step(self, step: BuildStep) -> None:
        if self._seen.is_setting(step):
            return
        key = key_of(step)
        if step.state == "started":
            self._started[key] = time.monotonic()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers) + 1
            self._write(number, f"#{number} {self._screen.paint(heading(step, named=self._named), 'bold')}")
        if self._explain and step.reason:
            self._write(number, f"#{number} {step.reason}")
        match step.state:
            case "started":
                return
            case "cached":
                self._write(number, f"#{number} CACHED")
            case "done":
                took = f" {step.seconds:.1f}s" if key in self._started else ""
                self._write(number, f"#{number} DONE{took}")
            case "failed":
                self._write(number, f"#{number} {self._screen.paint('ERROR', 'red')} after {step.seconds:.1f}s")
            case _:
                self._write(number, f"#{number} {step.state.upper()}")

    def _output(self, event: BuildOutput) -> None:
        key = key_of(event)
        number = self._numbers.get(key)
        started = self._started.get(key)
        took = "" if started is None else f"{time.monotonic() - started:.3f} "
        for line in event.text.splitlines() or [""]:
            text = f"{took}{plain(line)}".rstrip()
            self._write(number, text if number is None else f"#{number} {text}")

    def _write(self, number: int | None, text: str) -> None:
        """Write a line; a blank one before it where another instruction had the word."""
        gap = [""] if self._last is not None and number != self._last else []
        self._last = number
        self._screen.lines(*gap, text)

    def failed(self, error: ReproError) -> None:
        """Tell the error that ended the build."""
        from repro.cli.main import print_error  # noqa: PLC0415 - only where there is one

        print_error(error)

    def finish(self) -> None:
        """Leave everything as it is."""
