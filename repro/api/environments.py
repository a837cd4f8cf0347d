"""Environments to images: recipe, build, and what execution needs to know, each only when asked for.

An environment's *declaration digest* covers all that decides its image: what is declared, the locked packages, the
locked base and the template's text. The lock keeps it beside the image IDs made from it: a run in which nothing
changed renders no template and starts nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from repro.api.contexts import context_digest
from repro.api.environment_build import EnvironmentBuilder, Manner
from repro.api.lockfile import LockFile
from repro.api.own_files import digests, own_files, own_packages
from repro.api.packages import read_packages
from repro.dataclass import dataclass
from repro.digest import Digest, record_digest
from repro.environment.lock import archive_digest
from repro.environment.templating import with_shipped
from repro.errors import DataError, StoreError, UsageError
from repro.events import Notice, as_json
from repro.execution.image import Image
from repro.names import RECIPES, Reference
from repro.oci.model import epoch_of
from repro.workflow.model import DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.build.verify import Verdict
    from repro.environment.model import EnvironmentLock


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An environment's image; ``tag`` names its recipe (empty: none does); ``verdict``: of a second build, if asked."""

    environment: str
    image_id: Digest
    tag: str
    verdict: Verdict | None = None


_PLAIN = Manner()


class Environments:
    """The environments of ``project`` as images in the engine's store; ``may_add`` as in `LockFile`."""

    def __init__(self, project: Project, engine: Engine, *, may_add: bool = True) -> None:
        self._project = project
        self._engine = engine
        self.lock = LockFile(project, engine, may_add=may_add)
        self._builder = EnvironmentBuilder(engine, self.lock)

    def known_ids(self) -> dict[str, Digest]:
        """Return the image IDs that the lock knows for the declarations as they are; locks and builds nothing."""
        known: dict[str, Digest] = {}
        for name in self._project.workflow.environments:
            entry = self.lock.current(name)
            try:
                image_id = None if entry is None else self._locked_id(name, entry)
            except StoreError:  # its base is an image of this store, and gone
                image_id = None
            if image_id is not None:
                known[name] = image_id
        return known

    def image_id(self, name: str) -> Digest:
        """Return the environment's image ID, from the lock where that is for this declaration, else by building."""
        known = self._locked_id(name, self.lock.entry(name))
        return known if known is not None else self.build(name).image_id

    def image(self, name: str) -> Image:
        """Return what execution needs, built where the store lacks it."""
        store = self._engine.store
        known = self._locked_id(name, self.lock.entry(name))
        if known is None or not store.has_image(known):
            known = self.build(name).image_id
        config = store.config(known)
        layers = store.image_layers(known)
        return Image(
            environment=name,
            image_id=known,
            layers=layers,
            env=config.env,
            epoch=epoch_of(config.created),
            packages=read_packages(store, known),
            recipe=self.lock.entry(name).declaration,
            entrypoint=config.entrypoint or (),
            user=config.user,
        )

    def build(self, name: str, manner: Manner = _PLAIN, *, verify: bool = False) -> BuiltImage:
        """Return the environment's image, built where the store lacks it and tagged by its recipe; the lock is told.

        A Notice warns when the lock knows another ID for the same declaration. An image that was not normalised is not
        what the declaration stands for: no tag names it, no lock knows it. ``verify`` builds it again elsewhere.
        """
        env = self.lock.declared(name)
        entry = self.lock.entry(name)
        if isinstance(env, ImageEnvironment):
            image_id = self._builder.fetched(env, entry)
            self._tell_lock(name, image_id)
            return BuiltImage(name, image_id, entry.base)
        if isinstance(env, DockerfileEnvironment):
            tag = _tag(name, self._declaration(name, entry))
            known = self._vendored(name, entry)
        else:
            tag = _tag(name, self._builder.recipe(env, entry).digest)
            known = self._engine.store.refs().get(str(tag))
        verdict = None
        if known is not None and manner == _PLAIN and not verify and self._engine.store.has_image(known):
            image_id = known
        else:
            result = self._builder.build(env, entry, manner)
            image_id = result.image_id
            if verify:
                from repro.api import verify_build  # noqa: PLC0415 - only where it is asked for

                verdict = verify_build.verify(self._engine, result, self._builder.again(env, entry, manner))
        if not manner.normalize:
            return BuiltImage(name, image_id, "", verdict)
        self._engine.store.tag(str(tag), image_id)
        self._tell_lock(name, image_id)
        return BuiltImage(name, image_id, tag.familiar, verdict)

    def _vendored(self, name: str, entry: EnvironmentLock) -> Digest | None:
        """Return the locked image of a Dockerfile, taken from a vendor folder on disk; None where none has it."""
        locked, vendors = self._locked_id(name, entry), self._engine.host.vendors
        if locked is None or self._engine.store.has_image(locked):
            return None
        from repro.oci.archive import read_layout  # noqa: PLC0415 - only where there is a vendor folder

        for vendor in vendors:
            folder = Path(unquote(urlsplit(vendor).path))
            if urlsplit(vendor).scheme == "file" and (folder / "index.json").exists():
                self._engine.enter()
                try:
                    if read_layout(folder, self._engine.store, built_tag(name, self._engine)) == locked:
                        return locked
                except DataError as error:  # it has none of that tag, or not whole
                    text = f"{name} is not taken from the vendor folder {folder}: {error.why or error.message}"
                    self._engine.sink(Notice("warning", text))
        return None

    # ---- the lock's image IDs

    def _locked_id(self, name: str, entry: EnvironmentLock) -> Digest | None:
        known = entry.images.get(self._engine.mode.identity)
        return known if known is not None and entry.declaration == self._declaration(name, entry) else None

    def _tell_lock(self, name: str, image_id: Digest) -> None:
        entry = self.lock.entry(name)
        declaration = self._declaration(name, entry)
        images = entry.images if entry.declaration == declaration else {}
        mode = self._engine.mode.identity
        locked = images.get(mode)
        if locked == image_id:
            return
        if locked is not None:
            text = f"{name}: the image built now, {image_id}, is not the locked one, {locked}; its jobs run again"
            self._engine.sink(Notice("warning", text))
        told = replace(entry, declaration=declaration, images={**images, mode: image_id})
        if isinstance(self.lock.declared(name), DockerfileEnvironment):
            from repro.environment.installed import installed  # noqa: PLC0415 - only after a build

            store = self._engine.store
            told = replace(told, installed=installed(store.image_layers(image_id), store.form))
        self.lock.change(lambda content: content.with_environment(told))

    def _declaration(self, name: str, entry: EnvironmentLock) -> Digest:
        """Return the digest of all that decides the image, without rendering or building anything."""
        env = self.lock.declared(name)
        if isinstance(env, DockerfileEnvironment):
            archives = self.lock.content.archives
            declared: Mapping[str, object] = {
                "origin": entry.origin,
                "context": context_digest(self._builder.context(env), self.lock.dockerfile(env), env.dockerfile),
                "archives": {archive: archive_digest(locked) for archive, locked in archives.items()},
                **({"froms": dict(entry.froms)} if entry.froms else {}),
            }
        elif isinstance(env, ImageEnvironment):
            declared = {"image": entry.base}
        else:
            declared = {
                "base": self._builder.base_digest(env, entry),
                "env": dict(env.env),
                "run": env.run,
                "template": with_shipped(self._builder.template(env)[0]),
                "packages": [package.digest for package in entry.packages],
                **self._more(env, entry),
            }
        return record_digest("declaration/1", as_json(declared))

    def _more(self, env: TemplateEnvironment, entry: EnvironmentLock) -> dict[str, object]:
        """Return what decides the image beside apt packages; what an environment does not have is not in it."""
        parts: dict[str, object] = {
            "build_packages": [package.digest for package in entry.build_packages],
            "source": () if env.source is None else (env.source.digest, env.source.prefix, env.source.run),
            "conda": [package.digest for package in entry.conda],
            "wheels": [wheel.digest for wheel in entry.wheels],
            "tools": [wheel.digest for wheel in entry.tools],
            "files": dict(env.files),
            "own_files": digests(own_files(env, self._project)) if env.files else {},
            "own_packages": digests(own_packages(env, self._project)) if env.pip else {},
        }
        return {name: value for name, value in parts.items() if value}


def built_tag(environment: str, engine: Engine) -> str:
    """Return the tag under which a vendor folder keeps what a Dockerfile of the project gave in this mode."""
    return f"{environment}.{engine.mode.identity}"


def _tag(environment: str, recipe: Digest) -> Reference:
    """Return the image's name: that of its environment, as far as image names allow, and the recipe's checksum."""
    path = re.sub(r"[^a-z0-9]+", "-", environment.lower()).strip("-") or "environment"
    return Reference.parse(f"{RECIPES}{path}:{recipe.hex}")


def used_environments(project: Project, names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names``, or every environment that a step uses; UsageError for a name that is not declared."""
    wanted = tuple(names) or tuple(dict.fromkeys(step.environment for step in project.workflow.steps.values()))
    for name in wanted:
        if name not in project.workflow.environments:
            known = ", ".join(project.workflow.environments)
            raise UsageError(f"there is no environment {name!r}", hint=f"declared are: {known}")
    return wanted
