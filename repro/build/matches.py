"""Which nodes of a source the words of COPY and ADD mean: names, patterns, and paths that are kept by --parents."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from repro.build.selection import Selection
from repro.build.source import Kind, Node, Source, clean
from repro.dockerfile.globs import GlobError, name_regex
from repro.dockerfile.ignore import IgnoreRules, parse_ignore
from repro.errors import DataError, DockerfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.dockerfile.instructions import Word
    from repro.errors import Location

_PIVOT = "/./"
# `\*` is no wildcard; a path without one is taken as it is, backslashes and all, as BuildKit takes it.
_WILDCARD = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)


def select(source: Source, word: Word, text: str, less: IgnoreRules | None) -> tuple[Selection, ...]:
    """Return what a source word means, links followed; a pattern may match nothing, a name must exist.

    Args:
        source: where to look.
        word: for the place of errors.
        text: the word after expansion.
        less: what ``--exclude`` leaves out.

    Raises:
        DockerfileError: nothing has that name; the hint names what is like it.
    """
    return tuple(
        Selection(_followed(source, node, word.where), less=less) for node in _found(source, clean(text), word.where)
    )


def select_parents(source: Source, word: Word, text: str, less: IgnoreRules | None) -> tuple[Selection, ...]:
    """Return what a source word means with ``--parents``: each match below the pivot ``/./``, else below the root.

    Links on the way are not followed: what lies behind them has another path.
    """
    above, pivot, rest = text.partition(_PIVOT)
    if not pivot:
        above, rest = "", text
    pattern = clean(rest)
    only = _only(pattern, word.where) if pattern else None
    out: list[Selection] = []
    for node in _found(source, clean(above), word.where):
        folder = _followed(source, node, word.where)
        if folder.kind is not Kind.FOLDER:
            continue
        path = posixpath.join(folder.path, pattern)
        if not _has_wildcard(above) and not _has_wildcard(pattern) and source.node(path) is None:
            raise DockerfileError(f"{text!r} does not exist", where=word.where, hint=source.missing(path))
        out.append(Selection(folder, only, less))
    return tuple(out)


def exclusions(words: Sequence[Word]) -> IgnoreRules | None:
    """Return the patterns of ``--exclude`` as the rules that they are in `.dockerignore`; None without any."""
    patterns = [pattern for word in words for pattern in _rules(word.text, word.where).patterns]
    return IgnoreRules(tuple(patterns)) if patterns else None


def _only(pattern: str, where: Location) -> IgnoreRules:
    """Return rules that ignore everything but ``pattern`` and what is below it."""
    kept = _rules(f"!{pattern}", where).patterns
    return IgnoreRules((*_rules("**", where).patterns, *kept))


def _rules(pattern: str, where: Location) -> IgnoreRules:
    try:
        return parse_ignore(f"\\{pattern}" if pattern.startswith("#") else pattern)
    except DockerfileError as error:
        raise DockerfileError(f"not a pattern: {pattern!r}", where=where, why=error.why or error.message) from error


def _found(source: Source, path: str, where: Location) -> list[Node]:
    """Return the node of a name, or the nodes of a pattern, in order."""
    if _has_wildcard(path):
        return _glob(source, path, where)
    node = source.node(path)
    if node is None:
        raise DockerfileError(f"{path!r} does not exist", where=where, hint=source.missing(path))
    return [node]


def _has_wildcard(text: str) -> bool:
    return _WILDCARD.match(text) is not None


def _glob(source: Source, path: str, where: Location) -> list[Node]:
    """Return the nodes that a pattern matches (Go's filepath.Match: no ``*`` spans a slash).

    Links are followed before the first name with a wildcard, and not from there on, as BuildKit walks.
    """
    names = path.split("/")
    first = next(at for at, name in enumerate(names) if _has_wildcard(name))
    start = source.node(source.resolve("/".join(names[:first])))
    found = [start] if start is not None and start.kind is Kind.FOLDER else []
    for name in names[first:]:
        try:
            regex = re.compile(name_regex(name), re.DOTALL)
        except GlobError as error:
            raise DockerfileError(
                f"not a pattern: {path!r}", where=where, why=str(error), hint="write a [ itself as [[]"
            ) from error
        folders = [node for node in found if node.kind is Kind.FOLDER]
        found = [child for folder in folders for child in source.children(folder) if regex.fullmatch(child.name)]
    return found


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
