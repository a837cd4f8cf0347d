"""COPY and ADD made ready: their sources found, their key, and how their layer folder is filled."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from repro.build.bench import Step, Workbench
from repro.build.cache import plain
from repro.build.copy import CopyPlan, Download, Item, Written, destination_of, perform
from repro.build.matches import exclusions, select, select_parents
from repro.build.mode import parse_mode
from repro.build.mounts import Origin
from repro.build.remote import file_name, is_address, is_git, parse_checksum
from repro.build.selection import Selection
from repro.build.source import Kind, Snapshot
from repro.build.users import owner
from repro.dockerfile import instructions as model
from repro.dockerfile.words import expand
from repro.errors import DockerfileError
from repro.events import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repro.build.config import State
    from repro.build.mode import ModeChange
    from repro.build.stages import Stage
    from repro.digest import Json
    from repro.dockerfile.parser import Heredoc


def prepare_copy(bench: Workbench, stage: Stage, state: State, one: model.Copy) -> Step:
    """Return a COPY or ADD made ready; DockerfileError or BuildError, located, where that cannot be.

    ``--link`` makes the layer as if nothing were below: its folders are new ones (0755, of --chown), no link of the
    image is followed, and the same layer serves over any base. With --chmod it is a plain copy, as in BuildKit.
    """
    found = bench.origin(stage, one.source_image.text if one.source_image else "", one.where)
    origin = Origin(Snapshot(found.source), found.stack)
    texts = tuple(state.word(word, bench.settings) for word in one.sources)
    mode = _mode(bench, state, one)
    plan = CopyPlan(
        origin.source,
        (*_sources(bench, state, one, origin, texts), *_written(state, one)),
        *destination_of(state.word(one.destination, bench.settings), state.workdir),
        where=one.where,
        owner=_owner(bench, state, one),
        mode=mode,
        archives=isinstance(one, model.Add) and one.unpack is not False,
        downloads=isinstance(one, model.Add) and one.unpack is True,
    )
    _warn(bench, state, one, plan)
    linked = one.link and mode is None
    parts = _key_parts(bench, one, origin, texts, plan)

    def fill(space: Path) -> Path:
        layer = bench.new_layer(space, None if linked else state)
        perform(plan, layer, bench.settings.epoch, reverse=bench.reverse)
        layer.finish()
        return space / "upper"

    return Step(state, one.text, bench.key("copy", None if linked else state, parts), fill, clean=True)


def _key_parts(
    bench: Workbench, one: model.Copy, origin: Origin, texts: tuple[str, ...], plan: CopyPlan
) -> dict[str, Json]:
    selections = [item for item in plan.items if isinstance(item, Selection)]
    what: list[Json] = [[plain(text) for text in texts], [plain(word.text) for word in one.exclude], one.parents]
    parts: dict[str, Json] = {
        "sources": str(origin.digest(bench.memory, what, selections, bench.settings.epoch)),
        "exact": origin.source.exact,
        "written": [
            [plain(item.name), item.data.decode("latin-1")] for item in plan.items if isinstance(item, Written)
        ],
        "destination": [plain(plan.destination), plan.into],
        "owner": None if plan.owner is None else list(plan.owner),
        "mode": None if plan.mode is None else plan.mode.text,
    }
    downloads = [item for item in plan.items if isinstance(item, Download)]
    if downloads:
        # Where each came among the selections counts too: the last one wins.
        order: list[Json] = [isinstance(item, Download) for item in plan.items]
        digests: list[Json] = [[plain(item.name), str(item.digest), item.mtime] for item in downloads]
        parts["downloads"] = [order, digests]
    if plan.archives or plan.downloads:
        parts["unpack"] = [plan.archives, plan.downloads]
    return parts


def _sources(bench: Workbench, state: State, one: model.Copy, origin: Origin, texts: Sequence[str]) -> tuple[Item, ...]:
    """Return what the source words mean, in their order."""
    less = exclusions(one.exclude)
    items: list[Item] = []
    checksum = one.checksum if isinstance(one, model.Add) else None
    if checksum is not None and (len(texts) != 1 or not is_address(texts[0])):
        raise DockerfileError("--checksum is for one source that is an http or https address", where=checksum.where)
    for word, text in zip(one.sources, texts, strict=True):
        if is_git(text) and one.source_image is None:
            raise DockerfileError(
                f"a git repository cannot be a source: {text}",
                where=word.where,
                why="this version has no git",
                hint="clone it in a RUN at a fixed commit, or beside the Dockerfile",
            )
        if is_address(text) and one.source_image is None:
            if not isinstance(one, model.Add):
                raise DockerfileError(f"COPY cannot read an address: {text}", where=word.where, hint="use ADD")
            items.append(_download(bench, state, word, text, checksum))
        elif one.parents:
            items.extend(select_parents(origin.source, word, text, less))
        else:
            items.extend(select(origin.source, word, text, less))
    return tuple(items)


def _download(bench: Workbench, state: State, word: model.Word, url: str, checksum: model.Word | None) -> Download:
    """Return the file at an address, fetched: its bytes are what the key is made of."""
    if bench.fetch is None:
        raise DockerfileError(
            f"nothing can be downloaded in this build: {url}", where=word.where, hint="bring the file in the context"
        )
    wanted = None
    if checksum is not None:
        wanted = parse_checksum(state.word(checksum, bench.settings), checksum.where)
    fetched = bench.fetch(url, word.where, checksum=wanted)
    epoch = bench.settings.epoch
    # What a checksum pins is the same file whoever serves it, and whenever: its server's date is no part of it.
    mtime = epoch if wanted is not None else min(fetched.mtime or 0, epoch)
    return Download(file_name(url), os.fspath(fetched.path), fetched.digest, mtime)


def _written(state: State, one: model.Copy) -> tuple[Written, ...]:
    def data(doc: Heredoc) -> bytes:
        text = doc.text
        if doc.expand:
            text = expand(text, state.variables, where=one.where, quotes=False)
        return text.encode("utf-8", "surrogateescape")

    return tuple(Written(doc.name, data(doc)) for doc in one.heredocs)


def _owner(bench: Workbench, state: State, one: model.Copy) -> tuple[int, int] | None:
    text = "" if one.chown is None else state.word(one.chown, bench.settings)
    return owner(text, bench.view(state), one.chown.where) if one.chown is not None and text else None


def _mode(bench: Workbench, state: State, one: model.Copy) -> ModeChange | None:
    text = "" if one.chmod is None else state.word(one.chmod, bench.settings)
    return parse_mode(text, one.chmod.where) if one.chmod is not None and text else None


def _warn(bench: Workbench, state: State, one: model.Copy, plan: CopyPlan) -> None:
    """Tell of what Docker does without a word and nobody means."""
    if not plan.items:
        words = " ".join(word.text for word in one.sources)
        bench.sink(Notice("warning", f"{one.where}: no file matches {words}: nothing is copied"))
    if plan.alone > 1 and not plan.into and not one.parents:
        node = bench.view(state).entry(bench.view(state).resolve(plan.destination))
        if node is None or node.kind != Kind.FOLDER.value:
            text = (
                f"{one.destination.where}: each file replaces the one before: end {one.destination.text} with a slash"
            )
            bench.sink(Notice("warning", text))
