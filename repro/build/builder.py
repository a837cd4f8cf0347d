"""One stage of a build, instruction by instruction: from the cache where it can be, else made and committed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.build.config import DEFAULT_PATH, State, configure
from repro.build.halt import HaltedError
from repro.build.options import MadeLayer
from repro.build.steps import prepare
from repro.build.trace import Trace, reason
from repro.dataclass import dataclass
from repro.dockerfile import instructions as model
from repro.errors import BuildError
from repro.events import BuildStep

if TYPE_CHECKING:
    from threading import Semaphore

    from repro.build.bench import Step, Workbench
    from repro.build.options import BuildOptions
    from repro.build.stages import Stage
    from repro.digest import Digest

_KEYWORDS = {model.Run: "RUN", model.Copy: "COPY", model.Add: "ADD", model.Workdir: "WORKDIR"}


@dataclass(frozen=True, slots=True)
class Built:
    """A stage after its last instruction: its state, its layers, and how many of them came from the cache."""

    state: State
    layers: tuple[MadeLayer, ...]
    cached: int


class StageBuilder:
    """Builds stages; safe to use from many threads, one stage in each.

    ``places`` bounds how many instructions run at once: a stage that waits for another holds none.
    """

    def __init__(self, bench: Workbench, options: BuildOptions, places: Semaphore) -> None:
        self._bench = bench
        self._options = options
        self._places = places

    def build(self, stage: Stage) -> Built:
        """Return the stage built; BuildError at the instruction that failed."""
        return _Course(self._bench, self._options, self._places, stage).run()


class _Course:
    """The way through one stage."""

    def __init__(self, bench: Workbench, options: BuildOptions, places: Semaphore, stage: Stage) -> None:
        self._bench = bench
        self._options = options
        self._places = places
        self._stage = stage
        self._settings = bench.settings
        self._total = len(stage.instructions) + 1
        self._layers: list[MadeLayer] = []
        self._cached = 0
        makers = [(at, one) for at, one in enumerate(stage.instructions) if isinstance(one, tuple(_KEYWORDS))]
        self._positions = {at: position for position, (at, _) in enumerate(makers)}
        name = [options.origin or options.name, stage.label]
        self._trace = Trace(bench.store, name, [one.text for _, one in makers])

    def run(self) -> Built:
        """Go through all instructions."""
        self._bench.halt.check()
        state = self._begin()
        self._tell(1, self._stage.begin.text, "done")
        complete = False
        try:
            for at, one in enumerate(self._stage.instructions):
                self._bench.halt.check()
                state = self._instruction(state, one, at)
            complete = True
        finally:
            self._trace.save(complete=complete)
        return Built(state, tuple(self._layers), self._cached)

    def _begin(self) -> State:
        """Return the state right after FROM; its triggers are among the instructions, so it has none any more."""
        stage = self._stage
        if isinstance(stage.base, int):
            state = replace(self._bench.finished(stage.base), cmd_set=False)
        else:
            state = State(self._bench.image(stage.base, stage.begin.image.where), stage.base)
        env = state.config.env
        if "PATH" not in state.env:
            env = (*env, f"PATH={DEFAULT_PATH}")  # as BuildKit: an image always has one
        return replace(state, config=replace(state.config, env=env, on_build=()))

    def _instruction(self, state: State, one: model.AnyInstruction, at: int) -> State:
        if not isinstance(one, model.Run | model.Copy | model.Workdir):
            state = configure(state, one, self._settings)
            self._tell(at + 2, one.text, "done")
            return state
        step = prepare(self._bench, self._stage, state, one, at + 2)
        diff_id = None
        if step.key is None:
            self._tell(at + 2, one.text, "done")
        else:
            diff_id = self._layer(step, one, at)
            self._trace.note(one.text, step.key)
            self._layers.append(MadeLayer(self._stage.label, one.where, one.text, diff_id))
        return step.state.with_history(step.history, self._settings.epoch, diff_id)

    def _layer(self, step: Step, one: model.Run | model.Copy | model.Workdir, at: int) -> Digest:
        """Return the layer of an instruction, from the cache or made."""
        assert step.key is not None
        memory = self._bench.memory
        with memory.making(step.key.digest):
            self._bench.halt.check()
            diff_id = memory.recall(step.key.digest)
            if diff_id is not None:
                self._cached += 1
                self._tell(at + 2, one.text, "cached", why="hit")
                return diff_id
            old = self._trace.partner(self._positions[at])
            why = reason(old, step.key, memory, no_cache=self._options.no_cache, instruction=_KEYWORDS[type(one)])
            with self._places:
                self._bench.halt.check()
                self._tell(at + 2, one.text, "started", why=why)
                started = time.monotonic()
                diff_id = self._made(step, one, at + 2, started)
                memory.remember(step.key.digest, diff_id)
                memory.keep_listings(step.key)
                self._tell(at + 2, one.text, "done", time.monotonic() - started, why=why)
        return diff_id

    def _made(self, step: Step, one: model.AnyInstruction, number: int, started: float) -> Digest:
        """Make the layer in a workspace and commit it."""
        assert step.fill is not None
        store = self._bench.store
        stopped = "failed"
        try:
            with store.workspace() as space:
                upper = step.fill(space)
                diff_id = store.commit_layer(upper, epoch=self._settings.epoch, clean=not step.clean).diff_id
            stopped = ""
        except HaltedError:
            stopped = "canceled"
            raise
        except OSError as error:
            raise BuildError(f"the layer of {one.text} cannot be made", where=one.where, why=str(error)) from error
        finally:
            if stopped:
                self._tell(number, one.text, stopped, time.monotonic() - started)
        return diff_id

    def _tell(self, number: int, text: str, what: str, seconds: float = 0.0, *, why: str = "") -> None:
        self._bench.sink(
            BuildStep(self._options.name, self._stage.label, number, self._total, text, what, seconds, why)
        )
