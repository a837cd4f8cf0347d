"""Why an instruction was not in the cache: its key next to the one that it had when it was last built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repro.digest import Digest
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.build.cache import LayerKey, LayerMemory
    from repro.digest import Json

_MOST_NAMED = 3  # of files or variables; more are counted
_LONGEST = 60  # characters of a value that a reason repeats

# The parts that have no sentence of their own below. A part that is not here is called by its own name.
_NAMES = {
    "argv": "the command",
    "script": "the script",
    "workdir": "the working folder",
    "path": "the working folder",
    "user": "the user",
    "network": "the network",
    "rules": "the list of what is dropped from layers",
    "platform": "the platform",
    "written": "the here-document",
    "destination": "the destination",
    "owner": "the owner",
    "mode": "the mode",
    "downloads": "what was downloaded",
    "unpack": "--unpack",
    "link": "--link",
}
_SHOWN = frozenset({"workdir", "path", "network", "platform"})  # short enough to say from what to what


def changes(old: LayerKey, new: LayerKey, memory: LayerMemory) -> str:
    """Return what makes ``new`` another key than ``old``, for people: ``a.txt changed; environment B is new``."""
    found = [*_parts(old, new, memory)]
    if old.epoch != new.epoch:
        found.append(f"the source epoch changed from {old.epoch} to {new.epoch}")
    if old.form != new.form:
        found.append(f"it was built in mode {old.form}")
    if not found:
        found.append("the layer below changed" if old.below != new.below else "the engine's format changed")
    return "; ".join(_few(found))


def _parts(old: LayerKey, new: LayerKey, memory: LayerMemory) -> Iterator[str]:
    for name in dict.fromkeys([*new.parts, *old.parts]):
        before, after = old.parts.get(name), new.parts.get(name)
        if before == after:
            continue
        if name == "env" and isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _environment(before, after)
        elif name == "sources":
            yield from _files(before, after, memory)
        elif name == "mounts" and isinstance(before, Sequence) and isinstance(after, Sequence):
            yield from _mounts(before, after, memory)
        elif name in _SHOWN:
            yield f"{_NAMES[name]} changed from {_short(before)} to {_short(after)}"
        else:
            yield f"{_NAMES.get(name, name)} changed"


def _environment(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[str]:
    for name in dict.fromkeys([*after, *before]):
        if name == "SOURCE_DATE_EPOCH":
            continue  # said as the epoch
        if name not in before:
            yield f"environment {name} is new"
        elif name not in after:
            yield f"environment {name} is gone"
        elif before[name] != after[name]:
            yield f"environment {name} changed from {_short(before[name])} to {_short(after[name])}"


def _mounts(before: Sequence[Json], after: Sequence[Json], memory: LayerMemory) -> Iterator[str]:
    """Name the files of bind mounts whose bytes alone changed; any other difference is one of the options."""
    named: list[str] = []
    for one, other in zip(before, after, strict=False):
        if one == other:
            continue
        match one, other:
            case ["bind", str(target), str(first), *rest], ["bind", str(again), str(second), *still] if (
                target == again and rest == still
            ):
                named.extend(f"in the mount {target}: {text}" for text in _files(first, second, memory))
            case _:
                named.append("the mounts changed")
    if len(before) != len(after):
        named.append("the mounts changed")
    yield from dict.fromkeys(named)


def _files(before: Json, after: Json, memory: LayerMemory) -> Iterator[str]:
    """Name the files that changed, as far as both listings were kept."""
    first, second = _listing(before, memory), _listing(after, memory)
    if first is None or second is None:
        yield "the copied files changed"
        return
    found = []
    for path in sorted({*first, *second}):
        shown = path.encode("latin-1").decode(errors="replace") or "."
        if path not in first:
            found.append(f"{shown} is new")
        elif path not in second:
            found.append(f"{shown} is gone")
        elif first[path] != second[path]:
            found.append(_file(shown, first[path], second[path]))
    yield from found or ["the order of the copied files changed"]


def _listing(tree: Json, memory: LayerMemory) -> dict[str, tuple[Json, ...]] | None:
    """Return the entries of a tree by path; None if they were not kept, or are damaged."""
    try:
        entries = memory.listing(Digest.parse(tree)) if isinstance(tree, str) else None
    except DataError:
        return None
    if not isinstance(entries, Sequence):
        return None
    out: dict[str, tuple[Json, ...]] = {}
    for entry in entries:
        match entry:
            case [str(path), *rest]:
                out[path] = tuple(rest)
            case _:
                return None
    return out


def _file(path: str, before: tuple[Json, ...], after: tuple[Json, ...]) -> str:
    """Say what of a file changed; its entry is kind, mode, uid, gid, time, and content if it has any."""
    match before, after:
        case (str(kind), *_, str(first)), (str(again), *_, str(second)) if kind == again == "file" and first != second:
            return f"{path} changed ({_digest(first)} → {_digest(second)})"
        case (str(kind), int(mode), *_), (str(again), int(other), *_) if kind == again and mode != other:
            return f"the mode of {path} changed from {mode:04o} to {other:04o}"
        case (str(kind), *_), (str(again), *_) if kind != again:
            return f"{path} was a {kind} and is a {again}"
        case _:
            return f"{path} changed"


def _digest(text: str) -> str:
    return text.removeprefix("sha256:")[:12]


def _few(found: Sequence[str]) -> list[str]:
    if len(found) <= _MOST_NAMED:
        return list(found)
    return [*found[:_MOST_NAMED], f"and {len(found) - _MOST_NAMED} more"]


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("latin-1", "replace").decode(errors="replace")
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
