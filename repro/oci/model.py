"""The words of the OCI image specification as values: descriptors, manifests, image configs.

Parsing keeps what it does not know, so that a config read, changed and written loses nothing.
"""

from __future__ import annotations

import re
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from repro.dataclass import dataclass
from repro.digest import Digest, canonical_json
from repro.errors import DataError
from repro.oci.fields import Fields, parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repro.digest import Json


class MediaTypes:
    """The media types that we read or write (image-spec media-types.md), and Docker's for the same things."""

    LAYOUT: Final = "application/vnd.oci.layout.header.v1+json"
    INDEX: Final = "application/vnd.oci.image.index.v1+json"
    MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
    CONFIG: Final = "application/vnd.oci.image.config.v1+json"
    LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
    LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
    LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
    DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
    DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

    INDEXES: Final = (INDEX, DOCKER_INDEX)
    MANIFESTS: Final = (MANIFEST, DOCKER_MANIFEST)
    LAYERS: Final = (LAYER, LAYER_GZIP, DOCKER_LAYER_GZIP)


REF_NAME = "org.opencontainers.image.ref.name"  # image-spec annotations.md: the tag of an entry of index.json
FULL_NAME = "io.containerd.image.name"  # what containerd and Docker's image store name an imported image by


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Content by digest (image-spec descriptor.md); ``size`` in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Json] | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the descriptor as the specification writes it."""
        value: dict[str, Json] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = self.platform
        return value

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the descriptor that ``fields`` describe; DataError names what is wrong."""
        return cls(
            media_type=fields.required_text("mediaType"),
            digest=fields.digest("digest"),
            size=fields.number("size"),
            annotations=fields.text_map("annotations"),
            platform=fields.plain("platform") or None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest (image-spec manifest.md): a config, and layers from the lowest up."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MediaTypes.MANIFEST

    def to_json(self) -> bytes:
        """Return the one encoding of the manifest; equal manifests give equal bytes."""
        value: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.as_json(),
            "layers": [layer.as_json() for layer in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        return canonical_json(value)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the manifest in ``data``; DataError names what is wrong."""
        fields = parse_object(data, "manifest")
        if fields.number("schemaVersion") != 2:
            raise DataError("manifest.schemaVersion must be 2", hint="push the image with a current tool")
        return cls(
            config=Descriptor.from_fields(fields.object("config")),
            layers=tuple(Descriptor.from_fields(item) for item in fields.objects("layers")),
            annotations=fields.text_map("annotations"),
            media_type=fields.text("mediaType") or MediaTypes.MANIFEST,
        )


@dataclass(frozen=True, slots=True)
class Index:
    """An image index (image-spec image-index.md): manifests to choose from."""

    manifests: tuple[Descriptor, ...]

    def to_json(self) -> bytes:
        """Return the one encoding of the index."""
        entries: list[Json] = [item.as_json() for item in self.manifests]
        return canonical_json({"schemaVersion": 2, "mediaType": MediaTypes.INDEX, "manifests": entries})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the index in ``data``; DataError names what is wrong."""
        fields = parse_object(data, "index")
        return cls(tuple(Descriptor.from_fields(item) for item in fields.objects("manifests")))


@dataclass(frozen=True, slots=True)
class History:
    """What made a layer (``empty_layer``: what changed only the config). ``created`` is RFC 3339, UTC."""

    created: str | None = None
    created_by: str | None = None
    empty_layer: bool = False
    comment: str | None = None
    author: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the entry as the specification writes it."""
        value: dict[str, Json] = {}
        for key, text in _HISTORY_TEXTS.items():
            if getattr(self, key) is not None:
                value[text] = getattr(self, key)
        if self.empty_layer:
            value["empty_layer"] = True
        return value

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the entry that ``fields`` describe."""
        return cls(
            **{key: fields.text(name) for key, name in _HISTORY_TEXTS.items()},
            empty_layer=fields.flag("empty_layer"),
        )


_HISTORY_TEXTS = {name: name for name in ("created", "created_by", "comment", "author")}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image config (image-spec config.md). Its digest is the image ID.

    ``env`` holds ``NAME=value`` in order; None of ``entrypoint``, ``cmd`` and ``shell`` means not set, an
    empty tuple means set to nothing. ``other`` and ``other_config`` are the fields of the document and of its
    ``config`` that have no name here, kept as they were read.
    """

    architecture: str
    os: str = "linux"
    created: str | None = None
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None
    healthcheck: Mapping[str, Json] | None = None
    on_build: tuple[str, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    other: Mapping[str, Json] = field(default_factory=dict)
    other_config: Mapping[str, Json] = field(default_factory=dict)

    @property
    def image_id(self) -> Digest:
        """The digest of what `to_json` writes."""
        return Digest.of(self.to_json())

    def to_json(self) -> bytes:
        """Return the one encoding of the config; equal configs give equal bytes."""
        value: dict[str, Json] = {
            **self.other,
            "architecture": self.architecture,
            "os": self.os,
            "config": self._settings(),
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]},
        }
        if self.created is not None:
            value["created"] = self.created
        if self.history:
            value["history"] = [entry.as_json() for entry in self.history]
        return canonical_json(value)

    def _settings(self) -> dict[str, Json]:
        """Return the ``config`` object: what a container made from the image starts with."""
        settings: dict[str, Json] = dict(self.other_config)
        for name, values in (("Entrypoint", self.entrypoint), ("Cmd", self.cmd), ("Shell", self.shell)):
            if values is not None:
                settings[name] = list(values)
        for name, values in (("Env", self.env), ("OnBuild", self.on_build)):
            if values:
                settings[name] = list(values)
        texts = {"WorkingDir": self.working_dir, "User": self.user, "StopSignal": self.stop_signal}
        settings.update({name: text for name, text in texts.items() if text})
        for name, keys in (("ExposedPorts", self.exposed_ports), ("Volumes", self.volumes)):
            if keys:
                settings[name] = {key: {} for key in keys}  # config.md: a set, as an object of empty objects
        if self.labels:
            settings["Labels"] = dict(self.labels)
        if self.healthcheck is not None:
            settings["Healthcheck"] = self.healthcheck
        return settings

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the config in ``data``; DataError names what is wrong. Sets come back sorted."""
        fields = parse_object(data, "image config")
        settings = fields.object("config")
        rootfs = fields.object("rootfs")
        if rootfs.required_text("type") != "layers":
            raise DataError("image config.rootfs.type must be 'layers'")
        config = cls(
            architecture=fields.required_text("architecture"),
            os=fields.required_text("os"),
            created=fields.text("created"),
            env=settings.texts("Env") or (),
            entrypoint=settings.texts("Entrypoint"),
            cmd=settings.texts("Cmd"),
            working_dir=settings.text("WorkingDir") or "",
            user=settings.text("User") or "",
            labels=settings.text_map("Labels"),
            exposed_ports=tuple(sorted(settings.plain("ExposedPorts"))),
            volumes=tuple(sorted(settings.plain("Volumes"))),
            stop_signal=settings.text("StopSignal") or "",
            shell=settings.texts("Shell"),
            healthcheck=settings.plain("Healthcheck") or None,
            on_build=settings.texts("OnBuild") or (),
            diff_ids=rootfs.digests("diff_ids"),
            history=tuple(History.from_fields(entry) for entry in fields.objects("history")),
            other=fields.rest(_KNOWN),
            other_config=settings.rest(_KNOWN_SETTINGS),
        )
        config._check_texts()
        return config

    def _check_texts(self) -> None:
        """Refuse what no process can be given: an argument, a variable or a path ends at its zero byte."""
        words = (*self.env, *(self.entrypoint or ()), *(self.cmd or ()), *(self.shell or ()), *self.volumes)
        if any("\0" in word for word in (*words, self.working_dir, self.user)):
            raise DataError("image config.config holds a zero byte, which no process can be given")


_KNOWN = ("architecture", "os", "created", "config", "rootfs", "history")
_KNOWN_SETTINGS = (
    *("Env", "Entrypoint", "Cmd", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes"),
    *("StopSignal", "Shell", "Healthcheck", "OnBuild"),
)


def epoch_of(created: str | None) -> int:
    """Return the whole seconds since 1970 of an RFC 3339 time; 0 for none or nonsense, never negative."""
    if created is None:
        return 0
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", created)
    if match is None:
        return 0
    zone = "+00:00" if match[2] in "Zz" else match[2]
    try:
        return max(0, int(datetime.fromisoformat(match[1].upper() + zone).timestamp()))
    except ValueError:  # a month 13
        return 0


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """Return the identity of a stack of layers, lowest first (image-spec config.md, "Layer ChainID").

    DataError for an empty stack: the specification gives it none.
    """
    if not diff_ids:
        raise DataError("a stack of no layers has no chainID")
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = Digest.of(f"{chain} {diff_id}".encode())
    return chain


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer's identity, and bytes: ``size`` of its uncompressed tar, ``content`` of its regular files."""

    diff_id: Digest
    size: int
    content: int
