"""What one environment resolves to: each kind of package by its resolver, in the order in which an image is made.

apt comes first, as the base's own; conda needs the base's C library; pip needs the interpreter that those two brought,
which is asked for in the image made so far: the image's first layers, that the build needs anyway.
"""

from __future__ import annotations

import contextlib
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from repro.api.archives import PREFIX
from repro.api.bases import found_image, pinned_image
from repro.data.addresses import redacted
from repro.data.cache import Wanted, vendored
from repro.data.part import Part
from repro.digest import Digest
from repro.environment.lock import origin, requested
from repro.environment.model import EnvironmentLock, SourceFile
from repro.errors import FetchError, LockError, UsageError
from repro.events import Notice
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repro.api.engine import Engine
    from repro.api.lockfile import LockFile
    from repro.api.project import Project
    from repro.environment.model import CondaPackage, Package
    from repro.errors import Location
    from repro.workflow.model import CondaSpec, Environment, SourceBuild


class Resolver:
    """Resolves environments for ``lock``."""

    def __init__(self, engine: Engine, lock: LockFile) -> None:
        self._project = lock.project
        self._engine = engine
        self._archives = lock.archives
        self._lock = lock

    def resolve(self, env: Environment, before: EnvironmentLock | None, *, newer: bool) -> EnvironmentLock:
        """Return what the environment resolves to; versions of ``before`` stay where they fit, unless ``newer``.

        Raises:
            LockError, FetchError, UsageError: at the environment, as its resolvers.
        """
        files = declared_files(env, self._project)
        entry = EnvironmentLock(env.name, origin(env, files), "", (), requested=requested(env, files))
        match env:
            case DockerfileEnvironment():
                return replace(entry, froms=self._froms(env, before, newer=newer))
            case ImageEnvironment():
                return replace(entry, base=self._pinned(env.reference, env, before, newer=newer))
            case TemplateEnvironment():
                return self._templated(env, entry, None if newer else before, newer=newer)

    def _templated(
        self, env: TemplateEnvironment, entry: EnvironmentLock, keep: EnvironmentLock | None, *, newer: bool
    ) -> EnvironmentLock:
        if isinstance(env.base, ArchiveBase):
            entry = replace(entry, base=env.base.name)
        else:
            entry = replace(entry, base=self._pinned(env.base.reference, env, keep, newer=newer))
        if env.apt or (env.source is not None and env.source.apt):
            entry = replace(entry, releases=self._archives.indexes(self._archive(env, entry)).releases)
        if env.apt:
            kept = keep.packages if keep else ()
            entry = replace(entry, packages=self._apt(env, env.apt, entry, kept, f"environments.{env.name}.apt"))
        if env.source is not None:
            entry = replace(entry, sources=(self._source(env, env.source),))
            if env.source.apt:
                kept, what = keep.build_packages if keep else (), f"environments.{env.name}.source.apt"
                entry = replace(entry, build_packages=self._apt(env, env.source.apt, entry, kept, what))
        if env.conda is not None:
            entry = replace(entry, conda=self._conda(env, env.conda, entry, keep.conda if keep else ()))
        if env.pip:
            entry = self._pip(env, entry, keep)
        return entry

    # ---- parts

    def _apt(
        self,
        env: TemplateEnvironment,
        names: Sequence[str],
        entry: EnvironmentLock,
        keep: Sequence[Package],
        what: str,
    ) -> tuple[Package, ...]:
        from repro.environment.resolvers.apt import lock_packages  # noqa: PLC0415 - only to lock

        self._tell(env, "apt", names)
        image, archive = self._base_image(env, entry), self._archive(env, entry)
        if keep and self._engine.host.vendors:  # what the archive has no more may be kept if its bytes are here
            with contextlib.suppress(FetchError):
                self._engine.downloads.fetch(
                    [Wanted(package.file_name, package.digest, package.size, ()) for package in keep],
                    sink=self._engine.sink,
                    what=f"locked packages of {env.name}",
                )
        return lock_packages(
            names,
            image,
            self._archives.indexes(archive),
            what=what,
            where=env.where,
            downloads=self._engine.downloads,
            store=self._engine.store,
            launcher=self._engine.launcher(),
            keep=keep,
        )

    def _source(self, env: TemplateEnvironment, source: SourceBuild) -> SourceFile:
        """Return the tarball, which is in the downloads then: fetched to know its size, its digest is declared."""
        downloads, name = self._engine.downloads, unquote(posixpath.basename(urlsplit(source.url).path))
        there = downloads.find(source.digest)
        if there is not None:
            return SourceFile(name, source.digest, there.stat().st_size)
        self._tell(env, "source", (name,))
        addresses = (*(vendored(vendor, source.digest) for vendor in self._engine.host.vendors), source.url)
        with self._engine.store.workspace() as room:
            return SourceFile(name, source.digest, self._fetched(env, source, addresses, room / "source"))

    def _fetched(self, env: TemplateEnvironment, source: SourceBuild, addresses: Sequence[str], file: Path) -> int:
        """Have the tarball in the downloads; return its size. LockError where it is another than was declared."""
        failed: FetchError | None = None
        for address in addresses:
            with open(file, "w+b") as out:
                part = Part(out.fileno(), file, None, None)
                try:
                    self._engine.transports.download(address, part)
                except FetchError as error:
                    failed = error
                    continue
                if part.digest() == source.digest:
                    self._engine.downloads.add_file(out, source.digest)
                    return part.tell()
            raise LockError(
                f"environments.{env.name}.source: other bytes than declared came from {redacted(address)}",
                where=env.where,
                why=f"they are {part.digest()}, and {source.digest} is declared",
                hint="compare with the sum that its authors publish before you change `sha256`",
            )
        assert failed is not None  # there is always an address
        failed.where = env.where
        raise failed

    def _conda(
        self, env: TemplateEnvironment, spec: CondaSpec, entry: EnvironmentLock, keep: Sequence[CondaPackage]
    ) -> tuple[CondaPackage, ...]:
        from repro.build.stages import architecture  # noqa: PLC0415 - only to lock
        from repro.environment.resolvers.conda import SUBDIRS, CondaImage, image_libc, lock_conda  # noqa: PLC0415
        from repro.oci.view import View  # noqa: PLC0415

        self._tell(env, "conda", spec.packages or (spec.file or "",))
        engine = self._engine
        layers = engine.store.image_layers(self._base_image(env, entry))
        return lock_conda(
            spec,
            self._project.root,
            CondaImage(SUBDIRS.get(architecture(), "noarch"), image_libc(View(layers, engine.form))),
            where=env.where,
            downloads=engine.downloads,
            environ=engine.host.environ,
            keep=keep,
        )

    def _pip(self, env: TemplateEnvironment, entry: EnvironmentLock, keep: EnvironmentLock | None) -> EnvironmentLock:
        """Return the entry with wheels for the Python that apt, conda or the base brought."""
        from repro.api.environment_build import EnvironmentBuilder, Manner  # noqa: PLC0415 - only to lock wheels
        from repro.environment.resolvers.configure import PATH  # noqa: PLC0415
        from repro.environment.resolvers.pip import lock_wheels  # noqa: PLC0415
        from repro.environment.resolvers.python import probe_interpreter  # noqa: PLC0415

        engine = self._engine
        before_pip = replace(env, pip=(), files={}, run=(), env={}, source=None)
        builder = EnvironmentBuilder(engine, self._lock)
        image = builder.build(before_pip, replace(entry, sources=(), build_packages=()), Manner()).image_id
        layers = engine.store.image_layers(image)
        variables = dict(one.split("=", 1) for one in engine.store.config(image).env)
        interpreter = probe_interpreter(
            env, layers, store=engine.store, launcher=engine.launcher(), path=variables.get("PATH", PATH)
        )
        self._tell(env, "pip", env.pip)
        root, environ = self._project.root, engine.host.environ
        wheels, tools = lock_wheels(env, interpreter, root, environ, transports=engine.transports, before=keep)
        return replace(entry, interpreter=str(interpreter), wheels=wheels, tools=tools)

    def _archive(self, env: TemplateEnvironment, entry: EnvironmentLock) -> ArchiveBase:
        """Return the archive whose packages fit the base: an image says what it was made from."""
        if isinstance(env.base, ArchiveBase):
            return env.base
        return self._archives.of_image(self._base_image(env, entry), env.where)

    def _base_image(self, env: TemplateEnvironment, entry: EnvironmentLock) -> Digest:
        """Return the ID of the image that the environment is based on, which is in the store."""
        if isinstance(env.base, ArchiveBase):
            return self._archives.image(env.base, self._lock.archive(env.base))
        return found_image(self._engine, entry.base, env.where)

    def _froms(self, env: DockerfileEnvironment, before: EnvironmentLock | None, *, newer: bool) -> Mapping[str, str]:
        """Return what the Dockerfile's images are pinned to; what was pinned before stays, unless ``newer``."""
        from repro.build.stages import architecture, outside_images, plan_build  # noqa: PLC0415 - only to lock
        from repro.dockerfile.grammar import read  # noqa: PLC0415

        text = project_text(self._project, env.dockerfile, env.where, "Dockerfile")
        plan = plan_build(read(text, env.dockerfile), target=env.target, arguments=env.args, arch=architecture())
        known = {} if before is None or newer else before.froms
        return {
            name: known.get(name) or pinned_image(self._engine, name, where, newer=newer)
            for name, where in outside_images(plan)
            if not name.startswith(PREFIX)
        }

    def _pinned(self, reference: str, env: Environment, before: EnvironmentLock | None, *, newer: bool) -> str:
        """Return the reference with the digest of its manifest, where a registry has it; the image is in the store."""
        if before is not None and not newer and before.base.partition("@")[0] == reference:
            return before.base
        return pinned_image(self._engine, reference, env.where, newer=newer)

    def _tell(self, env: Environment, kind: str, names: Sequence[str]) -> None:
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        self._engine.sink(Notice("info", f"locking {env.name}: {kind}: {shown}"))


def declared(env: Environment, project: Project) -> Environment:
    """Return the declaration with what its files say of other kinds: an environment.yml may list pip's requirements."""
    if not isinstance(env, TemplateEnvironment) or env.conda is None or env.conda.file is None:
        return env
    from repro.environment.resolvers.conda_file import read_spec  # noqa: PLC0415 - only where there is such a file

    more = [item for item in read_spec(env.conda, project.root).pip if item not in env.pip]
    return replace(env, pip=(*env.pip, *more)) if more else env


def declared_files(env: Environment, project: Project) -> dict[str, Digest]:
    """Return the digests of the project's files that decide what an environment resolves to."""
    found: dict[str, Digest] = {}
    match env:
        case DockerfileEnvironment():
            text = project_text(project, env.dockerfile, env.where, "Dockerfile")
            found["Dockerfile"] = Digest.of(text.encode())
        case TemplateEnvironment():
            if env.pip:
                from repro.environment.resolvers.pip import pip_files  # noqa: PLC0415 - only where wheels are declared

                found |= pip_files(env, project.root)
            if env.conda is not None and env.conda.file is not None:
                text = project_text(project, env.conda.file, env.where, "conda file")
                found[env.conda.file] = Digest.of(text.encode())
        case ImageEnvironment():
            pass
    return found


def project_text(project: Project, path: str, where: Location, what: str) -> str:
    """Return the text of a project file that an environment names; UsageError where it cannot be read."""
    try:
        return (project.root / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the {what} {path} cannot be read", where=where, why=str(error)) from error
