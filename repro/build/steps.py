"""The instructions that make layers, made ready: what is in each one's key, and how its layer folder is filled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from repro.build.bench import Step, Workbench
from repro.build.cache import plain
from repro.build.config import State, workdir_path
from repro.build.mounts import MountReader, Origin
from repro.build.run import execute, plan_run
from repro.build.source import Kind, ViewSource, clean
from repro.build.transfer import prepare_copy
from repro.build.tree import Attributes
from repro.build.users import identify
from repro.dockerfile import instructions as model
from repro.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from repro.build.stages import Stage
    from repro.digest import Json

_SECOND = 1_000_000_000


def prepare(
    bench: Workbench, stage: Stage, state: State, one: model.Run | model.Copy | model.Workdir, number: int
) -> Step:
    """Return ``one``, the stage's instruction ``number``, made ready.

    DockerfileError or BuildError, located, where that cannot be.
    """
    match one:
        case model.Run():
            return _run(bench, stage, state, one, number)
        case model.Copy():
            return prepare_copy(bench, stage, state, one)
        case model.Workdir():
            return _workdir(bench, state, one)


def _run(bench: Workbench, stage: Stage, state: State, one: model.Run, number: int) -> Step:
    settings = bench.settings
    reader = MountReader(state.variables, state.workdir, escape=settings.escape)
    mounts = tuple(
        reader.read(mount, _mount_origin(bench, stage, mount), bench.memory, settings.epoch) for mount in one.mounts
    )
    identity = identify(state.config.user, bench.view(state), one.where)
    plan = plan_run(one, state, settings, identity, mounts, bench.network)

    def fill(space: Path) -> Path:
        return execute(plan, bench, state, space, stage=stage.label, number=number)

    return Step(state, plan.history, bench.key("run", state, plan.key_parts(bench.arch)), fill)


def _mount_origin(bench: Workbench, stage: Stage, mount: model.Mount) -> Origin | None:
    """Return what a mount reads from; None for those that read from nothing."""
    name = mount.get("from")
    if mount.type == "bind" or (mount.type == "cache" and name):
        return bench.origin(stage, name, mount.where)
    return None


def _workdir(bench: Workbench, state: State, one: model.Workdir) -> Step:
    """WORKDIR makes its folder, for the user of that moment, and no layer where it exists."""
    path = workdir_path(state, one, bench.settings)
    after = replace(state, config=replace(state.config, working_dir=path))
    history = f"WORKDIR {path}"
    source = ViewSource(bench.view(state))
    place = clean(source.resolve(path))
    node = source.node(place)
    if node is not None and node.kind is not Kind.FOLDER:
        raise BuildError(f"{path} is a {node.kind.value} in the image, not a folder", where=one.where)
    if node is not None or not place:
        return Step(after, history)
    identity = identify(state.config.user, bench.view(state), one.where)
    attributes = Attributes(identity.uid, identity.gid, 0o755, bench.settings.epoch * _SECOND)
    parts: dict[str, Json] = {"path": plain(place), "owner": [identity.uid, identity.gid]}

    def fill(space: Path) -> Path:
        layer = bench.new_layer(space, state)
        layer.folder(place, attributes)
        layer.finish()
        return space / "upper"

    return Step(after, history, bench.key("workdir", state, parts), fill, clean=True)
