"""Build contexts: what `.dockerignore` leaves of a folder, and the digest of what a Dockerfile can read of it.

A project's own state (``.repro``, ``workflow.lock``) is never part of a context: an image that held it would differ
after each run that uses it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from repro.digest import Digest, Json, record_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from repro.build.context import FolderContext
    from repro.build.source import Node

# From the first of these signs on, a source is known only when the build expands it.
_OPEN = re.compile(r"[$*?\[\\`'\"]")


def folder_context(
    folder: Path,
    dockerfile: str,
    hidden: Sequence[Path] = (),
    *,
    hasher: Callable[[str], Digest] = Digest.of_file,
    beside: Path | None = None,
    also: Sequence[str] = (),
) -> FolderContext:
    """Return the context ``folder``, seen through ``<Dockerfile>.dockerignore``, else its ``.dockerignore``.

    ``hidden`` are files and folders of the host that are left out whatever those say; ``also`` are more patterns.
    ``beside`` is the folder where the Dockerfile lies, and its own ignore file; None: the context.
    """
    from repro.build.context import FolderContext  # noqa: PLC0415 - only for Dockerfiles of users' own
    from repro.dockerfile.ignore import IgnoreRules, parse_ignore  # noqa: PLC0415

    patterns = IgnoreRules().patterns
    own = (beside or folder) / f"{dockerfile.rpartition('/')[2]}.dockerignore"
    looked: list[str] = []
    for file in (own, folder / ".dockerignore"):
        looked.append(os.fspath(file))
        if file.is_file():
            patterns = parse_ignore(file.read_text(encoding="utf-8", errors="surrogateescape"), file.name).patterns
            break
    if also:
        patterns += parse_ignore("\n".join(also)).patterns
    for path in hidden:
        below = os.path.relpath(path, folder)
        if not below.startswith("../"):
            patterns += parse_ignore(re.sub(r"([*?\[\\])", r"\\\1", below)).patterns
    context = FolderContext(folder, IgnoreRules(patterns), hasher=hasher)
    context.looked.update(looked)
    return context


def context_digest(context: FolderContext, text: str, dockerfile: str) -> Digest:
    """Return the digest of all files of ``context`` that a build of the Dockerfile ``text`` can read.

    They are those below the sources of COPY, ADD and bind mounts, as far as these are known before the build.
    """
    found: dict[str, Json] = {}
    for path in _sources(text, dockerfile):
        note_tree(context, context.node(path), found)
        note_tree(context, context.node(context.resolve(path)), found)
    return record_digest("context/2", [found[path] for path in sorted(found)])


def note_tree(context: FolderContext, node: Node | None, found: dict[str, Json]) -> None:
    """Add ``node`` and what is below it to ``found``; of a link also the file that it leads to."""
    from repro.build.source import Kind  # noqa: PLC0415

    waiting = [] if node is None else [node]
    while waiting:
        node = waiting.pop()
        if node.path in found:
            continue
        content = str(context.digest(node)) if node.kind is Kind.FILE else node.target
        found[node.path] = [node.path, node.kind.value, node.mode, content]
        if node.kind is Kind.FOLDER:
            waiting.extend(context.children(node))
        elif node.kind is Kind.LINK:
            target = context.node(context.resolve(node.path))
            waiting.extend([target] if target is not None and target.kind is Kind.FILE else [])


def _sources(text: str, dockerfile: str) -> Iterator[str]:
    """Yield the context paths that the instructions name; of an open one the folder that is sure."""
    from repro.dockerfile.grammar import read  # noqa: PLC0415
    from repro.dockerfile.instructions import Copy, OnBuild, Run  # noqa: PLC0415

    for instruction in read(text, dockerfile).instructions:
        match instruction:
            case Copy(source_image=None):
                words = [word.text for word in instruction.sources if "://" not in word.text]
            case Run():
                binds = [mount for mount in instruction.mounts if mount.type == "bind" and not mount.get("from")]
                words = [mount.get("source", "/") for mount in binds]
            case OnBuild():
                words = ["/"]
            case _:
                words = []
        for word in words:
            sure = _OPEN.split(word, maxsplit=1)[0]
            yield sure if sure == word else sure.rpartition("/")[0]
