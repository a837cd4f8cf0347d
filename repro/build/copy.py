"""COPY and ADD: where what was selected goes, and the layer that comes of it.

The rules are BuildKit's (Dockerfile reference, "COPY"): a folder's contents are copied, not the folder; one file
goes to the destination's name unless that ends with a slash or is a folder; links inside a folder stay links; a
folder that exists keeps its own mode and owner at the top, folders below take the source's.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, TypeAlias

from repro.build.archive import opened_archive, unpack
from repro.build.context import look
from repro.build.selection import Selection, Visit, visits
from repro.build.source import Kind, Node, Source
from repro.build.tree import Attributes, LayerFolder, Links
from repro.dataclass import dataclass
from repro.errors import BuildError, DataError, HostError

if TYPE_CHECKING:
    from repro.build.mode import ModeChange
    from repro.digest import Digest
    from repro.errors import Location

_SECOND = 1_000_000_000
_DOWNLOADED = 0o600  # what ADD gives to a file from an address


@dataclass(frozen=True, slots=True)
class Written:
    """A here-document as a source: its name and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Download:
    """A file from an address: the name that the address gives it ("" for none), where it lies, its time in seconds."""

    name: str
    host: str
    digest: Digest
    mtime: int


Item: TypeAlias = Selection | Download | Written


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a COPY or ADD does: ``items``, the selections of ``source``, go to ``destination`` one after another.

    Attributes:
        source: see above.
        items: see above.
        destination: absolute.
        into: whether it is a folder by its spelling.
        where: of the instruction.
        owner, mode: replace those of the source; None keeps them.
        archives, downloads: whether archives among the selections and the downloads are unpacked.
    """

    source: Source
    items: tuple[Item, ...]
    destination: str
    into: bool
    where: Location
    owner: tuple[int, int] | None = None
    mode: ModeChange | None = None
    archives: bool = False
    downloads: bool = False

    @property
    def alone(self) -> int:
        """How many items are single files, which take the destination's own name."""
        folders = [item for item in self.items if isinstance(item, Selection) and item.node.kind is Kind.FOLDER]
        return len(self.items) - len(folders)


def destination_of(text: str, workdir: str) -> tuple[str, bool]:
    """Return the absolute destination, and whether its spelling says that it is a folder."""
    into = text in ("", ".") or text.endswith(("/", "/."))
    return posixpath.normpath("/" + posixpath.join(workdir, text)).replace("//", "/"), into


def perform(plan: CopyPlan, layer: LayerFolder, epoch: int, *, reverse: bool = False) -> None:
    """Put what ``plan`` says into ``layer``; BuildError, located, where something stands in the way.

    ``reverse`` goes through folders backwards, which must not show in the layer.
    """
    try:
        _Copying(plan, layer, epoch, reverse=reverse).perform()
    except (BuildError, DataError, HostError) as error:
        if error.where is not None:
            raise
        raise BuildError(error.message, where=plan.where, why=error.why, hint=error.hint) from error


class _Copying:
    """One COPY or ADD under way; ``new`` is what made folders get."""

    def __init__(self, plan: CopyPlan, layer: LayerFolder, epoch: int, *, reverse: bool) -> None:
        self._plan = plan
        self._layer = layer
        self._mtime = epoch * _SECOND
        self._reverse = reverse
        uid, gid = plan.owner or (0, 0)
        self._new = Attributes(uid, gid, 0o755, self._mtime)

    def perform(self) -> None:
        """Copy every item."""
        for item in self._plan.items:
            match item:
                case Selection() if item.node.kind is Kind.FOLDER:
                    self._folder(item)
                case Selection():
                    self._single(item)
                case Download():
                    self._download(item)
                case Written():
                    self._written(item)

    def _folder(self, selection: Selection) -> None:
        top = self._layer.resolve(self._plan.destination)
        self._layer.folder(top, self._new)
        links: Links = {}
        with self._layer.gathering():
            for visit in visits(self._plan.source, selection, reverse=self._reverse):
                place = f"{top}/{visit.path}" if top else visit.path
                attributes = self._attributes(visit)
                if visit.node.kind is not Kind.FOLDER:
                    self._layer.file(place, visit.node, attributes, ours=self._plan.source.exact, links=links)
                elif visit.meant:
                    self._layer.dress_folder(place, attributes)
                else:
                    self._layer.pass_folder(place, attributes)

    def _single(self, selection: Selection) -> None:
        for visit in visits(self._plan.source, selection):
            if self._plan.archives and self._unpacked(visit.node, ours=self._plan.source.exact):
                continue
            place = self._file_place(visit.node.name)
            attributes = self._attributes(visit)
            self._layer.file(place, visit.node, attributes, ours=self._plan.source.exact, links={})

    def _download(self, item: Download) -> None:
        node = look(item.name, item.host)
        assert node is not None  # it was fetched for this build
        if self._plan.downloads and self._unpacked(node, ours=False):
            return
        uid, gid = self._plan.owner or (0, 0)
        mode = _DOWNLOADED if self._plan.mode is None else self._plan.mode.apply(_DOWNLOADED, folder=False)
        place = self._file_place(item.name)
        self._layer.file(place, node, Attributes(uid, gid, mode, item.mtime * _SECOND), ours=False, links={})

    def _written(self, item: Written) -> None:
        mode = 0o644 if self._plan.mode is None else self._plan.mode.apply(0o644, folder=False)
        uid, gid = self._plan.owner or (0, 0)

        def write(descriptor: int) -> None:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(item.data)

        self._layer.write(self._file_place(item.name), Attributes(uid, gid, mode, self._mtime), write)

    def _unpacked(self, node: Node, *, ours: bool) -> bool:
        """Unpack ``node`` into the destination, which is then a folder; False where it is no archive."""
        with opened_archive(node, ours=ours) as reader:
            if reader is None:
                return False
            place = self._layer.resolve(self._plan.destination)
            self._layer.folder(place, self._new)
            unpack(reader, self._layer, place, node.name, owner=None, mtime=self._mtime)
            return True

    def _file_place(self, name: str) -> str:
        """Return where a single file goes, its folder made.

        A link at the destination itself is followed; one of the file's name in a destination folder is replaced.
        """
        place = self._layer.resolve(self._plan.destination)
        existing = self._layer.node(place) if place else None
        if self._plan.into or not place or (existing is not None and existing.kind is Kind.FOLDER):
            if not name:
                raise BuildError("the address names no file", hint="end the destination with a file name")
            self._layer.folder(place, self._new)
            return posixpath.join(place, name)
        self._layer.folder(posixpath.dirname(place), self._new)
        return place

    def _attributes(self, visit: Visit) -> Attributes:
        node, source = visit.node, self._plan.source
        uid, gid = self._plan.owner or ((node.uid, node.gid) if source.exact else (0, 0))
        kept = source.attributes(node) if source.exact and node.kind in (Kind.FILE, Kind.FOLDER) else ()
        mode = node.mode
        if self._plan.mode is not None:
            mode = self._plan.mode.apply(mode, folder=node.kind is Kind.FOLDER)
        return Attributes(uid, gid, mode, node.status.st_mtime_ns, kept)
