"""The stages of a Dockerfile: what each is based on, which are needed, and the ARGs before the first FROM."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.build.platforms import own_platform
from repro.dataclass import dataclass
from repro.dockerfile import instructions as model
from repro.dockerfile.words import expand
from repro.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.errors import Location

SCRATCH = "scratch"
_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "riscv64": "riscv64", "ppc64le": "ppc64le",
    "s390x": "s390x", "loongarch64": "loong64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows. ``base`` is the number of an earlier stage, or an image name, or ``scratch``."""

    index: int
    name: str | None
    base: int | str
    begin: model.From
    instructions: tuple[model.AnyInstruction, ...]

    @property
    def label(self) -> str:
        """Its name, or its number."""
        return self.name or str(self.index)


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The stages of a file, the needed ones in the order in which they are built, the last of them the target."""

    escape: str
    stages: tuple[Stage, ...]
    needed: tuple[int, ...]
    globals: Mapping[str, str]

    @property
    def target(self) -> Stage:
        """The stage whose image is wanted."""
        return self.stages[self.needed[-1]]


def architecture() -> str:
    """Return this machine's name for itself as OCI spells it (``amd64``)."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def platform_arguments(arch: str) -> dict[str, str]:
    """Return the platform ARGs that every file may declare (Dockerfile reference, "Automatic platform ARGs")."""
    return {
        f"{which}{part}": value
        for which in ("BUILD", "TARGET")
        for part, value in (("PLATFORM", f"linux/{arch}"), ("OS", "linux"), ("ARCH", arch), ("VARIANT", ""))
    }


def plan_build(
    dockerfile: model.Dockerfile, *, target: str | None, arguments: Mapping[str, str], arch: str
) -> BuildPlan:
    """Return which stages are to be built for ``target`` (name, number; None is the last), and on what.

    Raises:
        DockerfileError: nothing but ARG may come before FROM; an unknown target; a platform that is not ours.
    """
    variables = platform_arguments(arch)
    split = next((i for i, one in enumerate(dockerfile.instructions) if isinstance(one, model.From)), None)
    for one in dockerfile.instructions[:split]:
        if not isinstance(one, model.Arg):
            raise DockerfileError(
                "nothing but ARG may stand before the first FROM", where=one.where, hint="begin with FROM"
            )
        for item in one.arguments:
            value = arguments.get(item.name.text)
            if value is None and item.value is not None:
                value = expand(item.value.text, variables, where=item.value.where, escape=dockerfile.escape)
            if value is not None:
                variables[item.name.text] = value
    if split is None:
        raise DockerfileError("there is no FROM", where=dockerfile.instructions[0].where, hint="begin with FROM image")
    stages: list[Stage] = []
    for begin, body in _groups(dockerfile.instructions[split:]):
        stages.append(_stage(begin, body, stages, variables, dockerfile.escape, arch))
    chosen = _target(stages, target)
    return BuildPlan(dockerfile.escape, tuple(stages), needed_for(stages, chosen), variables)


def find_stage(stages: Sequence[Stage], text: str, *, before: int) -> int | None:
    """Return the number of the stage that ``--from=text`` means in stage ``before``; None if it is an image.

    Of two stages with one name the later one is meant, as in BuildKit.
    """
    for stage in reversed(stages[:before]):
        if stage.name is not None and stage.name == text.lower():
            return stage.index
    return int(text) if text.isascii() and text.isdigit() and int(text) < before else None


def references(stage: Stage) -> list[tuple[str, Location]]:
    """Return what a stage copies or mounts from, by name, with the places."""
    out: list[tuple[str, Location]] = []
    for one in stage.instructions:
        if isinstance(one, model.Copy) and one.source_image is not None:
            out.append((one.source_image.text, one.source_image.where))
        elif isinstance(one, model.Run):
            out.extend((mount.get("from"), mount.where) for mount in one.mounts if mount.get("from"))
    return out


def outside_images(plan: BuildPlan) -> tuple[tuple[str, Location], ...]:
    """Return the images that the needed stages are based on, copy or mount from, each name once, with a place."""
    found: dict[str, Location] = {}
    for index in plan.needed:
        stage = plan.stages[index]
        if isinstance(stage.base, str) and stage.base != SCRATCH:
            found.setdefault(stage.base, stage.begin.image.where)
        for text, where in references(stage):
            if find_stage(plan.stages, text, before=index) is None:
                found.setdefault(text, where)
    return tuple(found.items())


def _groups(
    instructions: Sequence[model.AnyInstruction],
) -> list[tuple[model.From, tuple[model.AnyInstruction, ...]]]:
    out: list[tuple[model.From, list[model.AnyInstruction]]] = []
    for one in instructions:
        if isinstance(one, model.From):
            out.append((one, []))
        else:
            out[-1][1].append(one)
    return [(begin, tuple(body)) for begin, body in out]


def _stage(
    begin: model.From,
    body: tuple[model.AnyInstruction, ...],
    earlier: Sequence[Stage],
    variables: Mapping[str, str],
    escape: str,
    arch: str,
) -> Stage:
    if begin.platform is not None and begin.platform.text:
        wanted = expand(begin.platform.text, variables, where=begin.platform.where, escape=escape)
        if not own_platform(wanted, arch):
            raise DockerfileError(
                f"the platform {wanted or begin.platform.text} is not this machine's",
                where=begin.platform.where,
                hint=f"only linux/{arch} can be built here",
            )
    text = expand(begin.image.text, variables, where=begin.image.where, escape=escape)
    if not text:
        raise DockerfileError(
            f"the base {begin.image.text!r} is empty",
            where=begin.image.where,
            hint="give its ARG a default before FROM",
        )
    base: int | str = text
    for stage in earlier:
        if stage.name is not None and stage.name == text.lower():
            base = stage.index
    return Stage(len(earlier), begin.name, base, begin, body)


def _target(stages: Sequence[Stage], target: str | None) -> int:
    if target is None:
        return len(stages) - 1
    found = find_stage(stages, target, before=len(stages))
    if found is None:
        import difflib  # noqa: PLC0415 - only for a mistake

        names = [stage.label for stage in stages]
        near = difflib.get_close_matches(target, names, n=1)
        raise DockerfileError(
            f"there is no stage {target!r}",
            where=stages[-1].begin.where.file,
            hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}",
        )
    return found


def needed_for(stages: Sequence[Stage], target: int) -> tuple[int, ...]:
    """Return the numbers of the stages that the stage ``target`` needs, itself last.

    Raises:
        DockerfileError: ``--from`` names a stage that comes later.
    """
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        stage = stages[index]
        if isinstance(stage.base, int):
            waiting.append(stage.base)
        for text, where in references(stage):
            found = find_stage(stages, text, before=index)
            if found is not None:
                waiting.append(found)
            elif text.lower() in {other.name for other in stages[index:]} or (text.isascii() and text.isdigit()):
                raise DockerfileError(
                    f"there is no stage {text!r} before this one", where=where, hint="a stage can use earlier ones only"
                )
    return tuple(sorted(needed))
