"""The store: blobs by digest, unpacked layers by diffID, names of images.

Several processes may use one at once; what removes things has it alone (`repro.oci.leases`).

On disk, below the store's root (mode 0700: set-id files of any layer are within)::

    version                     the number of this layout
    blobs/sha256/HEX            bytes whose sha256 is HEX; written aside, fsynced, renamed; checked when read
    images/HEX                  empty; says that the blob HEX is an image config
    refs/NAME                   the image ID that a name stands for; NAME is percent-encoded
    layers/FORM/HEX...          unpacked layers (`repro.oci.layers`); may be on another disk
    memory/KIND/HEX.json        small facts by key: what the build cache remembers
    caches/FORM/                folders of RUN --mount=type=cache; beside the layers
    replays/                    builds told again (`repro.cli.replay`)
    partial/                    blobs that a pull broke off
    leases/                     who works here (`repro.oci.leases`)
    tmp/                        work in progress, each entry flocked by its process

A layer that was built here has no blob: its tar can be written again from its folder (`repro.oci.tar`). A
layer that came from elsewhere keeps the compressed blob that it came as (`repro.oci.known`), and its own tar, named by
the diffID, where its folder gives another. From either it is unpacked again where it is missing: for another form, or
on another machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING, Final

from repro.digest import Digest, canonical_json
from repro.errors import DataError, StoreError, UsageError
from repro.files import write_atomic
from repro.oci.blobs import Blobs
from repro.oci.inode import down_to_opaque
from repro.oci.known import blob_of
from repro.oci.layers import Layers
from repro.oci.leases import Leases
from repro.oci.limits import DEFAULT_LIMITS, Limits
from repro.oci.model import ImageConfig, LayerInfo
from repro.oci.named import Names, warn
from repro.oci.refs import file_name, find_image, full_name
from repro.oci.workspace import Workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repro.digest import Json
    from repro.oci.tar import Output

_VERSION: Final = b"1\n"
SIZES: Final = "layer-sizes"  # kind of facts: diffID -> [bytes of the tar, bytes of its files]


class Store(Blobs, Names):
    """A store below ``root``, whose layers are unpacked in ``form`` (`repro.runtime.spec.Mode`'s value).

    Every write is whole or not there, and adding what is there already changes nothing. Made where there is
    none; StoreError when it belongs to another user or has a layout of another version.

    ``layers`` is a folder of this machine for the unpacked layers where ``root`` is on a network file system, which
    other machines use, too: each layer's tar is kept as a blob then, and unpacked on each machine when it is first
    needed; so it is with a layer that was made below ``root`` before. None: below ``root``. ``limits`` say what a layer
    may hold that comes from outside.
    """

    def __init__(self, root: Path, form: str, layers: Path | None = None, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self.root = root
        self.form = form
        self.limits = limits
        self.layers_root = root / "layers" if layers is None else layers / "layers"
        self.apart = layers is not None
        self._images = root / "images"
        self._memory = root / "memory"
        self._open()
        self.leases = Leases(root)
        away = "" if self.leases.local else self.leases.machine
        Blobs.__init__(self, root / "blobs" / "sha256", Workspaces(root / "tmp", away))
        Names.__init__(self, root / "refs")
        self._rooms = [self._room]
        if layers is not None:
            _own(layers)
            self._rooms.append(Workspaces(layers / "tmp"))
        self._layers = Layers(
            self.layers_root,
            form,
            self._rooms[-1],
            self,
            self.packed_layer,
            keep_tars=layers is not None,
            limits=limits,
            before=self._layers_below_root() if layers is not None else None,
            packed_now=self._note_sizes,
        )
        for folder in (self._layers.folder, self.layers_root.parent / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)

    def _layers_below_root(self) -> Layers:
        """Return the layers that were made when they were not yet kept apart."""
        return Layers(
            self.root / "layers",
            self.form,
            self._room,
            self,
            lambda _: None,  # what has a blob is not asked for here
            keep_tars=False,
            limits=self.limits,
        )

    def _open(self) -> None:
        """Check the store, or make it."""
        with contextlib.suppress(FileNotFoundError):
            _own(self.root, make=False)
            version = (self.root / "version").read_bytes()
            if version != _VERSION:
                raise StoreError(
                    f"the store {self.root} has layout {version.decode(errors='replace').strip()!r}",
                    why=f"this release reads layout {_VERSION.decode().strip()}",
                    hint="set REPRO_STORE to another folder, or use the release that made this one",
                )
            return
        _own(self.root)
        for name in ("blobs/sha256", "images", "refs", "layers", "memory", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        write_atomic(self.root / "version", _VERSION)

    # Images

    def put_image(self, config: ImageConfig) -> Digest:
        """Keep an image; return its ID. StoreError unless every layer is there (`has_layer`)."""
        return self.put_image_bytes(config.to_json())

    def put_image_bytes(self, data: bytes) -> Digest:
        """Keep an image by its config as written elsewhere, byte for byte; like `put_image`."""
        config = ImageConfig.from_json(data)
        for diff_id in config.diff_ids:
            if not self.has_layer(diff_id):
                raise StoreError(f"layer {diff_id} of the image is not in the store", hint="add it first")
        image_id = self.put_blob(data)
        marker = self.image_mark(image_id)
        if not marker.exists():
            write_atomic(marker, b"")
        return image_id

    def config(self, image_id: Digest) -> ImageConfig:
        """Return an image's config; CorruptError or StoreError as `read_blob`."""
        return ImageConfig.from_json(self.read_blob(image_id))

    def has_image(self, image_id: Digest) -> bool:
        """Whether the config is there and every layer, as `has_layer` says it."""
        return self.has_blob(image_id) and all(map(self.has_layer, self.config(image_id).diff_ids))

    def image_layers(self, image_id: Digest) -> tuple[Path, ...]:
        """Return the folders of the image's layers as `layer_stack` does; StoreError if one is missing."""
        return self.layer_stack(self.config(image_id).diff_ids)

    def layer_stack(self, diff_ids: Sequence[Digest]) -> tuple[Path, ...]:
        """Return the folders of a stack of layers as overlay takes them: lowest first, each once.

        overlayfs refuses a folder that is there twice (ELOOP). Of equal layers the topmost decides on every name that
        they hold, so the lower ones show nothing and are left out; so are those below one whose root is opaque
        (`repro.oci.inode.down_to_opaque`).
        """
        kept = dict.fromkeys(reversed(diff_ids))
        return tuple(reversed(down_to_opaque(map(self.layer_path, kept))))

    def images(self) -> set[Digest]:
        """Return the IDs of all images, named or not; what is no ID is passed over with a warning."""
        found = set()
        for name in os.listdir(self._images):
            if not name.startswith("."):  # one being written
                try:
                    found.add(Digest(name))
                except DataError:
                    warn(self._images / name, f"{self._images / name} names no image")
        return found

    def image_mark(self, image_id: Digest) -> Path:
        """Return the file that says that the blob ``image_id`` is an image's config."""
        return self._images / image_id.hex

    # Names

    def tag(self, name: str, image_id: Digest) -> str:
        """Let ``name`` stand for the image, from now on it alone; return the name in full."""
        if not self.has_blob(image_id):
            raise StoreError(f"image {image_id} is not in the store")
        full = full_name(name)
        write_atomic(*self.ref_text(full, image_id))
        return full

    def resolve(self, text: str) -> Digest:
        """Return the image that a name, an ID or its first digits mean; StoreError names what is near."""
        with contextlib.suppress(UsageError, FileNotFoundError):
            return self.read_ref(file_name(full_name(text)))
        return find_image(text, self.refs(), self.images())

    # Layers

    def has_layer(self, diff_id: Digest) -> bool:
        """Whether the layer is there: unpacked in this form, or something from which it can be (`restore_layer`)."""
        return self._layers.has(diff_id)

    def unpacked(self, diff_id: Digest) -> bool:
        """Whether the layer's folder is there, in this form."""
        return self._layers.unpacked(diff_id)

    def layer_path(self, diff_id: Digest) -> Path:
        """Return the layer's folder, which is unpacked now if need be; StoreError if the layer is not there."""
        return self._layers.path(diff_id)

    def restore_layer(self, diff_id: Digest) -> None:
        """Unpack the layer from what is there of it, unless it is; StoreError for nothing, CorruptError if damaged."""
        self._layers.restore(diff_id)

    def packed_layer(self, diff_id: Digest) -> Path | None:
        """Return a blob from which the layer can be unpacked: its tar, else the compressed one that it came as.

        Only of a layer that was unpacked before, here or by another machine: what else has its digest is no layer yet,
        and may be hostile.
        """
        if self.has_blob(diff_id) and self._sizes(diff_id) is not None:
            return self.blob_path(diff_id)
        known = blob_of(self, diff_id)
        return self.blob_path(known.digest) if known is not None and self.has_blob(known.digest) else None

    def layer_info(self, diff_id: Digest) -> LayerInfo:
        """Return the layer's sizes, without reading it; StoreError if it is not there."""
        sizes = None if self.unpacked(diff_id) else self._sizes(diff_id)
        return self._layers.info(diff_id) if sizes is None else sizes

    def _sizes(self, diff_id: Digest) -> LayerInfo | None:
        """Return the sizes of a layer that was unpacked once, whether or not it is there."""
        match self.recall(SIZES, diff_id):
            case [int(size), int(content)]:
                return LayerInfo(diff_id, size, content)
            case _:
                return None

    def _note_sizes(self, info: LayerInfo) -> None:
        write_atomic(*self.memory_text(SIZES, info.diff_id, [info.size, info.content]), durable=self.apart)

    def commit_layer(self, folder: Path, *, epoch: int, clean: bool = True) -> LayerInfo:
        """Keep an overlay upper as a layer; return what it is. ``folder`` is gone afterwards.

        ``folder`` lies in a `workspace` of this store. It is cleaned in place (`repro.oci.clean`) unless
        ``clean`` is false, measured, and renamed: never copied. If an equal layer is there already, that one
        stays.
        """
        info = self._layers.commit(folder, epoch=epoch, clean=clean)
        if self.apart:
            self._note_sizes(info)
        return info

    def add_layer(
        self, blob: Path, *, diff_id: Digest | None = None, seen: Callable[[], None] | None = None
    ) -> LayerInfo:
        """Unpack and keep a layer's tar, plain or compressed; DataError if it is hostile or not ``diff_id``.

        ``seen`` is called when that is known, before the layer counts.
        """
        info = self._layers.add(blob, diff_id, seen)
        self._note_sizes(info)
        return info

    def write_layer(self, diff_id: Digest, out: Output) -> None:
        """Write the layer's uncompressed tar to ``out``; CorruptError if its sha256 is not the diffID."""
        self._layers.write(diff_id, out)

    def verify_layer(self, diff_id: Digest) -> bool:
        """Whether the layer's folder, and its tar where kept, still are what was put in. Reads all of it."""
        return self._layers.verify(diff_id)

    def folder_whole(self, diff_id: Digest) -> bool:
        """Whether the layer's folder still is what was put in, whatever became of its tar. Reads all of it."""
        return self._layers.folder_whole(diff_id)

    def drop_layer(self, diff_id: Digest) -> None:
        """Remove the layer's folder of this form. Only for who has the store alone (`leases`)."""
        self._layers.drop(diff_id)

    # Work in progress

    @property
    def caches_root(self) -> Path:
        """Where the folders of RUN --mount=type=cache are, by form: on the layers' file system."""
        return self.layers_root.parent / "caches"

    def workspace(self) -> contextlib.AbstractContextManager[Path]:
        """Give a private folder on the layers' file system, removed when the block ends, however it ends."""
        return self._rooms[-1].folder()

    def sweep(self) -> None:
        """Remove what processes that died left in progress, and layers that a power cut spoilt."""
        for room in self._rooms:
            room.sweep()
        self._layers.settle()

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

    def memory_folder(self, kind: str) -> Path:
        """Return the folder of what is remembered under ``kind``; it is there once something was."""
        return self._memory / file_name(kind)

    def _memory_path(self, kind: str, key: Digest) -> Path:
        return self.memory_folder(kind) / f"{key.hex}.json"

    # What shows that an image is still what it was

    def memory_text(self, kind: str, key: Digest, value: Json) -> tuple[Path, bytes]:
        """Return the file of what is remembered, and the bytes that it holds while that is ``value``."""
        return self._memory_path(kind, key), canonical_json(value)

    def image_files(self, image_id: Digest) -> list[Path]:
        """Return files and folders of which one is missing as soon as `has_image` is not true any more."""
        found = [self.blob_path(image_id), self.image_mark(image_id)]
        for diff_id in self.config(image_id).diff_ids:
            packed = None if self.unpacked(diff_id) else self.packed_layer(diff_id)
            found += self._layers.files(diff_id) if packed is None else (packed,)
        return found


def _own(folder: Path, *, make: bool = True) -> None:
    """See that ``folder`` is the caller's alone; StoreError if it belongs to another user."""
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"the store {folder} belongs to another user (uid {status.st_uid})",
            hint="set REPRO_STORE (and REPRO_LAYERS, if you use it) to a folder of your own",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.chmod(folder, 0o700)
