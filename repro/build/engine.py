"""From a Dockerfile's text to an image in the store: the stages that are needed, instruction by instruction."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from repro.build.cache import LayerMemory
from repro.build.config import DEFAULT_PATH, PROXIES, Settings, State, configure, epoch_of, timestamp
from repro.build.run import Extras
from repro.build.stages import SCRATCH, BuildPlan, Stage, architecture, plan_build
from repro.build.steps import Step, Workbench
from repro.dockerfile import instructions as model
from repro.dockerfile.grammar import read
from repro.errors import BuildError, DockerfileError
from repro.events import BuildStep, Notice
from repro.oci.model import ImageConfig
from repro.runtime.spec import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repro.build.context import Context
    from repro.digest import Digest
    from repro.errors import Location
    from repro.events import Sink
    from repro.oci.store import Store
    from repro.runtime.container import Launcher


__all__ = ["BuildOptions", "BuildResult", "Extras", "FindBase", "build"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        name: what events call the build.
        target: the stage whose image is wanted; None is the last.
        args, labels: ``--build-arg`` and ``--label``.
        epoch: seconds since 1970 to which times are clamped; None: the newest base's creation time, else 0.
        network: of RUN without ``--network``.
        no_cache: recall nothing from earlier builds (what is made is remembered all the same).
    """

    name: str
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    network: Network = Network.HOST
    no_cache: bool = False


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The image, and how many instructions could make a layer (RUN, COPY, ADD, WORKDIR), and came from the cache."""

    image_id: Digest
    instructions: int
    cached: int


class FindBase(Protocol):
    """Returns the image ID for a FROM or COPY --from name that is no stage: pulls it, makes it, or looks it up."""

    def __call__(self, name: str, where: Location, /) -> Digest:
        """Return the image ID of ``name``; a ReproError located at ``where`` if it cannot be had."""


def build(
    text: str,
    *,
    file: str,
    context: Context,
    options: BuildOptions,
    store: Store,
    launcher: Launcher,
    base: FindBase,
    extras: Callable[[str], Extras],
    sink: Sink,
) -> BuildResult:
    """Build the image that a Dockerfile's text describes; it is in the store afterwards, untagged.

    The image ID depends on the text, what it reads of ``context``, the bases, the arguments and the epoch alone.

    Args:
        text: the Dockerfile.
        file: its name in errors.
        context: where COPY and bind mounts read.
        options: see `BuildOptions`.
        store: takes layers and image, and remembers layers for later builds.
        launcher: runs RUN; not touched when everything is cached.
        base: see `FindBase`.
        extras: what RUN gets from outside the layer, by the name of the image that a stage is based on in the end.
        sink: hears `BuildStep`, `BuildOutput` and `Notice`.

    Raises:
        DockerfileError: the text has a mistake, or names what is not there.
        BuildError: an instruction failed.
    """
    arch = architecture()
    plan = plan_build(read(text, file), target=options.target, arguments=options.args, arch=arch)
    store.sweep()
    bases = _Bases(store, base, arch)
    bench = Workbench(
        plan=plan,
        arch=arch,
        name=options.name,
        network=options.network,
        settings=Settings(plan.escape, options.args, plan.globals, bases.epoch(plan, options.epoch)),
        context=context,
        store=store,
        launcher=launcher,
        memory=LayerMemory(store, forget=options.no_cache),
        image=bases.config,
        extras=functools.cache(extras),
        sink=sink,
        done={},
    )
    return _Builder(bench, options).build()


class _Bases:
    """The images that a build starts from or copies from; each is asked for once."""

    def __init__(self, store: Store, base: FindBase, arch: str) -> None:
        self._store = store
        self._base = base
        self._arch = arch
        self._known: dict[str, ImageConfig] = {}

    def config(self, name: str, where: Location) -> ImageConfig:
        """Return the config of the image ``name``; BuildError if it is for another machine."""
        if name == SCRATCH:
            return ImageConfig(architecture=self._arch, env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
        if name not in self._known:
            config = self._store.config(self._base(name, where))
            if config.architecture != self._arch:
                raise BuildError(
                    f"{name} is for {config.architecture}, not for {self._arch}",
                    where=where,
                    hint="name an image for this machine",
                )
            self._known[name] = config
        return self._known[name]

    def epoch(self, plan: BuildPlan, given: int | None) -> int:
        """Return the epoch of the whole build: ``given``, else the creation time of the newest base, else 0."""
        stages = [plan.stages[index] for index in plan.needed]
        images = [self.config(one.base, one.begin.image.where) for one in stages if isinstance(one.base, str)]
        if given is not None:
            return given
        return max((epoch_of(image.created) for image in images), default=0)


class _Builder:
    """One build, stage by stage."""

    def __init__(self, bench: Workbench, options: BuildOptions) -> None:
        self._bench = bench
        self._options = options
        self._settings = bench.settings
        self._instructions = 0
        self._cached = 0

    def build(self) -> BuildResult:
        """Build the needed stages in order and keep the target's image."""
        plan = self._bench.plan
        for index in plan.needed:
            self._bench.done[index] = self._stage(plan.stages[index])
        self._warn_unused(plan)
        config = self._bench.done[plan.target.index].config
        if self._options.labels:
            labels = {**config.labels, **dict(sorted(self._options.labels.items()))}
            config = replace(config, labels=labels)
        config = replace(config, created=timestamp(self._settings.epoch))
        return BuildResult(self._bench.store.put_image(config), self._instructions, self._cached)

    def _stage(self, stage: Stage) -> State:
        """Return the state after all instructions of a stage."""
        if isinstance(stage.base, int):
            state = replace(self._bench.done[stage.base], cmd_set=False)
        else:
            state = State(self._bench.image(stage.base, stage.begin.image.where), stage.base)
        if state.config.on_build:
            raise BuildError(
                f"the base {stage.begin.image.text} has ONBUILD triggers",
                where=stage.begin.image.where,
                why="they are not supported by this version",
                hint="write its instructions out: " + "; ".join(state.config.on_build),
            )
        total = len(stage.instructions) + 1
        self._tell(stage, 1, total, stage.begin.text, "done", 0.0)
        for number, one in enumerate(stage.instructions, start=2):
            state = self._instruction(stage, state, one, number, total)
        return state

    def _instruction(self, stage: Stage, state: State, one: model.AnyInstruction, number: int, total: int) -> State:
        match one:
            case model.Run() | model.Copy() | model.Workdir():
                step = self._bench.prepare(stage, state, one)
            case model.OnBuild():
                raise DockerfileError("ONBUILD is not supported by this version", where=one.where)
            case _:
                state = configure(state, one, self._settings)
                self._tell(stage, number, total, one.text, "done", 0.0)
                return state
        if step.key is None:
            self._tell(stage, number, total, one.text, "done", 0.0)
            return step.state.with_history(step.history, self._settings.epoch, None)
        self._instructions += 1
        diff_id = self._bench.memory.recall(step.key)
        if diff_id is not None:
            self._cached += 1
            self._tell(stage, number, total, one.text, "cached", 0.0)
        else:
            self._tell(stage, number, total, one.text, "started", 0.0)
            started = time.monotonic()
            diff_id = self._make(step, one)
            self._bench.memory.remember(step.key, diff_id)
            self._tell(stage, number, total, one.text, "done", time.monotonic() - started)
        return step.state.with_history(step.history, self._settings.epoch, diff_id)

    def _make(self, step: Step, one: model.AnyInstruction) -> Digest:
        """Make the layer of an instruction in a workspace and commit it."""
        assert step.fill is not None
        store = self._bench.store
        try:
            with store.workspace() as space:
                folder = step.fill(space)
                return store.commit_layer(folder, epoch=self._settings.epoch).diff_id
        except OSError as error:
            raise BuildError(f"the layer of {one.text} cannot be made", where=one.where, why=str(error)) from error

    def _tell(self, stage: Stage, number: int, total: int, text: str, what: str, seconds: float) -> None:
        self._bench.sink(BuildStep(self._options.name, stage.label, number, total, text, what, seconds))

    def _warn_unused(self, plan: BuildPlan) -> None:
        """Tell of build arguments that no ARG asks for: mostly a misspelling."""
        declared = {item.name.text for stage in plan.stages for item in _arguments(stage.instructions)}
        unused = sorted(set(self._options.args) - declared - set(plan.globals) - PROXIES)
        for name in unused:
            self._bench.sink(Notice("warning", f"the build argument {name} is not used: no ARG declares it"))


def _arguments(instructions: Sequence[model.AnyInstruction]) -> list[model.Assignment]:
    return [item for one in instructions if isinstance(one, model.Arg) for item in one.arguments]
