"""Rules about stages: what they start from, and whether anything needs them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from repro.build.lint.model import Rule, Subject
from repro.build.stages import SCRATCH, find_stage, references

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.errors import Location

_ARCHIVE = "archive:"  # pinned by the lock, or by the archive's signed index


def _bases(subject: Subject) -> Iterator[tuple[str, Location]]:
    """Yield the images that stages start from, copy from or mount, with their places."""
    stages = subject.plan.stages
    for stage in stages:
        if isinstance(stage.base, str):
            yield stage.base, stage.begin.image.where
        for text, where in references(stage):
            if find_stage(stages, text, before=stage.index) is None:
                yield text, where


def _unpinned_base(subject: Subject) -> Iterator[tuple[str, Location]]:
    for image, where in _bases(subject):
        if image == SCRATCH or image.startswith((_ARCHIVE, "sha256:")) or "@" in image:
            continue
        name = image.rpartition("/")[2]
        what = "the tag can be moved to another image" if ":" in name else "no tag and no digest: whatever is latest"
        yield f"the base {image} is not pinned: {what}", where


def _unused_stage(subject: Subject) -> Iterator[tuple[str, Location]]:
    stages = subject.plan.stages
    used = {subject.plan.target.index, len(stages) - 1}
    for stage in stages:
        if isinstance(stage.base, int):
            used.add(stage.base)
        for text, _ in references(stage):
            found = find_stage(stages, text, before=stage.index)
            used.update(() if found is None else (found,))
    for stage in stages:
        if stage.index not in used:
            yield f"nothing uses the stage {stage.label}", stage.begin.where


def _misspelt_stage(subject: Subject) -> Iterator[tuple[str, Location]]:
    stages = subject.plan.stages
    for stage in stages:
        names = [other.name for other in stages[: stage.index] if other.name is not None]
        for text, where in references(stage):
            if find_stage(stages, text, before=stage.index) is not None or any(sign in text for sign in "/:@"):
                continue
            if near := difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.7):
                yield f"{text} is no stage, so it is taken for an image: did you mean the stage {near[0]}?", where


RULES = (
    Rule("unpinned-base", "a base image is named without a digest", _unpinned_base),
    Rule("unused-stage", "nothing needs a stage", _unused_stage),
    Rule("misspelt-stage", "a --from names no stage, but nearly one", _misspelt_stage),
)
