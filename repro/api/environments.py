"""Environments to images: recipe, build, and what execution needs to know, each only when asked for.

An environment's *declaration digest* covers all that decides its image: what is declared, the locked packages, the
locked base and the template's text. The lock keeps it beside the image IDs made from it: a run in which nothing
changed renders no template and starts nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from repro.api.archives import PREFIX, Archives, archive_base
from repro.api.contexts import context_digest, folder_context
from repro.api.images import build_folder, stored_image
from repro.api.lockfile import LockFile
from repro.api.packages import read_packages
from repro.digest import Digest, record_digest
from repro.environment.lock import archive_digest
from repro.errors import BuildError, UsageError
from repro.events import Notice, as_json
from repro.execution.image import Image
from repro.names import Reference
from repro.workflow.model import ArchiveBase, DockerfileEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.build.context import FolderContext
    from repro.environment.model import EnvironmentLock
    from repro.environment.render import Recipe
    from repro.errors import Location
    from repro.workflow.model import TemplateEnvironment


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An environment's image: its ID, and the tag that names its recipe."""

    environment: str
    image_id: Digest
    tag: str


class Environments:
    """The environments of ``project`` as images in the engine's store; ``may_add`` as in `LockFile`."""

    def __init__(self, project: Project, engine: Engine, *, may_add: bool = True) -> None:
        self._project = project
        self._engine = engine
        self._archives = Archives(engine)
        self._lock = LockFile(project, engine, self._archives, may_add=may_add)

    def known_ids(self) -> dict[str, Digest]:
        """Return the image IDs that the lock knows for the declarations as they are; locks and builds nothing."""
        known: dict[str, Digest] = {}
        for name in self._project.workflow.environments:
            entry = self._lock.current(name)
            try:
                image_id = None if entry is None else self._locked_id(name, entry)
            except BuildError:  # its base is an image that the store lacks
                image_id = None
            if image_id is not None:
                known[name] = image_id
        return known

    def image_id(self, name: str) -> Digest:
        """Return the environment's image ID, from the lock where that is for this declaration, else by building."""
        known = self._locked_id(name, self._lock.entry(name))
        return known if known is not None else self.build(name).image_id

    def image(self, name: str) -> Image:
        """Return what execution needs, built where the store lacks it."""
        store = self._engine.store
        known = self._locked_id(name, self._lock.entry(name))
        if known is None or not store.has_image(known):
            known = self.build(name).image_id
        config = store.config(known)
        layers = store.image_layers(known)
        created = datetime.fromisoformat(config.created) if config.created else None
        return Image(
            environment=name,
            image_id=known,
            layers=layers,
            env=config.env,
            epoch=int(created.timestamp()) if created else 0,
            packages=read_packages(layers, store.form),
            recipe=self._lock.entry(name).declaration,
        )

    def build(self, name: str, *, no_cache: bool = False) -> BuiltImage:
        """Return the environment's image, built where the store lacks it and tagged by its recipe; the lock is told.

        A Notice warns when the lock knows another ID for the same declaration.
        """
        env = self._lock.declared(name)
        entry = self._lock.entry(name)
        if isinstance(env, DockerfileEnvironment):
            image_id = self._build_dockerfile(env, no_cache=no_cache)
            tag = _tag(name, self._declaration(name, entry))
        else:
            recipe = self._recipe(env, entry)
            tag = _tag(name, recipe.digest)
            image_id = self._build_recipe(env, entry, recipe, tag, no_cache=no_cache)
        self._engine.store.tag(str(tag), image_id)
        self._tell_lock(name, image_id)
        return BuiltImage(name, image_id, tag.familiar)

    # ---- the lock's image IDs

    def _locked_id(self, name: str, entry: EnvironmentLock) -> Digest | None:
        known = entry.images.get(self._engine.mode.value)
        return known if known is not None and entry.declaration == self._declaration(name, entry) else None

    def _tell_lock(self, name: str, image_id: Digest) -> None:
        entry = self._lock.entry(name)
        declaration = self._declaration(name, entry)
        images = entry.images if entry.declaration == declaration else {}
        mode = self._engine.mode.value
        locked = images.get(mode)
        if locked == image_id:
            return
        if locked is not None:
            text = f"{name}: the image built now, {image_id}, is not the locked one, {locked}; its jobs run again"
            self._engine.sink(Notice("warning", text))
        told = replace(entry, declaration=declaration, images={**images, mode: image_id})
        self._lock.write(self._lock.content.with_environment(told))

    def _declaration(self, name: str, entry: EnvironmentLock) -> Digest:
        """Return the digest of all that decides the image, without rendering or building anything."""
        env = self._lock.declared(name)
        if isinstance(env, DockerfileEnvironment):
            archives = self._lock.content.archives
            declared: Mapping[str, object] = {
                "origin": entry.origin,
                "context": context_digest(self._context(env), self._lock.dockerfile(env), env.dockerfile),
                "archives": {archive: archive_digest(locked) for archive, locked in archives.items()},
            }
        else:
            declared = {
                "base": self._base_digest(env),
                "env": dict(env.env),
                "run": env.run,
                "template": self._template(env)[0],
                "packages": [package.digest for package in entry.packages],
            }
        return record_digest("declaration/1", as_json(declared))

    # ---- building

    def _build_recipe(
        self, env: TemplateEnvironment, entry: EnvironmentLock, recipe: Recipe, tag: Reference, *, no_cache: bool
    ) -> Digest:
        from repro.build.context import MappingContext  # noqa: PLC0415 - only to build
        from repro.build.engine import BuildOptions, build  # noqa: PLC0415

        store = self._engine.store
        known = store.refs().get(str(tag))
        if known is not None and not no_cache and store.has_image(known):
            return known
        with store.workspace() as room:
            files = {"apt": self._repository(env, entry, room)} if entry.packages else {}
            result = build(
                recipe.dockerfile,
                file=f"{env.name}.Dockerfile",
                context=MappingContext(files),
                options=BuildOptions(name=env.name, no_cache=no_cache),
                store=store,
                launcher=self._engine.launcher(),
                base=self._base,
                extras=lambda base: self._archives.extras(base, room),
                sink=self._engine.sink,
            )
        return result.image_id

    def _repository(self, env: TemplateEnvironment, entry: EnvironmentLock, room: Path) -> Path:
        """Return a flat repository of the locked packages in ``room``, fetched where the downloads lack them."""
        from repro.environment.resolvers.archive import fetch_packages  # noqa: PLC0415 - only to build
        from repro.environment.resolvers.flat import flat_repository  # noqa: PLC0415

        source = self._archives.source_or_none(env.base) if isinstance(env.base, ArchiveBase) else None
        downloads, sink = self._engine.downloads, self._engine.sink
        fetch_packages(entry.packages, source=source, downloads=downloads, sink=sink, what=f"packages of {env.name}")
        flat_repository(entry.packages, downloads, room / "apt")
        return room / "apt"

    def _build_dockerfile(self, env: DockerfileEnvironment, *, no_cache: bool) -> Digest:
        from repro.build.engine import BuildOptions  # noqa: PLC0415 - only to build

        return build_folder(
            self._engine,
            self._lock.dockerfile(env),
            file=env.dockerfile,
            context=self._context(env),
            options=BuildOptions(name=env.name, target=env.target, args=env.args, no_cache=no_cache),
            base=self._base,
            archives=self._archives,
        )

    def _context(self, env: DockerfileEnvironment) -> FolderContext:
        """Return the build context, without this project's own state: it changes with each run."""
        project = self._project
        return folder_context(project.root / env.context, env.dockerfile, (project.state, project.lock_file))

    def _base(self, name: str, where: Location) -> Digest:
        """Return the image for a FROM that is no stage: an archive's as locked, or one in the store."""
        if name.startswith(PREFIX):
            base = archive_base(name, where)
            return self._archives.image(base, self._lock.archive(base))
        return stored_image(self._engine.store, name, where)

    def _recipe(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Recipe:
        from repro.environment.render import render  # noqa: PLC0415 - imports Jinja2

        text, file = self._template(env)
        return render(env, entry, text, template_file=file, base_digest=self._base_digest(env))

    def _base_digest(self, env: TemplateEnvironment) -> Digest:
        if isinstance(env.base, ArchiveBase):
            return archive_digest(self._lock.archive(env.base))
        return self._base(env.base.reference, env.where)

    def _template(self, env: TemplateEnvironment) -> tuple[str, str]:
        """Return the template's text and its name in messages."""
        from repro.environment.render import shipped_template  # noqa: PLC0415 - not for Dockerfiles of users' own

        if "/" not in env.template and not env.template.endswith(".j2"):
            return shipped_template(env.template, env.where), f"{env.template}.Dockerfile.j2"
        return self._lock.text(env.template, env.where, "template"), env.template


def _tag(environment: str, recipe: Digest) -> Reference:
    """Return the image's name: that of its environment, as far as image names allow, and the recipe's checksum."""
    path = re.sub(r"[^a-z0-9]+", "-", environment.lower()).strip("-") or "environment"
    return Reference.parse(f"repro/{path}:{recipe.hex}")


def used_environments(project: Project, names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names``, or every environment that a step uses; UsageError for a name that is not declared."""
    wanted = tuple(names) or tuple(dict.fromkeys(step.environment for step in project.workflow.steps.values()))
    for name in wanted:
        if name not in project.workflow.environments:
            known = ", ".join(project.workflow.environments)
            raise UsageError(f"there is no environment {name!r}", hint=f"declared are: {known}")
    return wanted
