"""Images saved into archives and loaded from them: what `docker save` and `docker load` do."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, BinaryIO

from repro.api.engine import opened
from repro.api.exports import opened_output
from repro.api.image_lookup import resolve
from repro.build.stages import architecture
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import DataError, StoreError, UsageError
from repro.events import Notice, Progress, ignore
from repro.names import RECIPES, Reference
from repro.oci.refs import familiar_name, full_name
from repro.oci.room import NO_ROOM, free_room, output_full, store_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from repro.api.host import Host
    from repro.digest import Source
    from repro.events import Sink
    from repro.oci.incoming import Incoming
    from repro.oci.members import Members
    from repro.oci.store import Store


@dataclass(frozen=True, slots=True)
class Saved:
    """An image that is in an archive now, under these names."""

    image_id: Digest
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that came from an archive, and its names there; none where the archive gives it none."""

    image_id: Digest
    names: tuple[str, ...]


def save_images(
    host: Host, images: Sequence[str], *, dest: str | None, form: str = "docker-archive", stdout: BinaryIO | None = None
) -> list[Saved]:
    """Write images into one archive: a file, or with ``oci-dir`` a folder, at ``dest``, else ``stdout``.

    ``form`` is ``docker-archive``, ``oci-archive`` or ``oci-dir``.
    An image that is meant by a name has that name there; one that is meant by its ID has none. A file is whole or as it
    was before; images that a folder has already stay.

    Raises:
        UsageError: a folder needs a ``dest``, or there is nowhere to write to.
        StoreError: there is no such image.
        CorruptError: something in the store is damaged.
        OSError: it cannot be written; of a full disk it names ``dest``.
    """
    if dest is None and form == "oci-dir":
        raise UsageError("a folder cannot be written to standard output", hint="name it with -o")
    if dest is None and stdout is None:
        raise UsageError("an archive is not written to a terminal", hint="name a file with -o, or redirect the output")
    with opened(host, ignore) as engine:
        engine.enter()
        wanted = _wanted(engine.store, images)
        if form == "oci-dir" and dest is not None:
            from repro.oci.archive import write_layout  # noqa: PLC0415 - one of the formats

            with output_full(host.cwd / dest):
                for image_id, names in wanted.items():
                    write_layout(engine.store, image_id, host.cwd / dest, names=names)
        else:
            with opened_output(None if dest is None else host.cwd / dest, stdout) as out:
                _write(engine.store, wanted, form, out)
    return [Saved(image_id, tuple(name.familiar for name in names)) for image_id, names in wanted.items()]


def _wanted(store: Store, images: Sequence[str]) -> dict[Digest, list[Reference]]:
    """Return the images that are meant, each with the names by which it is."""
    refs = store.refs()
    found: dict[Digest, list[Reference]] = {}
    for text in images:
        names = found.setdefault(resolve(store, text), [])
        with contextlib.suppress(UsageError):
            name = full_name(text)
            if name in refs:  # a name of another kind, such as archive:debian/bookworm, means nothing elsewhere
                parsed = Reference.parse(name)
                names += [Reference(parsed.domain, parsed.path, parsed.tag)] if parsed.tag else []
    return {image_id: list(dict.fromkeys(names)) for image_id, names in found.items()}


def _write(store: Store, images: Mapping[Digest, Sequence[Reference]], form: str, out: BinaryIO) -> None:
    from repro.oci.image_tar import write_docker_archive, write_oci_archive  # noqa: PLC0415 - only to save

    write = write_docker_archive if form == "docker-archive" else write_oci_archive
    write(store, images, out)


def load_images(host: Host, source: str | None, *, stdin: BinaryIO | None = None, sink: Sink) -> list[Loaded]:
    """Take all images of an archive into the store, and give them the names that they have there.

    ``source`` is a file, a folder (an OCI image layout), or None for ``stdin``. A tar may be compressed. What it is, is
    told by what is in it. When this fails, images before the one that is at fault may be there; that one is not.

    Raises:
        UsageError: ``source`` is not there, or there is nothing to read from.
        DataError: the archive is damaged, hostile, or has no image for this machine.
        StoreError: the store's disk has no room for it.
    """
    from repro.oci.finding import find_images  # noqa: PLC0415 - only to load
    from repro.oci.incoming import take_image  # noqa: PLC0415

    with opened(host, sink) as engine, _located("standard input" if source is None else source):
        engine.enter()
        store = engine.store
        loaded = []
        with store_full(store.root), _members(host, store, source, stdin) as members:
            for image in find_images(members, architecture()):
                image_id = take_image(image, members, store, _teller(image, sink))
                names = [_name(store, name, image_id, sink) for name in image.names if not _reserved(name, sink)]
                loaded.append(Loaded(image_id, tuple(names)))
    return loaded


def _teller(image: Incoming, sink: Sink) -> Callable[[int, int], None]:
    shown = image.names[0].familiar if image.names else Digest.of(image.config).short
    return lambda done, total: sink(Progress(f"loading {shown}", done, total, "layers"))


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Name the archive in errors that do not name a place themselves."""
    try:
        yield
    except DataError as error:
        if error.where is None:
            error.where = where
        raise


def _reserved(name: Reference, sink: Sink) -> bool:
    """Whether the name is one that environments' images have: what is found under it is not built."""
    reserved = name.repository.startswith(RECIPES) and re.fullmatch(r"[0-9a-f]{64}", name.tag or "") is not None
    if reserved:
        text = f"{name.familiar} is not taken over: environments' images that are made here have such names"
        sink(Notice("warning", text))
    return reserved


def _name(store: Store, name: Reference, image_id: Digest, sink: Sink) -> str:
    before = store.refs().get(str(name))
    store.tag(str(name), image_id)
    if before is not None and before != image_id:
        sink(Notice("info", f"{name.familiar} was image {before.short} before"))
    return familiar_name(str(name))


@contextlib.contextmanager
def _members(host: Host, store: Store, source: str | None, stdin: BinaryIO | None) -> Iterator[Members]:
    """Give the files of the archive."""
    from repro.oci.members import FolderMembers, TarMembers  # noqa: PLC0415 - only to load

    if source is None and stdin is None:
        raise UsageError("there is no archive on standard input", hint="name a file with -i")
    path = None if source is None else host.cwd / source
    if path is not None and path.is_dir():
        yield FolderMembers(path)
        return
    with contextlib.ExitStack() as stack:
        if path is None:
            assert stdin is not None
            file, where = stdin, "standard input"
        else:
            try:
                file, where = stack.enter_context(open(path, "rb", buffering=0)), str(source)
            except FileNotFoundError as error:
                raise UsageError(f"there is no file {source}") from error
        room = stack.enter_context(store.workspace())
        yield TarMembers(_plain(file, room, stack), where)


def _plain(file: BinaryIO, room: Path, stack: contextlib.ExitStack) -> BinaryIO:
    """Return the archive as a file in which one can seek, uncompressed: itself, or a copy of it in ``room``."""
    from repro.build.unzip import decompressed  # noqa: PLC0415 - only to load

    if not file.seekable():
        file = _copied(file, room / "read.tar", stack)
    plain = decompressed(file)
    return file if plain is file else _copied(plain, room / "plain.tar", stack)


def _copied(source: Source, path: Path, stack: contextlib.ExitStack) -> BinaryIO:
    """Return a copy at ``path``; StoreError where it would be larger than what is free: the disk is not filled."""
    room, _ = free_room(path.parent)
    copy = stack.enter_context(open(path, "w+b", buffering=0))  # noqa: SIM115 - the stack closes it
    size = 0
    while data := source.read(CHUNK):
        size += len(data)
        if size > room:
            raise StoreError(
                "the store's disk has no room for a copy of the archive",
                where=str(path.parent.parent),  # of the copy itself nothing will be left
                why=f"uncompressed it has more than {room} bytes, which were free",
                hint=f"{NO_ROOM}; a file (-i) that is not compressed is not copied",
            )
        copy.write(data)
    copy.seek(0)
    return copy
