"""ONBUILD: the instructions that a base left for the stages based on it, put in front of theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.build.stages import SCRATCH, BuildPlan, Stage, needed_for
from repro.dockerfile import instructions as model
from repro.dockerfile.grammar import read
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from repro.errors import Location
    from repro.oci.model import ImageConfig


def with_triggers(plan: BuildPlan, image: Callable[[str, Location], ImageConfig]) -> BuildPlan:
    """Return the plan with every trigger in its place, and the stages that they read from among the needed ones.

    A trigger runs right after FROM, and once: neither the image nor a stage based on this one inherits it
    (Dockerfile reference, "ONBUILD"). A base that is a stage leaves its triggers as an image does.

    Args:
        plan: as the file says it.
        image: returns the config of a base by name; asked for needed stages alone.
    """
    stages = list(plan.stages)
    done: set[int] = set()
    needed = plan.needed
    while waiting := [index for index in needed if index not in done]:
        for index in waiting:
            stages[index] = _expanded(plan, stages[index], image)
            done.add(index)
        needed = needed_for(stages, plan.target.index)  # a trigger may copy from a stage that nothing else needs
    return replace(plan, stages=tuple(stages), needed=needed)


def _expanded(plan: BuildPlan, stage: Stage, image: Callable[[str, Location], ImageConfig]) -> Stage:
    where = stage.begin.image.where
    if isinstance(stage.base, int):
        parent = plan.stages[stage.base]
        texts = [one.trigger for one in parent.instructions if isinstance(one, model.OnBuild)]
    elif stage.base == SCRATCH:
        return stage
    else:
        texts = list(image(stage.base, where).on_build)
    if not texts:
        return stage
    triggers = tuple(_trigger(text, stage) for text in texts)
    return replace(stage, instructions=(*triggers, *stage.instructions))


def _trigger(text: str, stage: Stage) -> model.AnyInstruction:
    """Return the instruction that a trigger's text spells, as if it stood in the line of FROM."""
    where = stage.begin.image.where
    try:
        found: Sequence[model.AnyInstruction] = read("\n" * (where.line - 1) + text, where.file).instructions
    except DockerfileError as error:
        raise _bad(stage, text, error.message, error.hint) from error
    if len(found) != 1 or isinstance(found[0], model.From | model.OnBuild | model.Maintainer):
        raise _bad(stage, text, "it is no single instruction that ONBUILD may hold", None)
    return found[0]


def _bad(stage: Stage, text: str, why: str, hint: str | None) -> DockerfileError:
    return DockerfileError(
        f"the base {stage.begin.image.text} has an ONBUILD trigger that cannot be read: {text}",
        where=stage.begin.image.where,
        why=why,
        hint=hint,
    )
