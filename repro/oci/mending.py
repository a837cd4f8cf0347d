"""What `repro.oci.checking` found wrong, mended: from another copy in the store, else from the image's registry."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.errors import DataError, ReproError, StoreError
from repro.oci.compression import decompressed
from repro.oci.known import blob_of, manifests_of
from repro.oci.layer import write_tar
from repro.oci.reach import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from repro.oci.checking import Wrong
    from repro.oci.reach import Reach
    from repro.oci.store import Store

_ANEW = "build or pull the image again: what is missing is made anew"
_GIVE_UP = "build or pull the image again, or give it up with `repro image rm`"


class Mending:
    """One repair of a store that this process has alone.

    Nothing good is removed. What is damaged goes where nothing can be had from it, and a damaged layer always: the
    next build would take it for good.
    """

    def __init__(
        self, store: Store, known: Reach, wrong: Sequence[Wrong], repair: Callable[[Digest], None] | None
    ) -> None:
        self._store = store
        self._known = known
        self._wrong = wrong
        self._repair = repair

    def run(self) -> None:
        """Mend what can be mended, and say of the rest what to do."""
        for one in self._left():
            if one.digest is None:  # a name, mark, fact or stray file that says nothing
                one.where.unlink(missing_ok=True)
                one.mended = "removed"
        if self._known.unreadable:  # once their configs are there, it is known what else is theirs
            self._take_again(self._known.unreadable)
            self._known = reach(self._store)
        for one in self._left("blob"):
            self._blob(one)
        for one in self._left("layer"):
            self._unpack(one)
        self._take_again(sorted({image for one in self._left() for image in self._owners(one)}))
        for one in self._left():
            self._give_up(one)

    def _left(self, *kinds: str) -> Iterator[Wrong]:
        return (one for one in self._wrong if not one.mended and (not kinds or one.kind in kinds))

    def _blob(self, one: Wrong) -> None:
        """Make the blob of a layer again, or do without it; what else is needed comes from the registry alone."""
        store, digest = self._store, _digest(one)
        layers = self._known.layers | self._known.cached
        packed = next((layer for layer in layers if _compressed(store, layer) == digest), None)
        if digest not in self._known.blobs:
            one.where.unlink(missing_ok=True)
            one.mended = "removed: nothing refers to it"
        elif digest in layers:
            self._tar(one, digest)
        elif packed is not None and self._intact(packed):
            if store.apart and not store.has_blob(packed):  # other machines have it from here only
                self._write(packed)
            one.where.unlink(missing_ok=True)
            one.mended = "removed: its layer is unpacked here, and intact"

    def _tar(self, one: Wrong, diff_id: Digest) -> None:
        """Make a layer's tar again: from the compressed blob, or from the folder where that gives the same."""
        compressed = _compressed(self._store, diff_id)
        if compressed is not None and self._store.has_blob(compressed):
            with contextlib.suppress(DataError), open(self._store.blob_path(compressed), "rb", buffering=0) as stream:
                self._store.add_blob(decompressed(stream, self._store.limits.swelling), digest=diff_id)
                one.mended = "unpacked again from the compressed blob"
        if not one.mended and self._store.unpacked(diff_id) and self._write(diff_id):
            one.mended = "written again from the unpacked layer"

    def _write(self, diff_id: Digest) -> bool:
        """Write a layer's tar from its folder, in place of a damaged one; whether it came out right."""
        with contextlib.suppress(DataError), self._store.new_blob() as blob:
            write_tar(self._store.layer_path(diff_id), blob, form=self._store.form)
            if blob.digest() == diff_id:
                blob.keep()
                return True
        return False

    def _unpack(self, one: Wrong) -> None:
        """Unpack a layer again from its blob, if that is intact."""
        with self._hidden(one):
            pass  # nothing else can be done from within
        if self._intact(_digest(one)):
            one.mended = "unpacked again from its blob"

    def _take_again(self, images: Sequence[Digest]) -> None:
        """Take images again whose parts could not be mended from within."""
        for image_id in images:
            with contextlib.ExitStack() as hidden:
                for one in self._left("layer"):
                    if _digest(one) in self._known.images.get(image_id, ()):
                        hidden.enter_context(self._hidden(one))
                why = self._asked(image_id)
            for one in self._left():
                if self._well(one):
                    one.mended = "taken again from the registry"
                elif why and why not in one.why and image_id in self._owners(one):
                    one.why = f"{one.why}; it could not be had again: {why}"

    def _asked(self, image_id: Digest) -> str:
        """Have an image taken again; return why it could not be, or nothing."""
        if self._repair is None or not manifests_of(self._store, image_id):  # built here: no registry has it
            return ""
        try:
            self._repair(image_id)
        except ReproError as error:
            return f"{error.message} ({error.why})" if error.why else error.message
        except OSError as error:
            return str(error)
        return ""

    @contextlib.contextmanager
    def _hidden(self, one: Wrong) -> Iterator[None]:
        """Let the store lack a damaged layer while the block runs, and unpack it again from a good blob afterwards.

        Where there is none it is back, as it was.
        """
        store, diff_id = self._store, _digest(one)
        blob = _compressed(store, diff_id)
        for damaged in self._wrong:
            if damaged.kind == "blob" and damaged.digest in {blob, diff_id}:
                damaged.where.unlink(missing_ok=True)
        facts = one.where.with_name(f"{diff_id.hex}.json")
        aside = one.where.with_name(f".{diff_id.hex}.json.tmp")  # left by a kill, it goes with the next gc
        with contextlib.suppress(FileNotFoundError):
            facts.rename(aside)
        try:
            yield
        finally:
            with contextlib.suppress(StoreError, DataError, OSError):
                store.restore_layer(diff_id)
            with contextlib.suppress(FileNotFoundError):
                if facts.exists():
                    aside.unlink()
                else:
                    aside.rename(facts)

    def _owners(self, one: Wrong) -> list[Digest]:
        """Return the images that need something: a config, a layer, what a layer came as, or a manifest."""
        digest = one.digest
        found = [image for image, layers in self._known.images.items() if digest in (image, *layers)]
        found += [image for image in self._known.unreadable if digest == image]
        for image in (*self._known.images, *self._known.unreadable):
            parts = {_compressed(self._store, layer) for layer in self._known.images.get(image, ())}
            if digest in parts or digest in manifests_of(self._store, image).values():
                found.append(image)
        return found

    def _well(self, one: Wrong) -> bool:
        """Whether something that was wrong is as it should be."""
        digest = _digest(one)
        try:
            match one.kind:
                case "layer":
                    return self._intact(digest)
                case "image":
                    return bool(self._store.config(digest))
                case "name":
                    return self._store.has_blob(digest)
                case _:
                    return Digest.of_file(one.where) == digest
        except (OSError, StoreError, DataError):
            return False

    def _intact(self, diff_id: Digest) -> bool:
        try:
            return self._store.unpacked(diff_id) and self._store.verify_layer(diff_id)
        except DataError:
            return False

    def _whole(self, diff_id: Digest) -> bool:
        """Whether the layer's folder is good, though its tar is not there to prove it."""
        try:
            return self._store.unpacked(diff_id) and self._store.folder_whole(diff_id)
        except DataError:
            return False

    def _give_up(self, one: Wrong) -> None:
        """Say what to do about what could not be mended."""
        match one.kind:
            case "name":
                one.where.unlink(missing_ok=True)
                one.mended = "removed"
            case "layer":
                if not self._whole(_digest(one)):
                    self._store.drop_layer(_digest(one))
                one.hint = _ANEW
            case "blob" if _digest(one) in self._known.layers | self._known.cached:
                one.hint = _ANEW
            case _:
                one.hint = _GIVE_UP


def _compressed(store: Store, diff_id: Digest) -> Digest | None:
    """Return the digest of the compressed blob that is known to hold a layer."""
    known = blob_of(store, diff_id)
    return None if known is None else known.digest


def _digest(one: Wrong) -> Digest:
    assert one.digest is not None  # what has none was removed first
    return one.digest
