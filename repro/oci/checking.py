"""A store, verified: every blob against its digest, every layer of this form against what was put in.

What is damaged is named with where it is and whose it is, and mended where that can be done without a doubt: from
another copy in the store, else by taking the image again from the registry that it came from. Nothing good is removed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import CorruptError, DataError, ReproError, StoreError
from repro.oci.known import blob_of, manifests_of
from repro.oci.layers import listed
from repro.oci.reach import facts, forms, kinds, reach
from repro.oci.refs import name_of_file
from repro.oci.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from repro.oci.reach import Reach

_WORTH_MANY: Final = 256 << 20  # bytes to read from which on starting more processes (0.1 s) saves time


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: ``blob``, ``layer``, ``image``, ``name`` or ``fact``.
        subject: its digest, or the name.
        where: the file or folder.
        why: what is wrong with it.
        images: those that need it, by a name of each; empty if none does.
        mended: how it was mended; empty if it was not.
        hint: what to do where it was not.
    """

    kind: str
    subject: str
    where: str
    why: str
    images: tuple[str, ...] = ()
    mended: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found; how many were read, and their bytes. ``unread`` are layers that this process may not read."""

    findings: tuple[Finding, ...]
    blobs: int
    layers: int
    bytes: int
    unread: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(finding.mended for finding in self.findings)


def check(
    store: Store,
    *,
    jobs: int = 1,
    tell: Callable[[int, int], None] | None = None,
    repair: Callable[[Digest], None] | None = None,
    mend: bool = False,
) -> Report:
    """Return what is wrong in the store.

    Args:
        store: whose lease this process shares; for ``mend``, has alone.
        jobs: processes that read, at most.
        tell: hears how many bytes of how many were read.
        repair: takes an image, by its ID, again from where it came from (`repro.oci.known.manifests_of` says where),
            into this very ``store``. Damaged layers are out of the way then (`Store.has_layer`), other blobs are not:
            it compares those with their digests. Its errors are part of the report.
        mend: mend what can be mended.
    """
    known = reach(store)
    examined = _Examined(store, known)
    examined.names()
    examined.images()
    examined.facts()
    examined.contents(jobs, tell)
    if mend:
        from repro.oci.mending import Mending  # noqa: PLC0415 - only where it is asked for

        Mending(store, known, examined.wrong, repair).run()
    findings = tuple(one.finding() for one in examined.wrong)
    return Report(findings, examined.blobs, examined.layers, examined.bytes, tuple(examined.unread))


class Wrong:
    """Something wrong that may yet be mended; ``digest`` is that of a blob, layer or image."""

    def __init__(
        self,
        kind: str,
        subject: str,
        where: Path,
        why: str,
        *,
        digest: Digest | None = None,
        images: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.subject = subject
        self.where = where
        self.why = why
        self.digest = digest
        self.images = tuple(images)
        self.mended = ""
        self.hint = "mend it with `repro store check --repair`"

    def finding(self) -> Finding:
        """Return it as it is now."""
        hint = "" if self.mended else self.hint
        return Finding(self.kind, self.subject, str(self.where), self.why, self.images, self.mended, hint)


class _Examined:
    """What was looked at, and what is wrong."""

    def __init__(self, store: Store, known: Reach) -> None:
        self._store = store
        self._known = known
        self.wrong: list[Wrong] = []
        self.unread: list[str] = []
        self.blobs = 0
        self.layers = 0
        self.bytes = 0

    def names(self) -> None:
        """Look at what every name says."""
        for path in self._store.ref_files():
            name = name_of_file(path.name)
            try:
                image_id = self._store.read_ref(path.name)
            except FileNotFoundError:
                continue
            except CorruptError as error:
                self.wrong.append(Wrong("name", name, path, error.why or error.message))
                continue
            if not self._store.has_blob(image_id):
                why = f"its image {image_id} is not in the store"
                self.wrong.append(Wrong("name", name, path, why, digest=image_id, images=[name]))

    def images(self) -> None:
        """Look at every image's config, and whether its layers are there in some form."""
        store = self._store
        for path in sorted(store.image_mark(Digest("0" * 64)).parent.iterdir()):
            if not path.name.startswith("."):
                try:
                    Digest(path.name)
                except DataError:
                    self.wrong.append(Wrong("image", path.name, path, "it is no image ID"))
        for image_id in self._known.unreadable:
            if store.image_mark(image_id).exists() or store.has_blob(image_id):
                self._image(image_id)
        here = {diff_id for folder in forms(store.layers_root) for diff_id, _ in listed(folder)}
        for diff_id in sorted(self._known.layers - here):
            if not store.has_layer(diff_id):
                self._layer(diff_id, "it is missing")

    def _image(self, image_id: Digest) -> None:
        try:
            self._store.config(image_id)
        except CorruptError:
            return  # its blob is damaged, which will be found
        except (StoreError, DataError) as error:
            self.wrong.append(
                Wrong(
                    "image",
                    str(image_id),
                    self._store.image_mark(image_id),
                    f"its config cannot be read: {error.message}",
                    digest=image_id,
                    images=self._known.holders(image_id),
                )
            )

    def _layer(self, diff_id: Digest, why: str) -> None:
        place = self._store.layers_root / self._store.form / diff_id.hex
        images = self._known.holders(diff_id)
        self.wrong.append(Wrong("layer", str(diff_id), place, why, digest=diff_id, images=images))

    def facts(self) -> None:
        """Look at whether what is remembered can be read."""
        for kind in kinds(self._store):
            for fact in facts(self._store, kind):
                if fact.value is None:
                    self.wrong.append(Wrong("fact", f"{kind} {fact.key}", fact.path, "it is cut off or no JSON"))

    def contents(self, jobs: int, tell: Callable[[int, int], None] | None) -> None:
        """Read all blobs and layers."""
        tasks = list(self._tasks())
        total = sum(size for _, _, size in tasks)
        place = (str(self._store.root), self._store.form, str(self._store.layers_root.parent), self._store.apart)
        with _many(jobs if total >= _WORTH_MANY else 1) as run:
            for (kind, name, size), why in zip(
                tasks, run([(*place, kind, name) for kind, name, _ in tasks]), strict=True
            ):
                self.bytes += size
                if tell is not None:
                    tell(self.bytes, total)
                self._take(kind, name, why)

    def _tasks(self) -> Iterator[tuple[str, str, int]]:
        """Yield kind, name and bytes of what is to be read, the largest first, so that none is left for the end."""
        found = []
        for path in self._store.blobs_folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(("blob", path.name, path.stat().st_size))
        folder = self._store.layers_root / self._store.form
        found += [("layer", diff_id.hex, content) for diff_id, content in listed(folder)]
        return iter(sorted(found, key=lambda task: (-task[2], task[0], task[1])))

    def _take(self, kind: str, name: str, why: str | None) -> None:
        if kind == "blob":
            self.blobs += 1
            if why is not None:
                self._blob(name, why)
        elif why == _UNREADABLE:
            self.unread.append(f"sha256:{name}")
        else:
            self.layers += 1
            if why is not None:
                self._layer(Digest(name), why)

    def _blob(self, name: str, why: str) -> None:
        path = self._store.blobs_folder / name
        try:
            digest = Digest(name)
        except DataError:
            self.wrong.append(Wrong("blob", name, path, "its name is no digest"))
            return
        known = self._known
        users = {digest, *(diff_id for diff_id in known.layers if self._packs(digest, diff_id))}
        images = {image for user in users for image in known.holders(user)}
        images |= {
            known.names.get(image, (image.short,))[0]
            for image in (*known.images, *known.unreadable)
            if digest in manifests_of(self._store, image).values()
        }
        self.wrong.append(Wrong("blob", str(digest), path, why, digest=digest, images=sorted(images)))

    def _packs(self, digest: Digest, diff_id: Digest) -> bool:
        known = blob_of(self._store, diff_id)
        return known is not None and known.digest == digest


_UNREADABLE: Final = "not readable"
_Task = tuple[str, str, str, bool, str, str]


def examine(task: _Task) -> str | None:
    """Read one blob or layer; return what is wrong with it, None if nothing is."""
    root, form, layers, apart, kind, name = task
    if kind == "blob":
        try:
            found = Digest.of_file(os.path.join(root, "blobs", "sha256", name))
        except FileNotFoundError:  # replaced, or removed as damaged, by a pull
            return None
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return None if found.hex == name else f"its sha256 is {found.hex}"
    from pathlib import Path  # noqa: PLC0415 - plain text goes between processes

    store = Store(Path(root), form, Path(layers) if apart else None)
    try:
        if not store.unpacked(Digest(name)):
            return "its folder is missing"
        return None if store.verify_layer(Digest(name)) else "it is not what was put in"
    except PermissionError:
        return _UNREADABLE
    except ReproError as error:
        return error.why or error.message
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


@contextlib.contextmanager
def _many(jobs: int) -> Iterator[Callable[[Sequence[_Task]], Iterator[str | None]]]:
    """Give what runs `examine` on tasks, in their order; in other processes where there are jobs for them."""
    if jobs < 2:
        yield lambda tasks: map(examine, tasks)
        return
    import multiprocessing  # noqa: PLC0415 - only for much to read
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker)
    try:
        yield lambda tasks: pool.map(examine, tasks)
    except BrokenProcessPool as error:
        hint = "see whether there is memory for it, and try again"
        raise StoreError("a process that read the store was killed", hint=hint) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Let a worker leave Ctrl-C to its parent, and end with it however that ends."""
    import multiprocessing  # noqa: PLC0415
    import multiprocessing.connection  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import threading  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
