"""What a COPY takes: a file, or what a folder holds, less what patterns leave out; and what of it decides a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.build.cache import plain
from repro.build.source import Kind, Node, Source
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.digest import Json
    from repro.dockerfile.ignore import IgnoreRules

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Selection:
    """A node of a source, and which paths below it are meant.

    Paths are relative to ``node`` where that is a folder, else its name is the path. What ``only`` keeps and
    ``less`` does not ignore is meant; None is no rule.
    """

    node: Node
    only: IgnoreRules | None = None
    less: IgnoreRules | None = None

    def means(self, path: str) -> bool:
        """Say whether ``path`` is to be copied."""
        if self.only is not None and self.only.ignores(path):
            return False
        return self.less is None or not self.less.ignores(path)

    def may_mean_below(self, folder: str) -> bool:
        """Say whether something below a folder that is itself not meant may be."""
        if self.only is not None and self.only.ignores(folder) and not self.only.may_keep_below(folder):
            return False
        return self.less is None or not self.less.ignores(folder) or self.less.may_keep_below(folder)


@dataclass(frozen=True, slots=True)
class Visit:
    """A node that is copied to ``path`` below the destination; a folder that is only on the way is not ``meant``."""

    node: Node
    path: str
    meant: bool


@dataclass(slots=True)
class _Open:
    """A folder whose children are being visited, and whether it was told itself."""

    node: Node
    path: str
    told: bool
    rest: Iterator[Node]


def visits(source: Source, selection: Selection, *, reverse: bool = False) -> Iterator[Visit]:
    """Yield what a selection means, every folder before what is in it; the selected folder itself is not yielded.

    A folder that is not meant comes only where something in it is. ``reverse`` goes through children backwards.
    """
    top = selection.node
    if top.kind is not Kind.FOLDER:
        if selection.means(top.name):
            yield Visit(top, top.name, meant=True)
        return
    filtered = selection.only is not None or selection.less is not None
    way = [_Open(top, "", told=True, rest=_children(source, top, reverse=reverse))]
    while way:
        here = way[-1]
        child = next(here.rest, None)
        if child is None:
            way.pop()
            continue
        path = f"{here.path}/{child.name}" if here.path else child.name
        meant = not filtered or selection.means(path)
        if meant:
            for folder in way:
                if not folder.told:
                    folder.told = True
                    yield Visit(folder.node, folder.path, meant=False)
            yield Visit(child, path, meant=True)
        if child.kind is Kind.FOLDER and (meant or selection.may_mean_below(path)):
            way.append(_Open(child, path, told=meant, rest=_children(source, child, reverse=reverse)))


def _children(source: Source, folder: Node, *, reverse: bool) -> Iterator[Node]:
    children = source.children(folder)
    return iter(reversed(children) if reverse else children)


def tree_entries(selections: Sequence[Selection], source: Source, epoch: int) -> list[Json]:
    """Return, for each file that copying ``selections`` would read, what of it decides.

    That is: path, kind, mode, owners, time as clamped to ``epoch`` (whole seconds), what else it has (``_more``), and
    a file's digest, a link's target or a device's number. Every selection begins with an entry of its own: below
    which path names are kept.
    """
    out: list[Json] = []
    for selection in selections:
        out.append([plain(selection.node.path), "selected"])
        links: dict[tuple[int, int], str] = {}
        for visit in visits(source, selection):
            node = visit.node
            entry: list[Json] = [plain(node.path), node.kind.value, node.mode, node.uid, node.gid]
            entry.append(min(node.status.st_mtime_ns // _SECOND, epoch))
            more = _more(visit, source, links)
            if more:
                entry.append(more)
            if node.kind is Kind.FILE:
                entry.append(str(source.digest(node)))
            elif node.kind is Kind.LINK:
                entry.append(plain(node.target))
            elif node.kind is Kind.DEVICE:
                entry.append(node.status.st_rdev)
            out.append(entry)
    return out


def _more(visit: Visit, source: Source, links: dict[tuple[int, int], str]) -> dict[str, Json]:
    """Return what few nodes have: extended attributes, another name among ``links``; and if one is not meant."""
    node = visit.node
    more: dict[str, Json] = {}
    if not visit.meant:
        more["meant"] = False
    if node.kind is Kind.FILE and node.status.st_nlink > 1:
        first = links.setdefault((node.status.st_dev, node.status.st_ino), visit.path)
        if first != visit.path:
            more["link"] = plain(first)
    if source.exact and node.kind in (Kind.FILE, Kind.FOLDER):
        attributes = source.attributes(node)
        if attributes:
            more["attributes"] = [[plain(name), value.decode("latin-1")] for name, value in attributes]
    return more
