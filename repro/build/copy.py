"""COPY: which nodes a source word means, where they go, and the layer that comes of it.

The rules are BuildKit's (Dockerfile reference, "COPY"): a folder's contents are copied, not the folder; one file
goes to the destination's name unless that ends with a slash or is a folder; links named as a source are followed,
links inside a folder stay links; a folder that exists keeps its own mode and owner at the top, folders below take
the source's.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.build.source import Kind, Node, Source, clean
from repro.build.tree import Attributes, LayerFolder
from repro.dockerfile.ignore import name_regex
from repro.errors import BuildError, DataError, DockerfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.dockerfile.instructions import Word
    from repro.errors import Location

_SECOND = 1_000_000_000
_MODE = re.compile(r"0?[0-7]{3,4}")


@dataclass(frozen=True, slots=True)
class Written:
    """A here-document as a source: its name and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a COPY does: ``nodes`` of ``source`` and ``written`` go to ``destination``.

    ``destination`` is absolute; ``into`` is true where it is a folder by its spelling. ``owner`` and ``mode``
    replace those of the source where they are not None.
    """

    source: Source
    nodes: tuple[Node, ...]
    written: tuple[Written, ...]
    destination: str
    into: bool
    owner: tuple[int, int] | None
    mode: int | None
    where: Location


def destination_of(text: str, workdir: str) -> tuple[str, bool]:
    """Return the absolute destination, and whether its spelling says that it is a folder."""
    into = text in ("", ".") or text.endswith(("/", "/."))
    return posixpath.normpath("/" + posixpath.join(workdir, text)).replace("//", "/"), into


def select(source: Source, words: Sequence[Word], texts: Sequence[str]) -> tuple[Node, ...]:
    """Return the nodes that the source words mean, links followed; patterns may match none, names must exist.

    ``texts`` are the words after expansion. DockerfileError names the word, and like names that there are.
    """
    out: list[Node] = []
    for word, text in zip(words, texts, strict=True):
        path = clean(text)
        if re.search(r"[*?\[\\]", path):
            out.extend(_followed(source, node, word.where) for node in _glob(source, path.split("/")))
            continue
        node = source.node(path)
        if node is None:
            raise DockerfileError(f"{text!r} does not exist", where=word.where, hint=source.missing(path))
        out.append(_followed(source, node, word.where))
    return tuple(out)


def octal(text: str, where: Location) -> int:
    """Return the mode that ``--chmod=text`` means; only octal for now."""
    if _MODE.fullmatch(text) is None:
        raise DockerfileError(
            f"--chmod={text} is not supported by this version", where=where, hint="write the mode in octal, as in 0755"
        )
    return int(text, 8)


def perform(plan: CopyPlan, layer: LayerFolder, epoch: int) -> None:
    """Put what ``plan`` says into ``layer``; BuildError, located, where something stands in the way."""
    try:
        _perform(plan, layer, epoch)
    except BuildError as error:
        if error.where is not None:
            raise
        raise BuildError(error.message, where=plan.where, why=error.why, hint=error.hint) from error


def copy_folder(source: Source, folder: Node, layer: LayerFolder, path: str, plan: CopyPlan) -> None:
    """Copy what is in ``folder`` to ``path``, a folder of ``layer``."""
    for child in source.children(folder):
        place = f"{path}/{child.name}" if path else child.name
        attributes = _attributes(child, plan)
        if child.kind is Kind.FOLDER:
            layer.dress_folder(place, attributes)
            copy_folder(source, child, layer, place, plan)
        else:
            layer.file(place, child, attributes, exact=source.exact)


def _perform(plan: CopyPlan, layer: LayerFolder, epoch: int) -> None:
    uid, gid = plan.owner or (0, 0)
    new = Attributes(uid, gid, 0o755, epoch * _SECOND)
    for node in plan.nodes:
        if node.kind is Kind.FOLDER:
            place = layer.resolve(plan.destination)
            layer.folder(place, new)
            copy_folder(plan.source, node, layer, place, plan)
        else:
            place = _file_place(layer, plan, node.name, new)
            layer.file(place, node, _attributes(node, plan), exact=plan.source.exact)
    for item in plan.written:
        place = _file_place(layer, plan, item.name, new)
        mode = 0o644 if plan.mode is None else plan.mode
        layer.write(place, item.data, Attributes(uid, gid, mode, epoch * _SECOND))


def _file_place(layer: LayerFolder, plan: CopyPlan, name: str, new: Attributes) -> str:
    """Return where a single file goes, its folder made."""
    place = layer.resolve(plan.destination)
    existing = layer.merged().node(place)
    if plan.into or (existing is not None and existing.kind is Kind.FOLDER):
        layer.folder(place, new)
        return layer.resolve(f"{place}/{name}" if place else name)
    layer.folder(posixpath.dirname(place), new)
    return place


def _attributes(node: Node, plan: CopyPlan) -> Attributes:
    uid, gid = plan.owner or ((node.uid, node.gid) if plan.source.exact else (0, 0))
    return Attributes(uid, gid, node.mode if plan.mode is None else plan.mode, node.status.st_mtime_ns)


def _followed(source: Source, node: Node, where: Location) -> Node:
    """Return the node that a link named as a source stands for, under the link's own name."""
    if node.kind is not Kind.LINK:
        return node
    try:
        target = source.node(source.resolve(node.path))
    except DataError as error:
        raise DockerfileError(error.message, where=where, why=error.why, hint=error.hint) from error
    if target is None:
        raise DockerfileError(f"{node.path!r} is a link to {node.target!r}, which does not exist", where=where)
    if target.kind is Kind.FOLDER:
        return target
    return Node(node.path, target.host, target.kind, target.mode, target.uid, target.gid, target.status, target.target)


def _glob(source: Source, names: Sequence[str]) -> list[Node]:
    """Return the nodes that a pattern matches, name by name (Go's filepath.Match: no ``*`` spans a slash)."""
    found = [node for node in [source.node("")] if node is not None]
    for name in names:
        regex = re.compile(name_regex(name), re.DOTALL)
        folders = [entered for node in found if (entered := _entered(source, node)) is not None]
        found = [child for folder in folders for child in source.children(folder) if regex.fullmatch(child.name)]
    return sorted(found, key=lambda node: node.path)


def _entered(source: Source, node: Node) -> Node | None:
    target = source.node(source.resolve(node.path)) if node.kind is Kind.LINK else node
    return target if target is not None and target.kind is Kind.FOLDER else None
