"""What the instructions of one build share, and what an instruction is once it is made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.build.cache import LayerKey, LayerMemory, layer_key, stack_digest
from repro.build.config import Settings, State
from repro.build.context import MappingContext
from repro.build.mounts import Origin
from repro.build.source import ViewSource
from repro.build.stages import SCRATCH, BuildPlan, Stage, find_stage
from repro.build.tree import LayerFolder
from repro.dataclass import dataclass
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repro.build.conditions import Conditions
    from repro.build.context import Context
    from repro.build.halt import Halt
    from repro.build.remote import Fetch
    from repro.build.run import Extras
    from repro.build.secrets import Secret
    from repro.digest import Json
    from repro.errors import Location
    from repro.events import Sink
    from repro.oci.model import ImageConfig
    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.runtime.spec import Network


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction made ready: ``fill`` makes its layer folder in a workspace; None with ``key`` means no layer.

    ``clean`` says that the folder needs no `repro.oci.clean`.
    """

    state: State
    history: str
    key: LayerKey | None = None
    fill: Callable[[Path], Path] | None = None
    clean: bool = False


@dataclass(frozen=True, slots=True)
class Workbench:
    """What the steps of one build share. Its parts are safe from many threads.

    Attributes:
        image: returns the config of a base by name.
        extras: what RUN gets from outside the layer, by the name of the image at the root of its stage.
        finished: returns the state of an earlier stage, once that is built.
        halt: ends the build's containers when it fails elsewhere.
        secrets: what RUN can be shown, by id.
        conditions: see `repro.build.options.BuildOptions`.
        fetch: gets what ADD names by an address; None: such an ADD is an error.
    """

    plan: BuildPlan
    arch: str
    name: str
    network: Network
    settings: Settings
    context: Context
    store: Store
    launcher: Launcher
    memory: LayerMemory
    image: Callable[[str, Location], ImageConfig]
    extras: Callable[[str], Extras]
    sink: Sink
    finished: Callable[[int], State]
    halt: Halt
    secrets: Mapping[str, Secret]
    conditions: Conditions
    fetch: Fetch | None = None

    @property
    def reverse(self) -> bool:
        """Whether every order of creation that the engine chooses goes the other way round."""
        return self.conditions.reverse

    def origin(self, stage: Stage, name: str, where: Location) -> Origin:
        """Return what ``--from=name`` reads; no name is the context."""
        if not name:
            return Origin(self.context, None)
        found = find_stage(self.plan.stages, name, before=stage.index)
        if found is not None:
            state = self.finished(found)
        elif name == SCRATCH:
            return Origin(MappingContext({}), stack_digest(()))  # an empty folder, as in BuildKit
        else:
            state = State(self.image(name, where), name)
        return Origin(ViewSource(self.view(state)), stack_digest(state.config.diff_ids))

    def layers(self, state: State) -> tuple[Path, ...]:
        """Return the layer folders of a stage so far, lowest first."""
        return self.store.layer_stack(state.config.diff_ids)

    def view(self, state: State) -> View:
        """Return a look into a stage so far."""
        return View(self.layers(state), self.store.form)

    def new_layer(self, space: Path, state: State | None) -> LayerFolder:
        """Return an empty layer over a stage so far (None: over nothing), in a workspace."""
        upper = space / "upper"
        upper.mkdir(mode=0o755)
        return LayerFolder(
            upper, () if state is None else self.layers(state), self.store.form, epoch=self.settings.epoch
        )

    def key(self, kind: str, state: State | None, parts: Mapping[str, Json]) -> LayerKey:
        """Return the cache key of an instruction of ``kind`` on a stage so far (None: on nothing)."""
        below = () if state is None else state.config.diff_ids
        return layer_key(kind, below, self.store.form, self.settings.epoch, parts)
