"""The instructions that make layers, made ready: what is in each one's key, and how its layer folder is filled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repro.build.cache import LayerMemory, layer_key, plain, stack_digest
from repro.build.config import Settings, State, workdir_path
from repro.build.copy import CopyPlan, Written, destination_of, octal, perform, select
from repro.build.mounts import Origin, resolve_mount
from repro.build.run import Extras, execute, plan_run
from repro.build.source import Kind, ViewSource, clean
from repro.build.stages import SCRATCH, BuildPlan, Stage, find_stage
from repro.build.tree import Attributes, LayerFolder
from repro.build.users import identify, owner
from repro.dockerfile import instructions as model
from repro.dockerfile.words import expand
from repro.errors import BuildError, DockerfileError
from repro.events import Notice
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repro.build.context import Context
    from repro.digest import Digest, Json
    from repro.dockerfile.parser import Heredoc
    from repro.errors import Location
    from repro.events import Sink
    from repro.oci.model import ImageConfig
    from repro.oci.store import Store
    from repro.runtime.container import Launcher
    from repro.runtime.spec import Network

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction made ready: ``fill`` makes its layer folder in a workspace; None with ``key`` means no layer."""

    state: State
    history: str
    key: Digest | None = None
    fill: Callable[[Path], Path] | None = None


@dataclass(frozen=True, slots=True)
class Workbench:
    """What the steps of one build share; ``done`` has the state of each finished stage, by number."""

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
    done: dict[int, State]

    def prepare(self, stage: Stage, state: State, one: model.Run | model.Copy | model.Workdir) -> Step:
        """Return ``one`` made ready; DockerfileError or BuildError, located, where that cannot be."""
        match one:
            case model.Run():
                return self._run(stage, state, one)
            case model.Add():
                return self._copy(stage, state, _plain_add(one))
            case model.Copy():
                return self._copy(stage, state, one)
            case model.Workdir():
                return self._workdir(state, one)

    def _run(self, stage: Stage, state: State, one: model.Run) -> Step:
        mounts = tuple(
            resolve_mount(
                mount,
                state.variables,
                state.workdir,
                self._origin(stage, mount.get("from"), mount.where),
                self.memory,
                escape=self.settings.escape,
                epoch=self.settings.epoch,
            )
            for mount in one.mounts
        )
        identity = identify(state.config.user, self._view(state), one.where)
        plan = plan_run(one, state, self.settings, identity, mounts, self.network)

        def fill(space: Path) -> Path:
            return execute(
                plan,
                space=space,
                lowers=self._layers(state),
                extras=self.extras(state.root),
                store=self.store,
                launcher=self.launcher,
                image=self.name,
                sink=self.sink,
            )

        return Step(state, plan.history, self._key("run", state, plan.key_parts(self.arch)), fill)

    def _copy(self, stage: Stage, state: State, one: model.Copy) -> Step:
        _refuse_unsupported(one)
        origin = self._origin(stage, one.source_image.text if one.source_image else "", one.where)
        texts = tuple(state.word(word, self.settings) for word in one.sources)
        nodes = select(origin.source, one.sources, texts)
        destination, into = destination_of(state.word(one.destination, self.settings), state.workdir)
        if len(one.sources) + len(one.heredocs) > 1 and not into:
            raise DockerfileError(
                "more than one source needs a folder as destination",
                where=one.destination.where,
                hint=f"end it with a slash: {one.destination.text}/",
            )
        if one.sources and not nodes and not one.heredocs:
            self.sink(Notice("warning", f"{one.where}: no file matches {' '.join(texts)}: nothing is copied"))
        owners = None if one.chown is None else owner(
            state.word(one.chown, self.settings), self._view(state), one.chown.where
        )  # fmt: skip
        mode = None if one.chmod is None else octal(state.word(one.chmod, self.settings), one.chmod.where)
        written = tuple(Written(doc.name, self._heredoc(state, doc, one.where)) for doc in one.heredocs)
        plan = CopyPlan(origin.source, nodes, written, destination, into, owners, mode, one.where)
        parts: dict[str, Json] = {
            "sources": str(origin.digest(self.memory, texts, nodes, self.settings.epoch)),
            "exact": origin.source.exact,
            "written": [[plain(item.name), item.data.decode("latin-1")] for item in written],
            "destination": [plain(destination), into],
            "owner": None if owners is None else list(owners),
            "mode": mode,
        }

        def fill(space: Path) -> Path:
            layer = self._new_layer(space, state)
            perform(plan, layer, self.settings.epoch)
            layer.finish()
            return space / "upper"

        return Step(state, one.text, self._key("copy", state, parts), fill)

    def _heredoc(self, state: State, doc: Heredoc, where: Location) -> bytes:
        text = doc.text
        if doc.expand:
            text = expand(text, state.variables, where=where, escape=self.settings.escape)
        return text.encode("utf-8", "surrogateescape")

    def _workdir(self, state: State, one: model.Workdir) -> Step:
        """WORKDIR makes its folder, for the user of that moment, and no layer where it exists."""
        path = workdir_path(state, one, self.settings)
        after = replace(state, config=replace(state.config, working_dir=path))
        history = f"WORKDIR {path}"
        source = ViewSource(self._view(state))
        place = clean(source.resolve(path))
        node = source.node(place)
        if node is not None and node.kind is not Kind.FOLDER:
            raise BuildError(f"{path} is a {node.kind.value} in the image, not a folder", where=one.where)
        if node is not None or not place:
            return Step(after, history)
        identity = identify(state.config.user, self._view(state), one.where)
        attributes = Attributes(identity.uid, identity.gid, 0o755, self.settings.epoch * _SECOND)
        parts: dict[str, Json] = {"path": plain(place), "owner": [identity.uid, identity.gid]}

        def fill(space: Path) -> Path:
            layer = self._new_layer(space, state)
            layer.folder(place, attributes)
            layer.finish()
            return space / "upper"

        return Step(after, history, self._key("workdir", state, parts), fill)

    def _new_layer(self, space: Path, state: State) -> LayerFolder:
        upper = space / "upper"
        upper.mkdir(mode=0o755)
        return LayerFolder(upper, self._layers(state), self.store.form)

    def _origin(self, stage: Stage, name: str, where: Location) -> Origin:
        """Return what ``--from=name`` reads; no name is the context."""
        if not name:
            return Origin(self.context, None)
        found = find_stage(self.plan.stages, name, before=stage.index)
        if found is not None:
            state = self.done[found]
        elif name == SCRATCH:
            raise DockerfileError("there is nothing to copy from scratch", where=where)
        else:
            state = State(self.image(name, where), name)
        return Origin(ViewSource(self._view(state)), stack_digest(state.config.diff_ids))

    def _layers(self, state: State) -> tuple[Path, ...]:
        return self.store.layer_stack(state.config.diff_ids)

    def _view(self, state: State) -> View:
        return View(self._layers(state), self.store.form)

    def _key(self, kind: str, state: State, parts: Mapping[str, Json]) -> Digest:
        return layer_key(kind, state.config.diff_ids, self.store.form, self.settings.epoch, parts)


def _plain_add(one: model.Add) -> model.Add:
    """Return an ADD that is a plain copy; what more ADD can do is refused for now."""
    if one.checksum is not None or one.keep_git_dir or one.unpack:
        raise DockerfileError("this flag of ADD is not supported by this version", where=one.where, hint="use COPY")
    for word in one.sources:
        text = word.text.lower()
        if "://" in text or text.startswith("git@"):
            raise DockerfileError(
                f"ADD of an address is not supported by this version: {word.text}",
                where=word.where,
                hint="download it in a RUN, or into the context",
            )
        if text.endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")):
            raise DockerfileError(
                f"ADD of an archive is not supported by this version: {word.text}",
                where=word.where,
                hint="COPY it, and unpack it with tar in a RUN",
            )
    return one


def _refuse_unsupported(one: model.Copy) -> None:
    for name, used in (("parents", one.parents), ("exclude", bool(one.exclude))):
        if used:
            raise DockerfileError(f"--{name} is not supported by this version", where=one.where)
