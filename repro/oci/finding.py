"""Images in archives that others wrote, found and checked as far as that goes without reading their layers.

Understood are OCI image layouts (image-spec image-layout.md), as skopeo, umoci, podman, buildah, BuildKit and Docker
from release 25 on write them, and Docker's own archives with ``manifest.json`` (from release 1.10 on). In each an image
can be there for several platforms; then this machine's is taken.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, UsageError
from repro.names import Reference
from repro.oci import known
from repro.oci.fields import Fields, parse_json, parse_object
from repro.oci.incoming import Incoming, PackedLayer, check_size, read_start
from repro.oci.model import FULL_NAME, REF_NAME, Descriptor, ImageConfig, Index, MediaTypes
from repro.oci.platforms import choose, images_only, platform_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from repro.oci.members import Members

_LARGEST_DOCUMENT: Final = 4 << 20  # bytes of a manifest, index or config: what registries take
_MOST_LAYERS: Final = 1024  # Docker makes 127 at most
_DEEPEST: Final = 4  # indexes in indexes


def find_images(members: Members, arch: str) -> tuple[Incoming, ...]:
    """Return the images of an archive, in its order; each once, under all the names that it has there.

    Raises:
        DataError: it is no image's archive, one of its documents is not what it should be, or it has an image for
            other platforms than ``arch`` alone.
    """
    if members.size("index.json") is not None and members.size("oci-layout") is not None:
        found = _layout_images(members, arch)
    elif members.size("manifest.json") is not None:
        found = _docker_images(members)
    else:
        raise DataError(
            f"{members.where} is no archive of images",
            why="it has neither index.json and oci-layout (OCI) nor manifest.json (Docker)",
            hint="write it with `repro image save`, `docker save`, `podman save` or `skopeo copy`",
        )
    if not found:
        raise DataError(f"{members.where} has no image in it")
    merged: dict[tuple[bytes, bytes | None], Incoming] = {}
    for image in found:
        before = merged.get((image.config, image.manifest))
        names = image.names if before is None else (*before.names, *image.names)
        merged[image.config, image.manifest] = Incoming(
            tuple(dict.fromkeys(names)), image.config, image.layers, image.manifest
        )
    return tuple(merged.values())


# ---- OCI image layouts


def read_entries(members: Members) -> tuple[Descriptor, ...]:
    """Return what the ``index.json`` of a layout lists. DataError if it is no layout that we know."""
    version = parse_object(_document(members, "oci-layout"), "oci-layout").required_text("imageLayoutVersion")
    if not version.startswith("1."):
        raise DataError(f"{members.where} is an OCI image layout of version {version}", why="1.0.0 is what we read")
    return Index.from_json(_document(members, "index.json")).manifests


def read_image(members: Members, entry: Descriptor, names: Iterable[Reference] = ()) -> Incoming:
    """Return the image whose manifest is ``entry``. DataError as `find_images`."""
    manifest = _blob_document(members, entry)
    config_at = _config_of(manifest)
    config = _blob_document(members, config_at)
    outer, inner = known.read_image(manifest, config)
    _check_count(len(inner.diff_ids), members)
    layers = tuple(
        PackedLayer(_blob_name(layer.digest), diff_id, layer)
        for layer, diff_id in zip(outer.layers, inner.diff_ids, strict=True)
    )
    return Incoming(tuple(names), config, layers, manifest)


def _config_of(manifest: bytes) -> Descriptor:
    """Return the descriptor of a manifest's config. DataError if that is no image's."""
    return Descriptor.from_fields(parse_object(manifest, "manifest").object("config"))


def choose_entry(members: Members, entries: Sequence[Descriptor], arch: str, depth: int = 0) -> Descriptor:
    """Return the one manifest that ``entries`` mean for ``arch``, through nested indexes.

    Raises:
        DataError: there is none for that platform, several that say no platform, or what is there is no image.
    """
    distinct = tuple({entry.digest: entry for entry in images_only(entries)}.values())
    if len(distinct) == 1:
        chosen: Descriptor | None = distinct[0]
    elif any(entry.platform is None for entry in distinct):
        raise DataError(f"{members.where} has {len(distinct)} images where one is meant", why="they say no platform")
    else:
        chosen = choose(distinct, arch)
    if chosen is None:
        there = ", ".join(text for text in map(platform_text, distinct) if text)
        raise DataError(f"{members.where} has no image for linux/{arch}", why=f"it has: {there or 'none'}")
    if chosen.media_type in MediaTypes.MANIFESTS:
        return chosen
    if chosen.media_type not in MediaTypes.INDEXES:
        raise DataError(f"{chosen.digest} in {members.where} is no image but {chosen.media_type}")
    if depth == _DEEPEST:
        raise DataError(f"{members.where} has indexes in indexes, more than {_DEEPEST} deep")
    below = Index.from_json(_blob_document(members, chosen)).manifests
    return choose_entry(members, below, arch, depth + 1)


def _layout_images(members: Members, arch: str) -> list[Incoming]:
    tags = _docker_names(members)
    groups: dict[object, list[Descriptor]] = {}
    for entry in images_only(read_entries(members)):
        name = entry.annotations.get(FULL_NAME), entry.annotations.get(REF_NAME)
        nameless = "platforms" if entry.platform is not None else entry.digest
        groups.setdefault(name if any(name) else nameless, []).append(entry)
    found = []
    for entries in groups.values():
        image = read_image(members, choose_entry(members, entries, arch), _entry_names(entries[0], members.where))
        found.append(Incoming(image.names or tags.get(Digest.of(image.config), ()), *_rest(image)))
    return found


def _rest(image: Incoming) -> tuple[bytes, tuple[PackedLayer, ...], bytes | None]:
    return image.config, image.layers, image.manifest


def _entry_names(entry: Descriptor, where: str) -> tuple[Reference, ...]:
    """Return the names that an entry's annotations give.

    containerd and Docker write the full name beside the tag, podman writes it in the tag's place, and skopeo and umoci
    write a tag alone, which names nothing outside the archive.
    """
    full, tag = entry.annotations.get(FULL_NAME), entry.annotations.get(REF_NAME, "")
    if full:
        return (_name(full, where),)
    if not re.search("[/:]", tag):
        return ()
    try:
        return (_name(tag, where),)
    except DataError:  # image-spec annotations.md allows other words
        return ()


def _name(text: str, where: str) -> Reference:
    try:
        name = Reference.parse(text)
    except UsageError as error:
        raise DataError(f"{where} names an image {text!r}", why=error.message) from error
    if name.tag is None:
        raise DataError(f"{where} names an image {text!r}", why="that is no name with a tag")
    return Reference(name.domain, name.path, name.tag)


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _blob_document(members: Members, descriptor: Descriptor) -> bytes:
    """Return the bytes of a small blob, checked."""
    name = _blob_name(descriptor.digest)
    check_size(members, name, descriptor)
    data = _document(members, name)
    if Digest.of(data) != descriptor.digest:
        raise DataError(f"blob {descriptor.digest} in {members.where} is damaged", why=f"it is {Digest.of(data)}")
    return data


def _document(members: Members, name: str) -> bytes:
    """Return a small file."""
    size = members.size(name)
    if size is not None and size > _LARGEST_DOCUMENT:
        raise DataError(f"{name} in {members.where} has {size} bytes", why="4 MiB is the limit of a document")
    with members.open(name) as file:
        return read_start(file, _LARGEST_DOCUMENT)


def _check_count(count: int, members: Members) -> None:
    if count > _MOST_LAYERS:
        raise DataError(f"an image of {count} layers in {members.where}", why=f"{_MOST_LAYERS} is the limit")


# ---- Docker's archives


@dataclass(frozen=True, slots=True)
class _DockerEntry:
    config: str
    names: tuple[Reference, ...]
    layers: tuple[str, ...]


def _docker_images(members: Members) -> list[Incoming]:
    return [_docker_image(members, entry) for entry in _docker_entries(members)]


def _docker_image(members: Members, entry: _DockerEntry) -> Incoming:
    data = _document(members, entry.config)
    stem = posixpath.basename(entry.config).removesuffix(".json")
    if re.fullmatch("[0-9a-f]{64}", stem) and Digest.of(data).hex != stem:
        raise DataError(f"{entry.config} in {members.where} is damaged", why=f"it is {Digest.of(data)}")
    diff_ids = ImageConfig.from_json(data).diff_ids
    if len(diff_ids) != len(entry.layers):
        raise DataError(
            f"the image {entry.config} in {members.where} does not agree with itself",
            why=f"its config has {len(diff_ids)} layers, manifest.json {len(entry.layers)}",
        )
    _check_count(len(diff_ids), members)
    layers = (PackedLayer(name, diff_id, None) for name, diff_id in zip(entry.layers, diff_ids, strict=True))
    return Incoming(entry.names, data, tuple(layers))


def _docker_entries(members: Members) -> list[_DockerEntry]:
    """Return what ``manifest.json`` lists."""
    listed = parse_json(_document(members, "manifest.json"), f"manifest.json in {members.where}")
    if not isinstance(listed, list):
        raise DataError(
            f"manifest.json in {members.where} is no list of images",
            hint="skopeo's dir: format is not read; use oci: or docker-archive:" if isinstance(listed, dict) else None,
        )
    entries = []
    for number, item in enumerate(listed):
        fields = Fields(item, f"manifest.json[{number}]")
        names = tuple(_name(text, members.where) for text in fields.texts("RepoTags") or ())
        entries.append(_DockerEntry(fields.required_text("Config"), names, fields.texts("Layers") or ()))
    return entries


def _docker_names(members: Members) -> dict[Digest, tuple[Reference, ...]]:
    """Return the names in the ``manifest.json`` that Docker puts beside an OCI layout, by the config's digest."""
    if members.size("manifest.json") is None:
        return {}
    found: dict[Digest, tuple[Reference, ...]] = {}
    for entry in _docker_entries(members):
        stem = posixpath.basename(entry.config).removesuffix(".json")
        if re.fullmatch("[0-9a-f]{64}", stem):
            found[Digest(stem)] = (*found.get(Digest(stem), ()), *entry.names)
    return found
