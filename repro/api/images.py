"""Images: built from a folder with a Dockerfile, listed, inspected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.api.archives import PREFIX, Archives, archive_base
from repro.api.contexts import folder_context
from repro.api.engine import opened
from repro.errors import BuildError, UsageError
from repro.events import ignore
from repro.names import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repro.api.engine import Engine
    from repro.api.host import Host
    from repro.build.context import FolderContext
    from repro.build.engine import BuildOptions
    from repro.digest import Digest, Json
    from repro.errors import Location
    from repro.events import Sink
    from repro.oci.store import Store


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image in the store: a name of it (``<none>`` without), its ID, creation time, and bytes of its files."""

    name: str
    image_id: Digest
    created: str
    size: int


def list_images(host: Host) -> tuple[ImageRow, ...]:
    """Return the store's images, one row a name, sorted by name; the nameless ones last."""
    with opened(host, ignore) as engine:
        store = engine.store
        named = store.refs()
        rows = [_row(store, _familiar(name), image_id) for name, image_id in named.items()]
        rows += [_row(store, "<none>", image_id) for image_id in sorted(store.images() - set(named.values()))]
    return tuple(rows)


def _familiar(name: str) -> str:
    return name if name.startswith(PREFIX) else Reference.parse(name).familiar


def _row(store: Store, name: str, image_id: Digest) -> ImageRow:
    config = store.config(image_id)
    return ImageRow(name, image_id, config.created or "", _size(store, config.diff_ids))


def _size(store: Store, diff_ids: Sequence[Digest]) -> int:
    """Return the bytes of the layers' files; a layer that is unpacked in another mode only counts nothing."""
    return sum(store.layer_info(diff_id).content for diff_id in diff_ids if store.has_layer(diff_id))


def inspect_image(host: Host, name: str) -> dict[str, Json]:
    """Return what `docker image inspect` would say of the image, under Docker's names."""
    with opened(host, ignore) as engine:
        store = engine.store
        image_id = store.resolve(name)
        config = store.config(image_id)
        tags = sorted(_familiar(tag) for tag, known in store.refs().items() if known == image_id)
        return {
            "Id": str(image_id),
            "RepoTags": tags,
            "Created": config.created or "",
            "Architecture": config.architecture,
            "Os": config.os,
            "Size": _size(store, config.diff_ids),
            "Config": {
                "User": config.user,
                "Env": list(config.env),
                "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
                "Cmd": None if config.cmd is None else list(config.cmd),
                "WorkingDir": config.working_dir,
                "Labels": dict(config.labels),
            },
            "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        }


def format_fields(template: str, value: Mapping[str, Json]) -> str:
    """Return ``template`` with each ``{{ .Field.Of.It }}`` (or ``{{ json .Field }}``) filled in, as Docker spells it.

    UsageError for anything else in braces, and for a field that is not there, with those that are.
    """

    def fill(match: re.Match[str]) -> str:
        inner = re.fullmatch(r"(json\s+)?\.([A-Za-z][A-Za-z0-9.]*)?", match[1].strip())
        if inner is None:
            raise UsageError(f"not understood: {match[0]}", hint="write {{ .Field }} or {{ json .Field }}")
        found: Json = value
        for part in (inner[2] or "").split(".") if inner[2] else ():
            if not isinstance(found, dict) or part not in found:
                known = ", ".join(found) if isinstance(found, dict) else "none"
                raise UsageError(f"there is no field {part!r} in {match[0]}", hint=f"there are: {known}")
            found = found[part]
        if inner[1] is None and isinstance(found, str | int | float):
            return str(found)
        import json  # noqa: PLC0415 - only where something is not plain

        return json.dumps(found, ensure_ascii=False)

    return re.sub(r"\{\{(.*?)\}\}", fill, template)


def pairs(given: Sequence[str], option: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``K=V`` arguments as a mapping; a bare ``K`` takes its value from ``environ``."""
    out = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not key:
            raise UsageError(f"{option} {item!r} names nothing", hint=f"write {option} NAME=value")
        if equals:
            out[key] = value
        elif key in environ:
            out[key] = environ[key]
    return out


def build_image(
    host: Host,
    context: str,
    *,
    file: str | None,
    tags: tuple[str, ...],
    target: str | None,
    args: Mapping[str, str],
    labels: Mapping[str, str],
    no_cache: bool,
    network: str,
    sink: Sink,
) -> Digest:
    """Return the ID of the image built from the folder ``context``, named by ``tags``.

    FROM takes stages, images in the store, and archive bases (``archive:debian/bookworm``, as they are today).
    ``SOURCE_DATE_EPOCH`` of the host's environment is the build's epoch.
    """
    from repro.build.engine import BuildOptions  # noqa: PLC0415 - only to build
    from repro.runtime.spec import Network  # noqa: PLC0415

    names = [Reference.parse(tag) for tag in tags]  # a bad name is told before the work
    folder = host.cwd / context
    if not folder.is_dir():
        raise UsageError(f"the build context {context} is no folder", hint="name the folder that COPY reads from")
    dockerfile = host.cwd / file if file is not None else folder / "Dockerfile"
    shown = file if file is not None else f"{context.rstrip('/')}/Dockerfile"
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown} cannot be read", why=str(error), hint="name the Dockerfile with -f") from error
    options = BuildOptions(
        name=names[0].familiar if names else "image",
        target=target,
        args=args,
        labels=labels,
        epoch=_epoch(host.environ),
        network=Network.NONE if network == "none" else Network.HOST,
        no_cache=no_cache,
    )
    with opened(host, sink) as engine:
        bases = _Bases(engine)
        seen = folder_context(folder, shown)
        image_id = build_folder(
            engine, text, file=shown, context=seen, options=options, base=bases.image, archives=bases.archives
        )
        for name in names:
            engine.store.tag(str(name), image_id)
    return image_id


def _epoch(environ: Mapping[str, str]) -> int | None:
    given = environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH is {given!r}", hint="set it to seconds since 1970, or unset it")
    return int(given)


class _Bases:
    """The bases of a build outside a workflow: from the store, or, of an archive, made as it is today."""

    def __init__(self, engine: Engine) -> None:
        self.archives = Archives(engine)
        self._store = engine.store

    def image(self, name: str, where: Location) -> Digest:
        if not name.startswith(PREFIX):
            return stored_image(self._store, name, where)
        known = self._store.refs().get(name)
        if known is not None and self._store.has_image(known):
            return known
        base = archive_base(name, where)
        return self.archives.image(base, self.archives.lock(base))


def stored_image(store: Store, name: str, where: Location) -> Digest:
    """Return the ID of the image that a FROM names; BuildError, at ``where``, when it is not in the store."""
    known = store.refs().get(str(Reference.parse(name)))
    if known is not None and store.has_image(known):
        return known
    raise BuildError(
        f"there is no image {name!r} in the store",
        where=where,
        why="this version does not pull from registries",
        hint="build it first with `repro image build -t`, or start FROM archive:debian/bookworm",
    )


def build_folder(
    engine: Engine,
    text: str,
    *,
    file: str,
    context: FolderContext,
    options: BuildOptions,
    base: Callable[[str, Location], Digest],
    archives: Archives,
) -> Digest:
    """Return the ID of the image of a Dockerfile's ``text`` with ``context`` (`contexts.folder_context`)."""
    from repro.build.engine import build  # noqa: PLC0415

    with engine.store.workspace() as room:
        result = build(
            text,
            file=file,
            context=context,
            options=options,
            store=engine.store,
            launcher=engine.launcher(),
            base=base,
            extras=lambda name: archives.extras(name, room),
            sink=engine.sink,
        )
    return result.image_id
