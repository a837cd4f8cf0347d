"""Images of the store named, and removed: by their names as far as they go, as Docker does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro.api.engine import opened
from repro.api.image_filters import NAMELESS, PRUNING, Candidate, Filters
from repro.api.image_lookup import resolve
from repro.dataclass import dataclass
from repro.errors import BusyError, CorruptError, DataError, ReproError, StoreError, UsageError
from repro.events import Notice, ignore
from repro.names import Reference
from repro.oci.refs import familiar_name, full_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.api.host import Host
    from repro.digest import Digest
    from repro.events import Sink
    from repro.oci.keeping import Freed
    from repro.oci.store import Store

_LOCK: Final = "workflow.lock"


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of images: names that were taken away, images that are gone, bytes that came free, what failed.

    ``freed`` is None where nothing was collected: no image went, or others work in the store.
    """

    untagged: tuple[str, ...]
    deleted: tuple[Digest, ...]
    freed: Freed | None = None
    failed: tuple[ReproError, ...] = ()


def tag_image(host: Host, source: str, target: str) -> str:
    """Give an image of the store a further name, which then stands for it alone; return that name.

    Raises:
        UsageError: the target is no name with a tag.
        StoreError: there is no such image.
    """
    name = Reference.parse(target)
    if name.digest is not None:
        raise UsageError(f"{target}: an image is named with a tag, not with a digest", hint="leave out what follows @")
    with opened(host, ignore) as engine:
        engine.store.tag(str(name), resolve(engine.store, source))
    return name.familiar


def remove_images(host: Host, names: Sequence[str], *, force: bool = False, sink: Sink) -> Removal:
    """Take names away, and images with their last one; then collect what nothing needs any more.

    A name is only untagged as long as its image has others. An ID removes the image with its name; with several only by
    ``force``. Each of ``names`` is tried; what cannot be removed is in ``failed`` of what is returned.
    """
    untagged: list[str] = []
    deleted: list[Digest] = []
    failed: list[ReproError] = []
    with opened(host, sink) as engine:
        engine.enter()
        store = engine.store
        for text in names:
            try:
                names_gone, image_gone = _remove(store, text, force=force)
            except (StoreError, DataError, UsageError) as error:
                failed.append(error)
                continue
            untagged += names_gone
            deleted += image_gone
        freed = _collect(store, sink) if deleted else None
    return Removal(tuple(untagged), tuple(deleted), freed, tuple(failed))


def _remove(store: Store, text: str, *, force: bool) -> tuple[list[str], list[Digest]]:
    """Remove what ``text`` names; return the names and the image that are gone."""
    from repro.oci.keeping import remove_image  # noqa: PLC0415 - only to remove

    refs = store.refs()
    try:
        name: str | None = full_name(text)
    except UsageError:
        name = None
    if name not in refs:
        name = None
    image_id = store.resolve(text) if name is None else refs[name]
    names = [one for one, known in refs.items() if known == image_id]
    if name is not None and len(names) > 1:
        store.untag(name)
        return [familiar_name(name)], []
    if name is None and len(names) > 1 and not force:
        raise StoreError(
            f"image {image_id.short} has {len(names)} names: {', '.join(map(familiar_name, names))}",
            hint="remove them one by one, or all at once with -f",
        )
    for one in names:
        store.untag(one)
    remove_image(store, image_id)
    return [familiar_name(one) for one in names], [image_id]


def _collect(store: Store, sink: Sink) -> Freed | None:
    """Free what only the removed images needed, unless others work in the store."""
    from repro.oci.keeping import collect  # noqa: PLC0415 - only to remove

    try:
        return collect(store)
    except (BusyError, CorruptError) as error:
        why = f" ({error.why})" if error.why else ""
        sink(
            Notice(
                "warning", f"the disk space stays taken for now, for {error.message}{why}; `repro store gc` frees it"
            )
        )
        return None


def prune_images(
    host: Host, *, every: bool = False, filters: Sequence[str] = (), dry_run: bool = False, sink: Sink
) -> Removal:
    """Remove the images that have no name, and collect what nothing needs any more; ``dry_run``: only say which.

    An image without a name stays where the lock of the project in the current folder counts on it. ``every``: all
    images go, named ones and those, too; what a workflow needs is built again.

    Raises:
        UsageError: a filter makes no sense.
        LockError: there is a lock that cannot be read, so it is not known what it needs.
        CorruptError: a name is damaged, so it is not known which image it keeps.
    """
    from repro.oci.keeping import remove_image  # noqa: PLC0415 - only to remove

    with opened(host, sink) as engine:
        engine.enter()
        store = engine.store
        wanted = Filters(filters, (), store, host.now(), PRUNING)
        refs = store.refs() if every else store.all_refs()
        named = set(refs.values())
        candidates = store.images() | named if every else store.images() - named - _locked(host)
        gone = [image_id for image_id in sorted(candidates) if _fits(store, image_id, wanted)]
        names = [name for name, image_id in refs.items() if image_id in set(gone)]
        if dry_run:
            return Removal(tuple(map(familiar_name, names)), tuple(gone))
        for name in names:
            store.untag(name)
        for image_id in gone:
            remove_image(store, image_id)
        return Removal(tuple(map(familiar_name, names)), tuple(gone), _collect(store, sink))


def _fits(store: Store, image_id: Digest, wanted: Filters) -> bool:
    """Whether the filters mean the image; a damaged one is meant where there are none."""
    if not wanted:
        return True
    try:
        return wanted.fit(Candidate(NAMELESS, store.config(image_id)))
    except (DataError, StoreError):
        return False


def _locked(host: Host) -> frozenset[Digest]:
    """Return the images that the lock in the current folder names, if there is one."""
    from repro.environment.lockread import parse_lock  # noqa: PLC0415 - only to prune

    try:
        text = (host.cwd / _LOCK).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return frozenset()
    environments = parse_lock(text, _LOCK).environments.values()
    return frozenset(image_id for one in environments for image_id in one.images.values())
