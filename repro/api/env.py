"""`repro env ls`, `render` and `export`: how environments stand, and one as an ordinary Dockerfile and its context."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repro.api.engine import opened
from repro.api.environment_build import EnvironmentBuilder
from repro.api.lockfile import LockFile
from repro.api.project import holding, open_project
from repro.api.resolving import declared
from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.events import ignore
from repro.workflow.model import ArchiveBase, DockerfileEnvironment, ImageEnvironment, TemplateEnvironment

if TYPE_CHECKING:
    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.api.project import Project
    from repro.build.source import Source
    from repro.digest import Digest
    from repro.environment.model import EnvironmentLock
    from repro.environment.portable import Portable
    from repro.events import Sink
    from repro.workflow.model import Environment

_README: Final = """\
The environment {name}, written by `repro env export`. Docker 20.10 or later (BuildKit) makes its image:

    DOCKER_BUILDKIT=1 docker build -t {tag} {folder}

or buildah: buildah build -t {tag} {folder}

Its files are those of the image that `repro build -e {name}` makes, with the same modes and owners, but for times, logs
and caches that regenerate, and empty folders below /run/repro that BuildKit leaves. The image ID is another one.
Everything but what `run:` fetches for itself is in this folder: where that is nothing, --network=none can be added.
"""


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """How an environment stands.

    Attributes:
        name: of the environment.
        kind: the name of its template, ``dockerfile`` or ``image``.
        base: what it is made from, as declared.
        packages: how many the lock has of each kind (``deb``, ``conda``, ``pip``, ``source``), a base's own aside.
        state: ``locked``, ``stale`` (the declaration has changed since) or ``not locked``.
        image_id: what the lock knows for this mode and declaration; None where nothing was built.
        built: whether the store has that image.
    """

    name: str
    kind: str
    base: str
    packages: dict[str, int]
    state: str
    image_id: Digest | None
    built: bool


def list_environments(host: Host, named: str | None) -> tuple[EnvironmentRow, ...]:
    """Return the workflow's environments in declared order; nothing is locked or built."""
    from repro.api.environments import Environments  # noqa: PLC0415 - its images are asked for here alone

    project = open_project(host, named)
    with opened(host, ignore) as engine:
        lock = LockFile(project, engine, may_add=False)
        ids = Environments(project, engine, may_add=False).known_ids()
        return tuple(_row(env, lock, ids.get(name), engine) for name, env in project.workflow.environments.items())


def _row(env: Environment, lock: LockFile, image_id: Digest | None, engine: Engine) -> EnvironmentRow:
    entry = lock.content.environments.get(env.name)
    state = "not locked" if entry is None else "locked" if lock.current(env.name) is not None else "stale"
    counts = {} if entry is None else _counts(entry)
    kind, base = _made_from(env)
    built = image_id is not None and engine.store.has_image(image_id)
    return EnvironmentRow(env.name, kind, base, counts, state, image_id, built)


def _counts(entry: EnvironmentLock) -> dict[str, int]:
    kinds = {"deb": entry.packages, "conda": entry.conda, "pip": entry.wheels, "source": entry.sources}
    return {kind: len(items) for kind, items in kinds.items() if items}


def _made_from(env: Environment) -> tuple[str, str]:
    match env:
        case TemplateEnvironment():
            return env.template, env.base.name if isinstance(env.base, ArchiveBase) else env.base.reference
        case DockerfileEnvironment():
            return "dockerfile", env.dockerfile
        case ImageEnvironment():
            return "image", env.reference


def render_environment(host: Host, named: str | None, name: str, *, sink: Sink) -> str:
    """Return the Dockerfile of the environment ``name``, its base by digest where a registry has it. Nothing is built.

    Raises:
        LockError: it has changed since it was locked, or cannot be locked.
        UsageError: no such environment is declared.
        DockerfileError: its template has a mistake.
    """
    project = open_project(host, named)
    env = _declared(project, name)
    with opened(host, sink) as engine:
        lock, entry = _locked(host, project, engine, name)
        if isinstance(env, ImageEnvironment):
            return f"FROM {entry.base}\n"
        from repro.environment.portable import with_bases  # noqa: PLC0415 - parses

        if isinstance(env, DockerfileEnvironment):
            return with_bases(lock.dockerfile(env), entry.froms, env.dockerfile)
        recipe = EnvironmentBuilder(engine, lock).recipe(env, entry)
        return with_bases(recipe.dockerfile, {recipe.base: entry.base}, f"{name}.Dockerfile")


def export_environment(host: Host, named: str | None, name: str, folder: str, *, sink: Sink) -> Path:
    """Return the new folder ``folder``: a Dockerfile and the context from which `docker build` makes the same files.

    A base that a registry has is named by its digest; another one, as are all that are made from an archive, is
    written whole as ``base.tar`` and unpacked by the first stage. The folder appears whole or not at all.

    Raises:
        UsageError: there is something at ``folder``; or the environment has no template.
        LockError, FetchError, DockerfileError: as a build.
    """
    target = host.cwd / folder
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{folder} is there already", hint="name a folder that is not, or is empty")
    project = open_project(host, named)
    env = _declared(project, name)
    if not isinstance(env, TemplateEnvironment):
        what = "a Dockerfile of its own" if isinstance(env, DockerfileEnvironment) else "an image"
        hint = "docker builds it as it is" if isinstance(env, DockerfileEnvironment) else "see `repro image save`"
        raise UsageError(f"environments.{name} is {what}: there is nothing to export", where=env.where, hint=hint)
    with opened(host, sink) as engine:
        engine.enter()
        lock, entry = _locked(host, project, engine, name)
        builder = EnvironmentBuilder(engine, lock)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
            made_folder = Path(made) / "export"
            made_folder.mkdir()
            _write(env, entry, builder, engine, made_folder, target.name)
            os.chmod(made_folder, 0o755)  # noqa: S103 - an ordinary folder
            made_folder.rename(target)
    return target


def _write(
    env: TemplateEnvironment,
    entry: EnvironmentLock,
    builder: EnvironmentBuilder,
    engine: Engine,
    folder: Path,
    shown: str,
) -> None:
    """Fill ``folder`` with all that the environment's image is made of."""
    written = _portable(env, entry, builder, engine, folder)
    with engine.store.workspace() as room:
        copy_context(builder.recipe_context(env, entry, room), folder)
    for path, text in written.scripts.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / "Dockerfile").write_text(written.dockerfile, encoding="utf-8")
    tag = re.sub(r"[^a-z0-9]+", "-", env.name.lower()).strip("-") or "environment"
    (folder / "README.txt").write_text(_README.format(name=env.name, tag=tag, folder=shown), encoding="utf-8")


def _portable(
    env: TemplateEnvironment, entry: EnvironmentLock, builder: EnvironmentBuilder, engine: Engine, folder: Path
) -> Portable:
    """Return the Dockerfile for other builders; writes ``base.tar`` where its base is in no registry."""
    from repro.environment.portable import BASE, BASE_TAR, base_stage, portable  # noqa: PLC0415 - only to export
    from repro.oci.flatten import write_root_tar  # noqa: PLC0415
    from repro.oci.model import epoch_of  # noqa: PLC0415

    recipe = builder.recipe(env, entry)
    image_id = builder.base_image(env, entry)
    config = engine.store.config(image_id)
    file, epoch = f"{env.name}.Dockerfile", epoch_of(config.created)
    if "@" in entry.base and not isinstance(env.base, ArchiveBase):
        return portable(recipe.dockerfile, file=file, bases={recipe.base: entry.base}, epoch=epoch)
    with open(folder / BASE_TAR, "wb") as out:
        write_root_tar(engine.store.image_layers(image_id), engine.store.form, out)
    stage = base_stage(config, recipe.base)
    return portable(recipe.dockerfile, file=file, bases={recipe.base: BASE}, epoch=epoch, first_stage=stage)


def copy_context(context: Source, folder: Path) -> None:
    """Copy the files, folders and links of a build context into ``folder``; modes are kept."""
    from repro.build.source import Kind  # noqa: PLC0415 - only to export

    root = context.node("")
    waiting = [] if root is None else list(context.children(root))
    folders: list[tuple[Path, int]] = []
    while waiting:
        node = waiting.pop()
        target = folder / node.path
        if node.kind is Kind.FOLDER:
            target.mkdir()
            folders.append((target, node.mode))
            waiting += context.children(node)
        elif node.kind is Kind.LINK:
            target.symlink_to(node.target)
        elif node.kind is Kind.FILE:
            shutil.copyfile(node.host, target)
            target.chmod(node.mode)
    for target, mode in folders:
        target.chmod(mode)


def _declared(project: Project, name: str) -> Environment:
    if name not in project.workflow.environments:
        known = ", ".join(project.workflow.environments)
        raise UsageError(f"there is no environment {name!r}", hint=f"declared are: {known}")
    return declared(project.workflow.environments[name], project)


def _locked(host: Host, project: Project, engine: Engine, name: str) -> tuple[LockFile, EnvironmentLock]:
    """Return the lock and the environment's entry, resolved and written where it is missing."""
    lock = LockFile(project, engine, may_add=False)
    entry = lock.current(name)
    if entry is not None:
        return lock, entry
    with holding(host, project, "repro env"):
        engine.enter()
        lock = LockFile(project, engine)
        return lock, lock.entry(name)
