"""An image in the store, inspected: its settings under Docker's names, and how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.api.engine import opened
from repro.api.image_list import layer_size
from repro.api.image_lookup import resolve
from repro.api.template_functions import Keyed
from repro.dataclass import dataclass
from repro.events import ignore
from repro.names import familiar_repository
from repro.oci import known
from repro.oci.refs import familiar_name

if TYPE_CHECKING:
    from repro.api.host import Host
    from repro.digest import Digest, Json
    from repro.oci.model import ImageConfig
    from repro.oci.store import Store


def inspect_image(host: Host, name: str) -> dict[str, Json]:
    """Return what `docker image inspect` would say of the image, under Docker's names.

    Raises:
        StoreError: there is no such image.
        CorruptError: its config is damaged.
    """
    with opened(host, ignore) as engine:
        store = engine.store
        image_id = resolve(store, name)
        config = store.config(image_id)
        found: dict[str, Json] = {
            "Id": str(image_id),
            "RepoTags": sorted(
                familiar_name(name) for name, one in store.refs().items() if one == image_id and "@" not in name
            ),
            "RepoDigests": [
                f"{familiar_repository(repository)}@{digest}"
                for repository, digest in known.manifests_of(store, image_id).items()
            ],
            "Parent": "",
            "Comment": config.history[-1].comment or "" if config.history else "",
            "Created": config.created or "",
            "Author": _text(config, "author"),
            "Architecture": config.architecture,
            "Variant": _text(config, "variant"),
            "Os": config.os,
            "Size": sum(layer_size(store, diff_id) for diff_id in set(config.diff_ids)),
            "Config": _settings(config),
            "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
            "History": [entry.as_json() for entry in config.history],
        }
        if not found["Variant"]:
            del found["Variant"]
        return found


def _settings(config: ImageConfig) -> dict[str, Json]:
    """Return what a container of the image starts with; the keys that Docker always prints, and those that are set."""
    settings: dict[str, Json] = {
        "User": config.user,
        "Env": list(config.env),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "WorkingDir": config.working_dir,
        "Labels": Keyed(config.labels),
        "OnBuild": list(config.on_build) or None,
    }
    if config.exposed_ports:
        settings["ExposedPorts"] = Keyed({port: {} for port in config.exposed_ports})
    if config.volumes:
        settings["Volumes"] = Keyed({path: {} for path in config.volumes})
    if config.stop_signal:
        settings["StopSignal"] = config.stop_signal
    if config.healthcheck is not None:
        settings["Healthcheck"] = config.healthcheck
    if config.shell is not None:
        settings["Shell"] = list(config.shell)
    return settings


def _text(config: ImageConfig, name: str) -> str:
    """Return a text of the config that has no name of its own there."""
    value = config.other.get(name)
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A step in the making of an image, and the bytes of its layer's files; ``layer`` is None where it has none.

    ``image_id`` is of the image that the step ended in, where that is known: of the last alone.
    """

    created: str
    created_by: str
    size: int
    comment: str
    layer: Digest | None
    image_id: Digest | None


def image_history(host: Host, name: str) -> list[HistoryRow]:
    """Return the steps that made an image, the latest first.

    A layer that the history says nothing of is a step of its own. Raises as `inspect_image`.
    """
    with opened(host, ignore) as engine:
        store = engine.store
        image_id = resolve(store, name)
        rows = _steps(store, store.config(image_id))
    rows.reverse()
    if rows:
        top = rows[0]
        rows[0] = HistoryRow(top.created, top.created_by, top.size, top.comment, top.layer, image_id)
    return rows


def _steps(store: Store, config: ImageConfig) -> list[HistoryRow]:
    """Return the steps, the first one first; image-spec config.md, "history": those with a layer, in their order."""
    left = list(config.diff_ids)
    rows = []
    for entry in config.history:
        layer = left.pop(0) if left and not entry.empty_layer else None
        size = 0 if layer is None else layer_size(store, layer)
        rows.append(
            HistoryRow(entry.created or "", entry.created_by or "", size, entry.comment or "", layer, image_id=None)
        )
    rows += [HistoryRow("", "", layer_size(store, layer), "", layer, image_id=None) for layer in left]
    return rows
