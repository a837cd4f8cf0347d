"""How instructions of a build, and downloads, read in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.events import BuildOutput, BuildStep, Progress

StepKey: TypeAlias = tuple[str, str, int]  # image, stage, number


def key_of(event: BuildStep | BuildOutput) -> StepKey:
    """Return what tells the instruction from the others of all builds of a command."""
    return event.image, event.stage, event.number


def heading(step: BuildStep, *, named: bool) -> str:
    """Return the instruction as BuildKit heads it: ``[stage 2/5] RUN make``; ``named``: with the image's name."""
    parts = [step.image] if named else []
    if step.stage.isdigit():  # a stage without a name; the only one mostly
        parts += [f"stage-{step.stage}"] if step.stage != "0" else []
    else:
        parts.append(step.stage)
    parts.append(f"{step.number}/{step.total}")
    return f"[{' '.join(parts)}] {' '.join(step.text.split())}"


def size_text(count: int) -> str:
    """Return a number of bytes for people: decimal units, as Docker prints them."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(count)


def amount(progress: Progress) -> str:
    """Return how far something has come: ``1.0 MB of 2.0 MB``, ``3 of 7 packages``."""
    if progress.unit == "bytes":
        return f"{size_text(progress.done)} of {size_text(progress.total)}"
    return f"{progress.done} of {progress.total} {progress.unit}"


@dataclass(slots=True)
class Seen:
    """Which instructions were told to start; one that is done without has only set something, or is a FROM."""

    started: set[StepKey]

    def is_setting(self, step: BuildStep) -> bool:
        """Return whether ``step`` is done and made nothing: there is nothing to tell of it."""
        if step.state == "started":
            self.started.add(key_of(step))
        return step.state == "done" and key_of(step) not in self.started and not step.text.upper().startswith("FROM")
