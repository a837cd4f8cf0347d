"""Environments' builds: from a locked declaration to an image, in the caller's store or, to verify, in another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from repro.api.archives import PREFIX, archive_base
from repro.api.bases import found_image, parsed
from repro.api.contexts import folder_context
from repro.api.own_files import digests, own_files, own_packages
from repro.dataclass import dataclass
from repro.environment.lock import archive_digest
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.locked_files import LockedFiles
    from repro.api.lockfile import LockFile
    from repro.api.verify_build import Again
    from repro.build.conditions import Conditions
    from repro.build.context import FolderContext, MappingContext
    from repro.build.engine import BuildOptions, BuildResult
    from repro.data.cache import Downloads
    from repro.digest import Digest
    from repro.environment.model import EnvironmentLock
    from repro.environment.render import Recipe
    from repro.errors import Location
    from repro.workflow.model import ImageEnvironment, TemplateEnvironment


@dataclass(frozen=True, slots=True)
class Manner:
    """How to build; the fields are those of `repro.build.options.BuildOptions`."""

    no_cache: bool = False
    normalize: bool = True
    explain: bool = False


class EnvironmentBuilder:
    """Builds what ``lock`` has of its project's environments."""

    def __init__(self, engine: Engine, lock: LockFile) -> None:
        self._project = lock.project
        self._engine = engine
        self._archives = lock.archives
        self._lock = lock

    def build(
        self, env: TemplateEnvironment | DockerfileEnvironment, entry: EnvironmentLock, manner: Manner
    ) -> BuildResult:
        """Return the environment's image, made in the caller's store."""
        return self._build(self._engine, env, entry, self._options(env, manner), self._base)

    def again(self, env: TemplateEnvironment | DockerfileEnvironment, entry: EnvironmentLock, manner: Manner) -> Again:
        """Return what builds it once more elsewhere, for `repro.api.verify_build.verify`."""
        first = self._options(env, manner)

        def build(engine: Engine, conditions: Conditions, carry: Callable[[Digest], Digest], /) -> BuildResult:
            options = replace(first, conditions=conditions, no_cache=False)  # that store has nothing to recall
            return self._build(engine, env, entry, options, lambda name, where: carry(self._base(name, where)))

        return build

    def recipe(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Recipe:
        """Return the rendered Dockerfile with all that it depends on."""
        from repro.environment.render import render  # noqa: PLC0415 - imports Jinja2

        text, file = self.template(env)
        return render(
            env,
            entry,
            text,
            template_file=file,
            base_digest=self.base_digest(env, entry),
            files=digests(own_files(env, self._project)),
            projects=digests(own_packages(env, self._project)),
        )

    def base_digest(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Digest:
        """Return what identifies the base: what an archive's is locked to, the manifest's digest, or the image's ID.

        Nothing is fetched. StoreError where the base is known by its ID alone, and the store lacks it.
        """
        if isinstance(env.base, ArchiveBase):
            return archive_digest(self._lock.archive(env.base))
        pinned = parsed(entry.base, env.where)
        return self._engine.store.resolve(str(pinned)) if pinned.digest is None else pinned.digest

    def fetched(self, env: ImageEnvironment, entry: EnvironmentLock) -> Digest:
        """Return the image that the environment is, as locked; fetched where the store lacks it."""
        return self._base(entry.base, env.where)

    def template(self, env: TemplateEnvironment) -> tuple[str, str]:
        """Return the template's text and its name in messages."""
        from repro.environment.render import shipped_template  # noqa: PLC0415 - not for Dockerfiles of users' own

        if "/" not in env.template and not env.template.endswith(".j2"):
            return shipped_template(env.template, env.where), f"{env.template}.Dockerfile.j2"
        return self._lock.text(env.template, env.where, "template"), env.template

    def context(self, env: DockerfileEnvironment) -> FolderContext:
        """Return the build context, without this project's own state: it changes with each run."""
        project = self._project
        return folder_context(project.root / env.context, env.dockerfile, (project.state, project.lock_file))

    def _build(
        self,
        engine: Engine,
        env: TemplateEnvironment | DockerfileEnvironment,
        entry: EnvironmentLock,
        options: BuildOptions,
        base: Callable[[str, Location], Digest],
    ) -> BuildResult:
        """Build in the store of ``engine``; ``base`` finds what FROM names."""
        from repro.api.image_build import build_folder  # noqa: PLC0415 - only to build

        if isinstance(env, DockerfileEnvironment):
            text, file = self._lock.dockerfile(env), env.dockerfile
            context, found = self.context(env), base

            def base(name: str, where: Location) -> Digest:
                return found(entry.froms.get(name, name), where)

            return build_folder(
                engine, text, file=file, context=context, options=options, base=base, archives=self._archives
            )
        return self._build_recipe(engine, env, entry, options, base)

    def _build_recipe(
        self,
        engine: Engine,
        env: TemplateEnvironment,
        entry: EnvironmentLock,
        options: BuildOptions,
        base: Callable[[str, Location], Digest],
    ) -> BuildResult:
        from repro.api.image_build import build_folder  # noqa: PLC0415 - only to build

        recipe = self.recipe(env, entry)

        def pinned(name: str, where: Location) -> Digest:
            own = isinstance(env.base, ImageBase) and name == env.base.reference
            return base(entry.base if own else name, where)

        with engine.store.workspace() as room:
            return build_folder(
                engine,
                recipe.dockerfile,
                file=f"{env.name}.Dockerfile",
                context=self.recipe_context(env, entry, room),
                options=options,
                base=pinned,
                archives=self._archives,
            )

    def recipe_context(self, env: TemplateEnvironment, entry: EnvironmentLock, room: Path) -> MappingContext:
        """Return the context of the recipe's build, its made-up folders in ``room``; fetches what the lock names."""
        from repro.build.context import MappingContext  # noqa: PLC0415 - only to build

        files = self._locked_files()
        files.fetch(files.of(env, entry))
        folders: dict[str, Path | FolderContext] = {}
        for name, fill in self._fillings(entry):
            folders[name] = room / name
            fill(room / name)
        folders |= {f"project/{name}": context for name, context in own_packages(env, self._project).items()}
        folders |= {f"files/{path}".rstrip("/"): context for path, context in own_files(env, self._project).items()}
        return MappingContext(folders)

    def _fillings(self, entry: EnvironmentLock) -> Iterator[tuple[str, Callable[[Path], None]]]:
        """Yield the context's folders that are made up of locked files, each with what fills it."""
        from repro.environment.resolvers.flat import flat_repository  # noqa: PLC0415 - only to build

        downloads = self._engine.downloads
        for name, packages in (("apt", entry.packages), ("apt-build", entry.build_packages)):
            if packages:
                yield name, partial(flat_repository, packages, downloads)
        if entry.conda:
            from repro.environment.resolvers.conda_prefix import conda_prefix  # noqa: PLC0415

            yield "conda", partial(conda_prefix, entry.conda, downloads)
        if entry.wheels or entry.tools:
            from repro.environment.resolvers.wheels import pip_folder  # noqa: PLC0415

            yield "pip", partial(pip_folder, entry.wheels, entry.tools, downloads)
        if entry.sources:
            yield "source", partial(_source_folder, entry, downloads)

    def _locked_files(self) -> LockedFiles:
        from repro.api.locked_files import LockedFiles  # noqa: PLC0415 - only to build

        return LockedFiles(self._engine, self._lock)

    def base_image(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Digest:
        """Return the image that the recipe starts from, as locked; made or fetched where the store lacks it."""
        return self._base(env.base.name if isinstance(env.base, ArchiveBase) else entry.base, env.where)

    def _options(self, env: TemplateEnvironment | DockerfileEnvironment, manner: Manner) -> BuildOptions:
        from repro.build.engine import BuildOptions  # noqa: PLC0415 - only to build

        options = BuildOptions(
            name=env.name,
            no_cache=manner.no_cache,
            normalize=manner.normalize,
            explain=manner.explain,
            origin=f"{self._project.root}#{env.name}",
        )
        if isinstance(env, DockerfileEnvironment):
            return replace(options, target=env.target, args=env.args)
        return replace(options, lint=False)  # a template of ours, and packages that are locked

    def _base(self, name: str, where: Location) -> Digest:
        """Return the image for a FROM that is no stage: an archive's as locked, one in the store, or a registry's."""
        if name.startswith(PREFIX):
            base = archive_base(name, where)
            return self._archives.image(base, self._lock.archive(base))
        return found_image(self._engine, name, where)


def _source_folder(entry: EnvironmentLock, downloads: Downloads, folder: Path) -> None:
    """Fill ``folder``, which is made, with the tarballs of a source build."""
    from repro.environment.resolvers.flat import link_or_copy  # noqa: PLC0415 - only to build

    folder.mkdir()
    for item in entry.sources:
        link_or_copy(downloads.path(item.digest), folder / item.file)
