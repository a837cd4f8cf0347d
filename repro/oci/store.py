"""The store: blobs by digest, unpacked layers by diffID, names of images.

Several processes may use one at once.

On disk, below the store's root (mode 0700: set-id files of any layer are within)::

    version                     the number of this layout
    blobs/sha256/HEX            bytes whose sha256 is HEX; written aside, fsynced, renamed; checked when read
    images/HEX                  empty; says that the blob HEX is an image config
    refs/NAME                   the image ID that a name stands for; NAME is percent-encoded
    layers/FORM/HEX/            an unpacked layer as an overlay lower; HEX is its diffID
    layers/FORM/HEX.json        its sizes; the layer is there when this file is
    memory/KIND/HEX.json        small facts by key: what the build cache remembers
    tmp/                        work in progress, each entry flocked by its process

A layer that was built here has no blob: its tar can be written again from its folder (`repro.oci.tar`). A
layer that came from elsewhere and whose folder gives another tar keeps its own tar as a blob, named by the
diffID.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Final

from repro.digest import CHUNK, Digest, canonical_json
from repro.errors import CorruptError, DataError, StoreError, UsageError
from repro.files import fsync_folder, locked, remove_tree, write_atomic
from repro.oci.compression import decompressed
from repro.oci.layer import apply_tar, clean_upper, measure, write_tar
from repro.oci.model import Descriptor, ImageConfig, LayerInfo, Manifest, MediaTypes
from repro.oci.refs import file_name, find_image, full_name, name_of_file
from repro.oci.workspace import Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repro.digest import Json
    from repro.oci.compression import Source
    from repro.oci.tar import Output

_VERSION: Final = b"1\n"


class Store:
    """A store below ``root``, whose layers are unpacked in ``form`` (`repro.runtime.spec.Mode`'s value).

    Every write is whole or not there, and adding what is there already changes nothing. Made where there is
    none; StoreError when it belongs to another user or has a layout of another version.
    """

    def __init__(self, root: Path, form: str) -> None:
        self.root = root
        self.form = form
        self._blobs = root / "blobs" / "sha256"
        self._images = root / "images"
        self._refs = root / "refs"
        self._layers = root / "layers" / form
        self._memory = root / "memory"
        self._open()
        self._work = Workspaces(root / "tmp")

    def _open(self) -> None:
        """Check the store, or make it."""
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self.root)
            if status.st_uid != os.geteuid():
                raise StoreError(
                    f"the store {self.root} belongs to another user (uid {status.st_uid})",
                    hint="set REPRO_STORE to a folder of your own",
                )
            if stat.S_IMODE(status.st_mode) & 0o077:
                os.chmod(self.root, 0o700)
            version = (self.root / "version").read_bytes()
            if version != _VERSION:
                raise StoreError(
                    f"the store {self.root} has layout {version.decode(errors='replace').strip()!r}",
                    why=f"this release reads layout {_VERSION.decode().strip()}",
                    hint="set REPRO_STORE to another folder, or use the release that made this one",
                )
            self._layers.mkdir(exist_ok=True)
            return
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self.root, 0o700)
        for folder in (self._blobs, self._images, self._refs, self._layers, self._memory, self.root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.root / "version", _VERSION)

    # Blobs

    def blob_path(self, digest: Digest) -> Path:
        """Return where the blob is, or would be."""
        return self._blobs / digest.hex

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self.blob_path(digest).exists()

    def put_blob(self, data: bytes) -> Digest:
        """Keep ``data``, also in place of a damaged blob; return its digest."""
        digest = Digest.of(data)
        if not self.has_blob(digest) or self.blob_path(digest).read_bytes() != data:
            with self._work.file() as (descriptor, path):
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(data)
                self._publish(descriptor, path, digest)
        return digest

    def add_blob(self, stream: Source, *, digest: Digest | None = None) -> Digest:
        """Keep what is left in ``stream``; return its digest. DataError if that is not ``digest``."""
        hasher = hashlib.sha256()
        with self._work.file() as (descriptor, path):
            with open(descriptor, "wb", closefd=False) as file:
                while data := stream.read(CHUNK):
                    hasher.update(data)
                    file.write(data)
            found = Digest(hasher.hexdigest())
            if digest is not None and found != digest:
                raise DataError(f"the bytes of blob {digest} are not its own", why=f"their digest is {found}")
            self._publish(descriptor, path, found)
        return found

    def read_blob(self, digest: Digest) -> bytes:
        """Return the blob's bytes; CorruptError if the digest is another, StoreError if missing."""
        try:
            data = self.blob_path(digest).read_bytes()
        except FileNotFoundError as error:
            hint = "build or pull its image again"
            raise StoreError(f"blob {digest} is not in the store", hint=hint) from error
        if Digest.of(data) != digest:
            raise CorruptError(
                f"blob {digest} in the store is damaged",
                where=str(self.blob_path(digest)),
                why=f"its sha256 is now {Digest.of(data).hex}",
                hint="delete the file, then build or pull the image again",
            )
        return data

    def _publish(self, descriptor: int, path: Path, digest: Digest) -> None:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
        os.rename(path, self.blob_path(digest))
        fsync_folder(self._blobs)

    # Images

    def put_image(self, config: ImageConfig) -> Digest:
        """Keep an image; return its ID. StoreError unless every layer is there in this form."""
        return self.put_image_bytes(config.to_json())

    def put_image_bytes(self, data: bytes) -> Digest:
        """Keep an image by its config as written elsewhere, byte for byte; like `put_image`."""
        config = ImageConfig.from_json(data)
        for diff_id in config.diff_ids:
            if not self.has_layer(diff_id):
                raise StoreError(f"layer {diff_id} of the image is not in the store", hint="add it first")
        image_id = self.put_blob(data)
        marker = self._images / image_id.hex
        if not marker.exists():
            write_atomic(marker, b"")
        return image_id

    def config(self, image_id: Digest) -> ImageConfig:
        """Return an image's config; CorruptError or StoreError as `read_blob`."""
        return ImageConfig.from_json(self.read_blob(image_id))

    def has_image(self, image_id: Digest) -> bool:
        """Whether the config is there and every layer is unpacked in this form."""
        return self.has_blob(image_id) and all(map(self.has_layer, self.config(image_id).diff_ids))

    def image_layers(self, image_id: Digest) -> tuple[Path, ...]:
        """Return the folders of the image's layers as `layer_stack` does; StoreError if one is missing."""
        return self.layer_stack(self.config(image_id).diff_ids)

    def layer_stack(self, diff_ids: Sequence[Digest]) -> tuple[Path, ...]:
        """Return the folders of a stack of layers as overlay takes them: lowest first, each once.

        overlayfs refuses a folder that is there twice (ELOOP). Of equal layers the topmost decides on every name that
        they hold, so the lower ones show nothing and are left out.
        """
        kept = dict.fromkeys(reversed(diff_ids))
        return tuple(self.layer_path(diff_id) for diff_id in reversed(kept))

    def images(self) -> set[Digest]:
        """Return the IDs of all images, named or not."""
        return {Digest(name) for name in os.listdir(self._images) if not name.startswith(".")}

    def manifest(self, image_id: Digest) -> tuple[bytes, Descriptor]:
        """Return the manifest of the image with its layers uncompressed, and the manifest's descriptor."""
        raw = self.read_blob(image_id)
        infos = [self.layer_info(diff_id) for diff_id in ImageConfig.from_json(raw).diff_ids]
        manifest = Manifest(
            config=Descriptor(MediaTypes.CONFIG, image_id, len(raw)),
            layers=tuple(Descriptor(MediaTypes.LAYER, info.diff_id, info.size) for info in infos),
        )
        data = manifest.to_json()
        return data, Descriptor(MediaTypes.MANIFEST, Digest.of(data), len(data))

    # Names

    def tag(self, name: str, image_id: Digest) -> str:
        """Let ``name`` stand for the image, from now on it alone; return the name in full."""
        if not self.has_blob(image_id):
            raise StoreError(f"image {image_id} is not in the store")
        full = full_name(name)
        write_atomic(*self.ref_text(full, image_id))
        return full

    def untag(self, name: str) -> None:
        """Forget the name; the image stays. StoreError if there is no such name."""
        try:
            os.unlink(self._refs / file_name(full_name(name)))
        except FileNotFoundError as error:
            raise StoreError(f"no image is named {name!r}") from error
        fsync_folder(self._refs)

    def refs(self) -> dict[str, Digest]:
        """Return all names with the image IDs that they stand for, sorted by name."""
        found = {}
        for name in os.listdir(self._refs):
            if not name.startswith("."):  # a name being written
                with contextlib.suppress(FileNotFoundError):
                    found[name_of_file(name)] = self._read_ref(name)
        return dict(sorted(found.items()))

    def _read_ref(self, name: str) -> Digest:
        path = self._refs / name
        try:
            return Digest.parse(path.read_text(encoding="ascii").strip())
        except (DataError, UnicodeDecodeError) as error:
            raise CorruptError(
                f"the name {name_of_file(name)} in the store is damaged",
                where=str(path),
                why="it holds no image ID",
                hint="delete the file, then build or tag the image again",
            ) from error

    def resolve(self, text: str) -> Digest:
        """Return the image that a name, an ID or its first digits mean; StoreError names what is near."""
        with contextlib.suppress(UsageError, FileNotFoundError):
            return self._read_ref(file_name(full_name(text)))
        return find_image(text, self.refs(), self.images())

    # Layers

    def has_layer(self, diff_id: Digest) -> bool:
        """Whether the layer is there, unpacked in this form."""
        return self._info_path(diff_id).exists() and (self._layers / diff_id.hex).exists()

    def layer_path(self, diff_id: Digest) -> Path:
        """Return the layer's folder; StoreError if it is not there."""
        if not self.has_layer(diff_id):
            raise StoreError(
                f"layer {diff_id} is not in the store for mode {self.form!r}",
                hint="build or pull its image again in this mode",
            )
        return self._layers / diff_id.hex

    def layer_info(self, diff_id: Digest) -> LayerInfo:
        """Return the layer's sizes, without reading it; StoreError if it is not there."""
        return self._facts(diff_id)[0]

    def commit_layer(self, folder: Path, *, epoch: int, clean: bool = True) -> LayerInfo:
        """Keep an overlay upper as a layer; return what it is. ``folder`` is gone afterwards.

        ``folder`` lies in a `workspace` of this store. It is cleaned in place (`repro.oci.clean`) unless
        ``clean`` is false, measured, and renamed: never copied. If an equal layer is there already, that one
        stays.
        """
        if clean:
            clean_upper(folder, epoch=epoch)
        info = measure(folder, form=self.form)
        self._keep(folder, info, info.diff_id)
        return info

    def add_layer(self, blob: Path, *, diff_id: Digest | None = None) -> LayerInfo:
        """Unpack and keep a layer's tar, plain or gzipped; DataError if it is hostile or not ``diff_id``."""
        with self.workspace() as work:
            folder = work / "layer"
            folder.mkdir(mode=0o755)
            with open(blob, "rb", buffering=0) as stream:
                info = apply_tar(stream, folder, form=self.form)
            if diff_id is not None and info.diff_id != diff_id:
                raise DataError(f"the bytes of layer {diff_id} are not its own", why=f"they are {info.diff_id}")
            tree = measure(folder, form=self.form).diff_id
            if tree != info.diff_id:  # another writer's tar: ours would not come out the same
                with open(blob, "rb", buffering=0) as stream:
                    self.add_blob(decompressed(stream), digest=info.diff_id)
            self._keep(folder, info, tree)
        return info

    def write_layer(self, diff_id: Digest, out: Output) -> None:
        """Write the layer's uncompressed tar to ``out``; CorruptError if its sha256 is not the diffID."""
        folder = self.layer_path(diff_id)
        hasher = hashlib.sha256()
        both = _Tee(out, hasher.update)
        if self.has_blob(diff_id):
            with open(self.blob_path(diff_id), "rb", buffering=0) as stream:
                while data := stream.read(CHUNK):
                    both.write(memoryview(data))
        else:
            write_tar(folder, both, form=self.form)
        if hasher.hexdigest() != diff_id.hex:
            raise self._damaged(diff_id)

    def verify_layer(self, diff_id: Digest) -> bool:
        """Whether the layer's folder, and its tar where kept, still are what was put in. Reads all of it."""
        info, tree = self._facts(diff_id)
        if measure(self.layer_path(diff_id), form=self.form).diff_id != tree:
            return False
        return tree == info.diff_id or (self.has_blob(diff_id) and Digest.of_file(self.blob_path(diff_id)) == diff_id)

    def _keep(self, folder: Path, info: LayerInfo, tree: Digest) -> None:
        """Rename ``folder`` to its place, then say that it is there."""
        place = self._layers / info.diff_id.hex
        with locked(self._layers / ".lock"):
            if self.has_layer(info.diff_id):
                return
            remove_tree(place)  # of a process that died between the two steps below
            mode = stat.S_IMODE(os.stat(folder).st_mode)
            os.chmod(folder, mode | 0o700)  # rename(2) wants to write a folder that changes its parent
            os.rename(folder, place)
            os.chmod(place, mode)
            facts: dict[str, Json] = {"content": info.content, "size": info.size, "tree": str(tree)}
            write_atomic(self._info_path(info.diff_id), canonical_json(facts))

    def _info_path(self, diff_id: Digest) -> Path:
        return self._layers / f"{diff_id.hex}.json"

    def _facts(self, diff_id: Digest) -> tuple[LayerInfo, Digest]:
        """Return the layer's sizes, and the digest of the tar that its folder gives."""
        self.layer_path(diff_id)
        try:
            facts = json.loads(self._info_path(diff_id).read_bytes())
            return LayerInfo(diff_id, facts["size"], facts["content"]), Digest.parse(facts["tree"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(diff_id) from error

    def _damaged(self, diff_id: Digest) -> CorruptError:
        return CorruptError(
            f"layer {diff_id} in the store is damaged",
            where=str(self._layers / diff_id.hex),
            hint=f"delete {self._info_path(diff_id)}, then build or pull the image again",
        )

    # Work in progress

    def workspace(self) -> contextlib.AbstractContextManager[Path]:
        """Give a private folder on the layers' file system, removed when the block ends, however it ends."""
        return self._work.folder()

    def sweep(self) -> None:
        """Remove what processes that died left in progress."""
        self._work.sweep()

    # What is remembered

    def recall(self, kind: str, key: Digest) -> Json | None:
        """Return what was remembered under ``kind`` and ``key``; None if nothing was."""
        try:
            value: Json = json.loads(self._memory_path(kind, key).read_bytes())
        except (FileNotFoundError, ValueError):  # torn by a power cut: as good as forgotten
            return None
        return value

    def remember(self, kind: str, key: Digest, value: Json) -> None:
        """Remember ``value``, in place of what was remembered before."""
        write_atomic(*self.memory_text(kind, key, value), durable=False)

    def _memory_path(self, kind: str, key: Digest) -> Path:
        return self._memory / file_name(kind) / f"{key.hex}.json"

    # What shows that an image is still what it was

    def ref_text(self, name: str, image_id: Digest) -> tuple[Path, bytes]:
        """Return the file of a full name, and the bytes that it holds while it stands for the image."""
        return self._refs / file_name(name), f"{image_id}\n".encode()

    def memory_text(self, kind: str, key: Digest, value: Json) -> tuple[Path, bytes]:
        """Return the file of what is remembered, and the bytes that it holds while that is ``value``."""
        return self._memory_path(kind, key), canonical_json(value)

    def image_files(self, image_id: Digest) -> list[Path]:
        """Return the files and folders that are there as long as `has_image` is true."""
        layers = self.config(image_id).diff_ids
        folders = [self._layers / diff_id.hex for diff_id in layers]
        return [self.blob_path(image_id), self._images / image_id.hex, *folders, *map(self._info_path, layers)]


class _Tee:
    """Passes what is written to two takers."""

    def __init__(self, out: Output, second: Callable[[memoryview], object]) -> None:
        self._out = out
        self._second = second

    def write(self, data: memoryview, /) -> None:
        """Pass ``data`` on."""
        self._second(data)
        self._out.write(data)
