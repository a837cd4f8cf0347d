"""Unpacked layers by diffID: whole or not there, also after a power cut; unpacked again from a blob when needed.

On disk, below the layers' root::

    FORM/HEX/        an unpacked layer as an overlay lower; HEX is its diffID
    FORM/HEX.json    its sizes; the layer is there when this file is
    FORM/HEX.new     says in which boot of the machine the layer was made; gone once its bytes are surely on disk

A layer's files are not synced one by one: 50,000 of them would take minutes. A power cut in the half minute before the
kernel writes them by itself would leave a layer that says it is there, of empty files. So each is marked as new: in
another boot, what still has its mark is read and compared before it is used, and dropped if it is not what it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from repro.digest import CHUNK, Digest, canonical_json
from repro.errors import CorruptError, DataError, StoreError
from repro.files import locked, remove_tree, write_atomic
from repro.oci.compression import decompressed
from repro.oci.layer import apply_tar, clean_upper, measure, write_tar
from repro.oci.leases import boot_id
from repro.oci.model import LayerInfo
from repro.oci.tar import TarWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repro.digest import Json
    from repro.oci.blobs import Blobs
    from repro.oci.limits import Limits
    from repro.oci.tar import Output
    from repro.oci.workspace import Workspaces

_FACTS: Final = ".json"
_NEW: Final = ".new"
_SETTLED: Final = 600.0  # seconds; the kernel writes what is older than 30 (vm.dirty_expire_centisecs)


class Layers:
    """The layers of one form, below ``root``.

    Args:
        root: holds a folder for each form; may be on another file system than the blobs.
        form: how owners and special files are kept (`repro.oci.inode`).
        room: private places on the file system of ``root``.
        blobs: takes tars that cannot be written again from the folder.
        packed: where a blob is from which a layer can be unpacked, if there is one.
        keep_tars: whether the tar of each layer made here is kept as a blob, for other machines to unpack.
        limits: what a layer may hold that is unpacked.
        before: other layers of this form, made when they were kept elsewhere. They are read; nothing changes there.
        packed_now: is told of a layer of those that has a blob from now on.
    """

    def __init__(
        self,
        root: Path,
        form: str,
        room: Workspaces,
        blobs: Blobs,
        packed: Callable[[Digest], Path | None],
        *,
        keep_tars: bool,
        limits: Limits,
        before: Layers | None = None,
        packed_now: Callable[[LayerInfo], None] = lambda _: None,
    ) -> None:
        self.form = form
        self.folder = root / form
        self._room = room
        self._blobs = blobs
        self._packed = packed
        self._keep_tars = keep_tars
        self._limits = limits
        self._before = before
        self._packed_now = packed_now

    def unpacked(self, diff_id: Digest) -> bool:
        """Whether the layer's folder is there."""
        return self.info_path(diff_id).exists() and self._place(diff_id).exists()

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer is unpacked, or can be by what is in the store."""
        return self._holder(diff_id) is not None or self._packed(diff_id) is not None

    def _holder(self, diff_id: Digest) -> Layers | None:
        """Return where the layer's folder is: here, or where it was made before; None: nowhere."""
        if self.unpacked(diff_id):
            return self
        return self._before if self._before is not None and self._before.unpacked(diff_id) else None

    def path(self, diff_id: Digest) -> Path:
        """Return the layer's folder, unpacked now if it is not there; StoreError if it cannot be."""
        if not self.unpacked(diff_id):
            self.restore(diff_id)
        return self._place(diff_id)

    def restore(self, diff_id: Digest) -> None:
        """Unpack the layer from its blob, unless it is there; one at a time in all processes.

        Raises:
            StoreError: there is no blob of it.
            CorruptError: the blob does not hold the layer.
        """
        with locked(self.folder / ".restoring"):
            if self.unpacked(diff_id):
                return
            blob = self._packed(diff_id) or self._pack(diff_id)
            if blob is None:
                raise StoreError(
                    f"layer {diff_id} is not in the store for mode {self.form!r}",
                    hint="build or pull its image again in this mode",
                )
            try:
                self.add(blob, diff_id)
            except DataError as error:
                raise CorruptError(
                    f"layer {diff_id} cannot be unpacked from its blob",
                    where=str(blob),
                    why=error.why or error.message,
                    hint="repair it with `repro store check --repair`",
                ) from error

    def _pack(self, diff_id: Digest) -> Path | None:
        """Keep the tar of a layer that was made elsewhere before, as that of one made here is; None if there is none.

        CorruptError: its folder is not what it was.
        """
        before = self._before
        if before is None or not before.unpacked(diff_id):
            return None
        try:
            with self._blobs.new_blob() as tar:
                before.write(diff_id, tar)
                tar.keep()
        except CorruptError as error:
            error.hint = "repair it with `repro store check --repair`, for once without REPRO_LAYERS"
            raise
        self._packed_now(before.info(diff_id))
        return self._blobs.blob_path(diff_id)

    def info(self, diff_id: Digest) -> LayerInfo:
        """Return the layer's sizes, without reading it; StoreError if it is not there."""
        holder = self._holder(diff_id) or self
        return holder._facts(diff_id)[0]  # noqa: SLF001 - of this class

    def files(self, diff_id: Digest) -> tuple[Path, Path]:
        """Return what is there as long as the layer is unpacked: its folder, and the file that says so."""
        holder = self._holder(diff_id) or self
        return holder.folder / diff_id.hex, holder.info_path(diff_id)

    def commit(self, folder: Path, *, epoch: int, clean: bool) -> LayerInfo:
        """Keep an overlay upper as a layer (`repro.oci.store.Store.commit_layer`)."""
        if clean:
            clean_upper(folder, epoch=epoch)
        info = self._packed_tar(folder) if self._keep_tars else measure(folder, form=self.form)
        self._keep(folder, info, info.diff_id)
        return info

    def _packed_tar(self, folder: Path) -> LayerInfo:
        """Keep the folder's tar as a blob; return the layer that it is."""
        with self._blobs.new_blob() as tar:
            writer = TarWriter(tar.write, self.form)
            writer.write_tree(folder)
            return LayerInfo(tar.keep(), writer.size, writer.content)

    def add(self, blob: Path, diff_id: Digest | None, seen: Callable[[], None] | None = None) -> LayerInfo:
        """Unpack and keep a layer's tar (`repro.oci.store.Store.add_layer`)."""
        with self._room.folder() as work:
            folder = work / "layer"
            folder.mkdir(mode=0o755)
            with open(blob, "rb", buffering=0) as stream:
                info = apply_tar(stream, folder, form=self.form, limits=self._limits)
            if diff_id is not None and info.diff_id != diff_id:
                raise DataError(f"the bytes of layer {diff_id} are not its own", why=f"they are {info.diff_id}")
            if seen is not None:
                seen()
            # What stays as a blob can be unpacked again: which tar the folder gives is found out when it is asked for.
            tree = None if blob.parent == self._blobs.blobs_folder else measure(folder, form=self.form).diff_id
            # Another writer's tar, which ours would not come out as; or one that other machines have no blob of.
            needed = tree is not None and (tree != info.diff_id or self._keep_tars)
            if needed and not self._blobs.has_blob(info.diff_id):
                with open(blob, "rb", buffering=0) as stream:
                    self._blobs.add_blob(decompressed(stream, self._limits.swelling), digest=info.diff_id)
            self._keep(folder, info, tree)
        return info

    def write(self, diff_id: Digest, out: Output) -> None:
        """Write the layer's uncompressed tar to ``out``; CorruptError if its sha256 is not the diffID."""
        hasher = hashlib.sha256()
        both = _Tee(out, hasher.update)
        blob = self._blobs.blob_path(diff_id)
        packed = blob if blob.exists() else self._packed(diff_id)
        if packed is not None and self._facts(diff_id)[1] != diff_id:  # another's tar, or not known to be ours
            with open(packed, "rb", buffering=0) as stream:
                tar = decompressed(stream, self._limits.swelling)
                while data := tar.read(CHUNK):
                    both.write(memoryview(data))
        else:
            write_tar(self.path(diff_id), both, form=self.form)
        if hasher.hexdigest() != diff_id.hex:
            raise self.damaged(diff_id)

    def verify(self, diff_id: Digest) -> bool:
        """Whether the folder, and the tar where that is needed, still are what was put in. Reads all of it."""
        found, tree = self._trees(diff_id)
        if found != tree:
            return False
        if tree == diff_id:
            return True
        kept = self._blobs.blob_path(diff_id)
        if kept.exists():
            return Digest.of_file(kept) == diff_id
        return self._packed(diff_id) is not None  # compressed, and checked as a blob

    def folder_whole(self, diff_id: Digest) -> bool:
        """Whether the folder still is what was put in; reads all of it."""
        found, tree = self._trees(diff_id)
        return found == tree

    def _trees(self, diff_id: Digest) -> tuple[Digest, Digest | None]:
        """Return the digest of the tar that the folder gives, and of the one that it gave; None: it cannot be known.

        What was never asked of a layer its blob says, unpacked once more where our tar is not the layer's own.
        """
        known = self._facts(diff_id)[1]
        found = measure(self._place(diff_id), form=self.form).diff_id
        if known is None:
            known = diff_id if found == diff_id else self._unpacked_again(diff_id)
        return found, known

    def _unpacked_again(self, diff_id: Digest) -> Digest | None:
        """Return the digest of the tar that the layer's folder gives, fresh from its blob; None if that is damaged."""
        blob = self._packed(diff_id)
        if blob is None:
            return None
        with self._room.folder() as work, contextlib.suppress(DataError):
            folder = work / "layer"
            folder.mkdir(mode=0o755)
            with open(blob, "rb", buffering=0) as stream:
                if apply_tar(stream, folder, form=self.form, limits=self._limits).diff_id == diff_id:
                    return measure(folder, form=self.form).diff_id
        return None

    def drop(self, diff_id: Digest) -> None:
        """Remove the layer's folder."""
        with locked(self.folder / ".lock"):
            remove_layer(self.folder, diff_id)

    def settle(self) -> None:
        """Take the marks off layers that are surely on disk; read again those that were new in another boot.

        Layers that this process may not read keep their marks, for one that may.
        """
        if not any(name.endswith(_NEW) for name in os.listdir(self.folder)):
            return
        boot = boot_id()
        with locked(self.folder / ".settling"):  # who comes second must not use what the first is still reading
            for name in sorted(name for name in os.listdir(self.folder) if name.endswith(_NEW)):
                with contextlib.suppress(FileNotFoundError, PermissionError, DataError):
                    self._settle(self.folder / name, boot)

    def _settle(self, mark: Path, boot: str) -> None:
        """Decide on one mark."""
        if mark.read_text(encoding="ascii", errors="replace") == boot:
            if time.time() - mark.stat().st_mtime > _SETTLED:
                mark.unlink()
            return
        diff_id = Digest(mark.name.removesuffix(_NEW))
        if self.unpacked(diff_id) and not self._whole(diff_id):
            self.drop(diff_id)
        mark.unlink(missing_ok=True)

    def _whole(self, diff_id: Digest) -> bool:
        try:
            return self.verify(diff_id)
        except CorruptError:  # torn facts
            return False

    def _keep(self, folder: Path, info: LayerInfo, tree: Digest | None) -> None:
        """Rename ``folder`` to its place, then say that it is there; ``tree``: the tar that it gives, if known."""
        place = self._place(info.diff_id)
        with locked(self.folder / ".lock"):
            if self.unpacked(info.diff_id):
                return
            remove_tree(place)  # of a process that died between the two steps below
            mode = stat.S_IMODE(os.stat(folder).st_mode)
            os.chmod(folder, mode | 0o700)  # rename(2) wants to write a folder that changes its parent
            os.rename(folder, place)
            os.chmod(place, mode)
            self._mark(info.diff_id).write_text(boot_id(), encoding="ascii")
            gives = None if tree is None else str(tree)
            facts: dict[str, Json] = {"content": info.content, "size": info.size, "tree": gives}
            write_atomic(self.info_path(info.diff_id), canonical_json(facts))

    def _place(self, diff_id: Digest) -> Path:
        return self.folder / diff_id.hex

    def _mark(self, diff_id: Digest) -> Path:
        return self.folder / f"{diff_id.hex}{_NEW}"

    def info_path(self, diff_id: Digest) -> Path:
        """Return the file that says that the layer is there."""
        return self.folder / f"{diff_id.hex}{_FACTS}"

    def _facts(self, diff_id: Digest) -> tuple[LayerInfo, Digest | None]:
        """Return the layer's sizes, and the digest of the tar that its folder gives; None: it was never asked for."""
        self.path(diff_id)
        return self._read_facts(diff_id)

    def _read_facts(self, diff_id: Digest) -> tuple[LayerInfo, Digest | None]:
        try:
            facts = json.loads(self.info_path(diff_id).read_bytes())
            sizes, tree = LayerInfo(diff_id, facts["size"], facts["content"]), facts["tree"]
            return sizes, None if tree is None else Digest.parse(tree)
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise self.damaged(diff_id) from error

    def damaged(self, diff_id: Digest) -> CorruptError:
        """Return the error that tells that a layer is not what it was."""
        return CorruptError(
            f"layer {diff_id} in the store is damaged",
            where=str(self._place(diff_id)),
            hint="repair it with `repro store check --repair`, or build the image again after that",
        )


def remove_layer(folder: Path, diff_id: Digest) -> None:
    """Remove a layer from the folder of a form; its facts first, so that at no moment a part of it counts."""
    (folder / f"{diff_id.hex}{_FACTS}").unlink(missing_ok=True)
    remove_tree(folder / diff_id.hex)
    (folder / f"{diff_id.hex}{_NEW}").unlink(missing_ok=True)


def listed(folder: Path) -> Iterator[tuple[Digest, int]]:
    """Yield the layers that are unpacked in the folder of a form, with the bytes of their files; 0 if not known."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        if not name.endswith(_FACTS) or name.startswith("."):
            continue
        with contextlib.suppress(DataError, FileNotFoundError):
            diff_id = Digest(name.removesuffix(_FACTS))
            try:
                content = json.loads((folder / name).read_bytes())["content"]
            except (ValueError, KeyError, TypeError):
                content = 0
            yield diff_id, content if isinstance(content, int) else 0


class _Tee:
    """Passes what is written to two takers."""

    def __init__(self, out: Output, second: Callable[[memoryview], object]) -> None:
        self._out = out
        self._second = second

    def write(self, data: memoryview, /) -> None:
        """Pass ``data`` on."""
        self._second(data)
        self._out.write(data)
