"""Images in the store, listed and inspected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.dataclass import dataclass
from repro.errors import UsageError
from repro.events import ignore
from repro.oci.refs import familiar_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.api.host import Host
    from repro.digest import Digest, Json
    from repro.oci.model import ImageConfig
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
        rows = [_row(store, familiar_name(name), image_id) for name, image_id in named.items()]
        rows += [_row(store, "<none>", image_id) for image_id in sorted(store.images() - set(named.values()))]
    return tuple(rows)


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
        tags = sorted(familiar_name(tag) for tag, known in store.refs().items() if known == image_id)
        return {
            "Id": str(image_id),
            "RepoTags": tags,
            "Created": config.created or "",
            "Architecture": config.architecture,
            "Os": config.os,
            "Size": _size(store, config.diff_ids),
            "Config": _settings(config),
            "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
            "Author": _author(config),
            "History": [entry.as_json() for entry in config.history],
        }


def _settings(config: ImageConfig) -> dict[str, Json]:
    """Return what a container of the image starts with; the keys that Docker always prints, and those that are set."""
    settings: dict[str, Json] = {
        "User": config.user,
        "Env": list(config.env),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "OnBuild": list(config.on_build) or None,
    }
    if config.exposed_ports:
        settings["ExposedPorts"] = {port: {} for port in config.exposed_ports}
    if config.volumes:
        settings["Volumes"] = {path: {} for path in config.volumes}
    if config.stop_signal:
        settings["StopSignal"] = config.stop_signal
    if config.healthcheck is not None:
        settings["Healthcheck"] = config.healthcheck
    if config.shell is not None:
        settings["Shell"] = list(config.shell)
    return settings


def _author(config: ImageConfig) -> str:
    author = config.other.get("author")
    return author if isinstance(author, str) else ""


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
