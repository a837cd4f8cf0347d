"""Environments of a project: from declaration through lock and recipe to an image, each only when asked for.

An environment's *declaration digest* covers all that decides its image: what is declared, the locked packages, the
locked base and the template's text. The lock keeps it beside the image IDs made from it: a run in which nothing
changed renders no template and starts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from repro.api.images import apt_extras, build_folder, context_digest, no_image
from repro.api.packages import read_packages
from repro.digest import Digest, record_digest
from repro.environment.lock import archive_digest, origin, read_lock, write_lock
from repro.environment.model import EnvironmentLock
from repro.errors import LockError, UsageError
from repro.events import Notice, as_json
from repro.execution.image import Image
from repro.names import Reference
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repro.api.engine import Engine
    from repro.api.project import Project
    from repro.environment.model import ArchiveLock, Lock, Package
    from repro.environment.render import Recipe
    from repro.environment.resolvers.index import Indexes
    from repro.environment.resolvers.source import ArchiveSource
    from repro.errors import Location
    from repro.workflow.model import Environment


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An environment's image: its ID, and the tag that names its recipe."""

    environment: str
    image_id: Digest
    tag: str


class Environments:
    """The environments of ``project``: their lock entries and images.

    ``may_add``: resolve what the lock lacks (`repro run`); otherwise that is an error (``--locked``).
    ``upgrade``: resolve everything anew, also what is locked.
    """

    def __init__(self, project: Project, engine: Engine, *, may_add: bool = True, upgrade: bool = False) -> None:
        self.project = project
        self.engine = engine
        self.lock: Lock = read_lock(project.lock_file)
        self._may_add = may_add
        self._upgrade = upgrade
        self._resolved: set[str] = set()  # names resolved by this process: not again, even when upgrading

    def _declared(self, name: str) -> Environment:
        return self.project.workflow.environments[name]

    # ---- the lock

    def entry(self, name: str, *, relock: bool = False) -> EnvironmentLock:
        """Return the environment's lock entry, resolved and written where it is missing (or stale, with ``relock``).

        LockError when it is missing and may not be added, or was locked for another declaration.
        """
        env = self._declared(name)
        known = self.lock.environments.get(name)
        if known is not None and name not in self._resolved:
            if self._upgrade:
                known = None
            elif known.origin != self._origin(env):
                if not relock:
                    raise LockError(
                        f"environments.{name} has changed since it was locked",
                        where=env.where,
                        hint="run `repro lock` to resolve it anew",
                    )
                known = None
        if known is not None:
            return known
        if not self._may_add:
            raise LockError(
                f"environments.{name} is not in {self.project.lock_file.name}",
                where=env.where,
                hint="run `repro lock`, or `repro run` without --locked",
            )
        entry = self._resolve(env)
        self._resolved.add(name)
        self._write(self.lock.with_environment(entry))
        return entry

    def archive_entry(self, base: ArchiveBase) -> ArchiveLock:
        """Return the base's lock entry, resolved and written where it is missing."""
        known = self.lock.archives.get(base.name)
        if known is not None and (not self._upgrade or base.name in self._resolved):
            return known
        if not self._may_add:
            raise LockError(f"{base.name} is not in {self.project.lock_file.name}", hint="run `repro lock`")
        from repro.environment.resolvers.archive import lock_base  # noqa: PLC0415 - only to lock

        source = self._source(base)
        entry = lock_base(base, source, self._indexes(base), downloads=self.engine.downloads, sink=self.engine.sink)
        self._resolved.add(base.name)
        self._write(self.lock.with_archive(entry))
        return entry

    def prune(self) -> None:
        """Drop the lock entries of environments that are declared no more."""
        kept = {
            name: entry for name, entry in self.lock.environments.items() if name in self.project.workflow.environments
        }
        bases = {
            env.base.name
            for env in self.project.workflow.environments.values()
            if isinstance(env, TemplateEnvironment) and isinstance(env.base, ArchiveBase)
        }
        bases |= {entry.base for entry in kept.values()}
        archives = {name: entry for name, entry in self.lock.archives.items() if name in bases}
        self._write(replace(self.lock, environments=kept, archives=archives))

    def _write(self, lock: Lock) -> None:
        self.lock = lock
        write_lock(self.project.lock_file, lock)

    def _origin(self, env: Environment) -> Digest:
        if isinstance(env, DockerfileEnvironment):
            return origin(env, {"Dockerfile": Digest.of(self._dockerfile(env).encode())})
        return origin(env)

    def _resolve(self, env: Environment) -> EnvironmentLock:
        if isinstance(env, DockerfileEnvironment):
            return EnvironmentLock(env.name, self._origin(env), "", ())
        if not isinstance(env.base, ArchiveBase):
            if env.apt:
                raise LockError(
                    f"environments.{env.name}: this version resolves apt names on an archive base only",
                    where=env.where,
                    hint="use base: {archive: debian, suite: bookworm}",
                )
            return EnvironmentLock(env.name, self._origin(env), env.base.reference, ())
        from repro.environment.resolvers.apt import lock_packages  # noqa: PLC0415 - only to lock

        self.engine.sink(Notice("info", f"locking {env.name}: {', '.join(env.apt) or 'the base alone'}"))
        base_image = self._base_image(env.base)
        packages = (
            lock_packages(
                env,
                base_image,
                self._indexes(env.base),
                keyring=self._source(env.base).keyring,
                downloads=self.engine.downloads,
                store=self.engine.store,
                launcher=self.engine.launcher(),
            )
            if env.apt
            else ()
        )
        return EnvironmentLock(env.name, self._origin(env), env.base.name, packages)

    # ---- the archive, asked once a command

    def _source(self, base: ArchiveBase) -> ArchiveSource:
        from repro.environment.resolvers.source import find_source  # noqa: PLC0415 - only to lock or download

        found = self._sources.get(base.name)
        if found is None:
            found = self._sources[base.name] = find_source(base, environ=self.engine.host.environ)
        return found

    def _indexes(self, base: ArchiveBase) -> Indexes:
        from repro.environment.resolvers.index import fetch_indexes  # noqa: PLC0415 - only to lock

        found = self._fetched.get(base.name)
        if found is None:
            found = fetch_indexes(
                self._source(base),
                self.engine.downloads,
                self.engine.transports.get,
                now=self.engine.host.now(),
                sink=self.engine.sink,
            )
            self._fetched[base.name] = found
        return found

    @cached_property
    def _sources(self) -> dict[str, ArchiveSource]:
        return {}

    @cached_property
    def _fetched(self) -> dict[str, Indexes]:
        return {}

    def _source_or_none(self, base: ArchiveBase) -> ArchiveSource | None:
        """Return the source, or None where the host knows none: what is in the cache may be enough."""
        try:
            return self._source(base)
        except LockError:
            return None

    def _base_image(self, base: ArchiveBase) -> Digest:
        from repro.environment.resolvers.archive import build_base  # noqa: PLC0415 - only to build

        entry = self.archive_entry(base)
        return build_base(
            entry,
            source=self._source_or_none(base),
            downloads=self.engine.downloads,
            store=self.engine.store,
            launcher=self.engine.launcher(),
            sink=self.engine.sink,
        )

    # ---- images

    def image_id(self, name: str) -> Digest:
        """Return the environment's image ID, from the lock where that is for this declaration, else by building."""
        entry = self.entry(name)
        known = entry.images.get(self.engine.mode.value)
        if known is not None and entry.declaration == self._declaration(name, entry):
            return known
        return self.build(name).image_id

    def known_ids(self) -> dict[str, Digest]:
        """Return the image IDs that the lock knows for the declarations as they are; locks and builds nothing."""
        known: dict[str, Digest] = {}
        for name, env in self.project.workflow.environments.items():
            entry = self.lock.environments.get(name)
            if entry is None or entry.origin != self._origin(env):
                continue
            image_id = entry.images.get(self.engine.mode.value)
            if image_id is not None and entry.declaration == self._declaration(name, entry):
                known[name] = image_id
        return known

    def changes_since(self, before: Lock) -> tuple[str, ...]:
        """Return what differs between ``before`` and the lock now, a line each, sorted."""
        lines: list[str] = []
        old: dict[str, Sequence[Package]] = {name: entry.packages for name, entry in before.archives.items()}
        new: dict[str, Sequence[Package]] = {name: entry.packages for name, entry in self.lock.archives.items()}
        old |= {name: entry.packages for name, entry in before.environments.items()}
        new |= {name: entry.packages for name, entry in self.lock.environments.items()}
        for name in sorted(old.keys() | new.keys()):
            if name not in old:
                lines.append(f"{name}: locked, {len(new[name])} packages")
            elif name not in new:
                lines.append(f"{name}: removed")
            else:
                lines += [f"{name}: {line}" for line in _package_changes(old[name], new[name])]
        return tuple(lines)

    def build(self, name: str, *, no_cache: bool = False) -> BuiltImage:
        """Return the environment's image, built where the store lacks it; the lock is told its ID.

        A Notice warns when the lock knows another ID for the same declaration.
        """
        env = self._declared(name)
        entry = self.entry(name)
        declaration = self._declaration(name, entry)
        if isinstance(env, DockerfileEnvironment):
            image_id, recipe = self._build_dockerfile(env, no_cache=no_cache), declaration
        else:
            recipe_text = self._recipe(env, entry)
            recipe = recipe_text.digest
            image_id = self._build_recipe(env, entry, recipe_text, no_cache=no_cache)
        tag = str(Reference.parse(f"repro/{name.lower()}:{recipe.hex}"))
        self.engine.store.tag(tag, image_id)
        mode = self.engine.mode.value
        current = self.entry(name)  # locking the base may have written the lock in between
        locked = current.images.get(mode) if current.declaration == declaration else None
        if locked not in (None, image_id):
            text = f"{name}: the image built now, {image_id}, is not the locked one, {locked}"
            self.engine.sink(Notice("warning", f"{text}; jobs in it run again"))
        if locked != image_id:
            images = current.images if current.declaration == declaration else {}
            self._write(
                self.lock.with_environment(replace(current, declaration=declaration, images={**images, mode: image_id}))
            )
        return BuiltImage(name, image_id, tag)

    def image(self, name: str) -> Image:
        """Return what execution needs, built where the store lacks it."""
        store = self.engine.store
        entry = self.entry(name)
        known = entry.images.get(self.engine.mode.value)
        if known is None or entry.declaration != self._declaration(name, entry) or not store.has_image(known):
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
            recipe=self.entry(name).declaration,
        )

    def _build_recipe(
        self, env: TemplateEnvironment, entry: EnvironmentLock, recipe: Recipe, *, no_cache: bool
    ) -> Digest:
        tag = str(Reference.parse(f"repro/{env.name.lower()}:{recipe.digest.hex}"))
        known = self.engine.store.refs().get(tag)
        if known is not None and not no_cache and self.engine.store.has_image(known):
            return known
        with self.engine.store.workspace() as room:
            files = {}
            if entry.packages:
                from repro.environment.resolvers.archive import fetch_packages  # noqa: PLC0415 - only to build
                from repro.environment.resolvers.flat import flat_repository  # noqa: PLC0415

                base = env.base
                fetch_packages(
                    entry.packages,
                    source=self._source_or_none(base) if isinstance(base, ArchiveBase) else None,
                    downloads=self.engine.downloads,
                    sink=self.engine.sink,
                    what=f"packages of {env.name}",
                )
                flat_repository(entry.packages, self.engine.downloads, room / "apt")
                files["apt"] = room / "apt"
            from repro.build.context import MappingContext  # noqa: PLC0415 - only to build
            from repro.build.engine import BuildOptions, build  # noqa: PLC0415

            result = build(
                recipe.dockerfile,
                file=f"{env.name}.Dockerfile",
                context=MappingContext(files),
                options=BuildOptions(name=env.name, no_cache=no_cache),
                store=self.engine.store,
                launcher=self.engine.launcher(),
                base=self._base,
                extras=lambda base: apt_extras(self.engine, base, self._source_or_none, room),
                sink=self.engine.sink,
            )
        return result.image_id

    def _build_dockerfile(self, env: DockerfileEnvironment, *, no_cache: bool) -> Digest:
        from repro.build.engine import BuildOptions  # noqa: PLC0415 - only to build

        options = BuildOptions(name=env.name, target=env.target, args=env.args, no_cache=no_cache)
        return build_folder(
            self.engine,
            self._dockerfile(env),
            file=env.dockerfile,
            folder=self.project.root / env.context,
            options=options,
            base=self._base,
            source=self._source_or_none,
        )

    def _base(self, name: str, where: Location) -> Digest:
        """Return the image for a FROM that is no stage: an archive's, or one in the store."""
        if name.startswith("archive:"):
            return self._base_image(archive_base(name, where))
        known = self.engine.store.refs().get(str(Reference.parse(name)))
        if known is None:
            raise no_image(name, where)
        return known

    def _recipe(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Recipe:
        from repro.environment.render import render  # noqa: PLC0415 - imports Jinja2

        text, file = self._template(env)
        return render(env, entry, text, template_file=file, base_digest=self._base_digest(env))

    def _base_digest(self, env: TemplateEnvironment) -> Digest:
        if isinstance(env.base, ArchiveBase):
            return archive_digest(self.archive_entry(env.base))
        return self._base(env.base.reference, env.where)

    def _template(self, env: TemplateEnvironment) -> tuple[str, str]:
        """Return the template's text and its name in messages."""
        from repro.environment.render import shipped_template  # noqa: PLC0415

        if "/" not in env.template and not env.template.endswith(".j2"):
            return shipped_template(env.template), f"{env.template}.Dockerfile.j2"
        return self._text(env.template, env.where, "template"), env.template

    def _dockerfile(self, env: DockerfileEnvironment) -> str:
        return self._text(env.dockerfile, env.where, "Dockerfile")

    def _text(self, path: str, where: Location, what: str) -> str:
        try:
            return (self.project.root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the {what} {path} cannot be read", where=where, why=str(error)) from error

    def _declaration(self, name: str, entry: EnvironmentLock) -> Digest:
        """Return the digest of all that decides the image, without rendering or building anything."""
        env = self._declared(name)
        if isinstance(env, DockerfileEnvironment):
            declared: Mapping[str, object] = {
                "origin": entry.origin,
                "context": context_digest(self.project.root / env.context, env.dockerfile),
                "archives": {name: archive_digest(locked) for name, locked in self.lock.archives.items()},
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


def _package_changes(old: Sequence[Package], new: Sequence[Package]) -> list[str]:
    """Return a line per package that came, went or changed its version."""
    before = {package.name: package.version for package in old}
    after = {package.name: package.version for package in new}
    return [
        f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def archive_base(name: str, where: Location | None = None) -> ArchiveBase:
    """Return the base that ``archive:debian/bookworm`` names; UsageError for another spelling."""
    archive, slash, suite = name.removeprefix("archive:").partition("/")
    if not slash or not archive or not suite or "/" in suite:
        raise UsageError(f"not an archive base: {name!r}", where=where, hint="write it as archive:debian/bookworm")
    return ArchiveBase(archive, suite)


def used_environments(project: Project, names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names``, or every environment that a step uses; UsageError for a name that is not declared."""
    wanted = tuple(names) or tuple(dict.fromkeys(step.environment for step in project.workflow.steps.values()))
    for name in wanted:
        if name not in project.workflow.environments:
            known = ", ".join(project.workflow.environments)
            raise UsageError(f"there is no environment {name!r}", hint=f"declared are: {known}")
    return wanted
