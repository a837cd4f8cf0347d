"""The keys that the instructions of a stage had when it was last built, so that a miss can be explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from repro.build.cache import LayerKey
from repro.build.reasons import changes
from repro.digest import Digest, record_digest
from repro.errors import DataError

if TYPE_CHECKING:
    from repro.build.cache import LayerMemory
    from repro.digest import Json
    from repro.oci.store import Store

_KIND = "build-trace"


class Trace:
    """One stage's keys, of the last build and of this one, each with the instruction's text.

    Instructions are matched by their text in order, what is left between two matches by its place: so the reasons
    survive lines that are put in or taken out. What is kept decides nothing; damaged, it is as good as none.
    """

    def __init__(self, store: Store, name: Sequence[str], texts: Sequence[str]) -> None:
        """Compare with the last build of the stage ``name``, whose instructions now have ``texts``."""
        self._store = store
        self._slot = record_digest("build-trace/1", list(name))
        self._old = _entries(store.recall(_KIND, self._slot))
        self._new: list[tuple[str, LayerKey]] = []
        self._partner = _matched([text for text, _ in self._old], texts)

    def partner(self, position: int) -> LayerKey | None:
        """Return the key that the instruction at ``position`` of the texts had; None if it was not there."""
        index = self._partner.get(position)
        return None if index is None else self._old[index][1]

    def note(self, text: str, key: LayerKey) -> None:
        """Take down the key of an instruction whose layer is there."""
        self._new.append((text, key))

    def save(self, *, complete: bool) -> None:
        """Keep this build's keys for the next one; of a build that broke off, the last one's where it did not come."""
        entries = list(self._new)
        if not complete:
            seen = {text for text, _ in entries}
            entries += [entry for entry in self._old if entry[0] not in seen]
        if entries != self._old:
            self._store.remember(_KIND, self._slot, [_as_json(text, key) for text, key in entries])


def reason(
    old: LayerKey | None, new: LayerKey, memory: LayerMemory, *, no_cache: bool, instruction: str = "instruction"
) -> str:
    """Return why the layer of ``new`` must be made: ``miss: never built here``, ``miss: a.txt changed (…)``."""
    if no_cache:
        return "miss: nothing is taken from the cache (--no-cache)"
    if memory.lost(new.digest):
        return "miss: its layer is not in the store any more"
    if old is None or old.kind != new.kind:
        return f"miss: this {instruction} was never built here"
    if old.digest == new.digest:
        return "miss: what was remembered of it is gone"
    return f"miss: {changes(old, new, memory)}"


def _matched(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Return for positions in ``new`` the position in ``old`` of the same instruction, or of the one it replaces."""
    if list(old) == list(new):
        return {at: at for at in range(len(new))}
    import difflib  # noqa: PLC0415 - a build of an unchanged file does without

    out: dict[int, int] = {}
    for _, a, until_a, b, until_b in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        out.update(zip(range(b, until_b), range(a, until_a), strict=False))
    return out


def _as_json(text: str, key: LayerKey) -> Json:
    return {
        "text": text,
        "key": str(key.digest),
        "kind": key.kind,
        "below": str(key.below),
        "form": key.form,
        "epoch": key.epoch,
        "parts": key.parts,
    }


def _entries(value: Json) -> list[tuple[str, LayerKey]]:
    out: list[tuple[str, LayerKey]] = []
    for entry in value if isinstance(value, Sequence) and not isinstance(value, str) else ():
        match entry:
            case {
                "text": str(text),
                "key": str(digest),
                "kind": str(kind),
                "below": str(below),
                "form": str(form),
                "epoch": int(epoch),
                "parts": Mapping() as parts,
            }:
                try:
                    key = LayerKey(Digest.parse(digest), kind, Digest.parse(below), form, epoch, parts)
                except DataError:
                    return []
                out.append((text, key))
            case _:
                return []
    return out
