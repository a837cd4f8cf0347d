"""Single files on their way to a target: looked for, staged, put in place and taken back.

Each step is attempted as often as `Patience` allows, and kept in the `PublishState`: whoever comes next, after a lost
answer, a failure or a kill, learns from the two what became of it.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace as changed
from typing import TYPE_CHECKING

from repro.data.answers import Broken
from repro.data.publish_state import Phase, Progressed
from repro.data.sending import Sending
from repro.data.sources.model import ExistsError
from repro.dataclass import dataclass
from repro.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repro.data.part import Counter
    from repro.data.publish_state import PublishState
    from repro.data.sending import Patience
    from repro.data.sources.model import Found, Source, Target
    from repro.digest import Json


@dataclass(frozen=True, slots=True)
class Item:
    """A file to publish: ``name`` at the target, its local ``path``, digest and size in bytes."""

    name: str
    path: Path
    digest: Digest
    size: int


class Placing:
    """The files of one publication to ``target``; many threads may bring different ones.

    ``placed`` is what this attempt put in place, by name; ``foreign`` names what was not taken back, for it is
    somebody else's by now.

    Args:
        target: a folder; closed with this.
        state: what earlier attempts did.
        patience: attempts and pauses.
        source: opens the target for reading: once, where only the bytes can tell what is there.
    """

    def __init__(self, target: Target, state: PublishState, patience: Patience, source: Callable[[], Source]) -> None:
        self.placed: dict[str, Found] = {}
        self.foreign: list[str] = []
        self._target = target
        self._state = state
        self._patience = patience
        self._open_source = source
        self._source: Source | None = None
        self._guard = threading.Lock()
        self._under_way: dict[str, Item] = {}  # being put in place

    @property
    def unguarded(self) -> bool:
        """Whether something was put in place without the server's guard against another writer."""
        return self._target.unguarded

    def close(self) -> None:
        """Let go of connections; idempotent."""
        if self._source is not None:
            self._source.close()
        self._target.close()

    # ---- what is there

    def find(self, name: str) -> Found | None:
        """Return what is at ``name``; None where nothing is."""
        return self._patience.call(lambda: self._target.find(name))

    def read(self, name: str) -> bytes:
        """Return the bytes at ``name``, a small file."""
        return self._patience.call(lambda: self._target.read(name))

    def look(self, item: Item, *, closely: bool = False) -> tuple[Found | None, Digest | None]:
        """Return what is at the name of ``item``, and its digest; None where the size tells that it is another file.

        Bytes are read as a last resort: where the target does not tell their digest, and is not known to have what was
        put there. ``closely``: also those of another file whose etag cannot vouch for it, so that `put` replaces what
        was looked at, and nothing else.
        """
        found = self.find(item.name)
        if found is None or (found.size != item.size and (found.settled or not closely)):
            return found, None
        digest = found.digest or self._state.known(item.name, found)
        return found, digest or self._patience.call(lambda: self._read_digest(item.name))

    def mine(self, item: Item) -> Found | None:
        """Return what is in place, where it has the bytes of ``item``."""
        found, digest = self.look(item)
        return found if digest == item.digest else None

    def _read_digest(self, name: str) -> Digest:
        with self._guard:
            source = self._source = self._source or self._open_source()
        state = hashlib.sha256()
        for piece in source.pieces(source.stat(name), 0):
            self._patience.check()
            state.update(piece)
        return Digest(state.hexdigest())

    # ---- out of sight

    def stage(self, item: Item, progress: Counter) -> Mapping[str, Json]:
        """Bring a file to the server, out of sight; return the token that `put` takes.

        Raises:
            DataError: the file changed on this machine since its digest was taken.
            FetchError: the server cannot be reached, or refuses. What was staged stays for the next attempt.
        """
        sending, best, failures = Sending(progress, self._patience), 0, 0
        while True:
            entry = self._state.entry(item.name)
            try:
                token = self._target.stage(
                    item.name,
                    item.path,
                    item.digest,
                    item.size,
                    before=entry.token if entry is not None and entry.digest == item.digest else None,
                    note=lambda token: self._keep(item, Phase.STAGED, token),
                    told=sending.tell,
                )
            except Broken as error:
                failures = 1 if sending.sent > best else failures + 1  # slow, but moving, is no failure
                best = max(best, sending.sent)
                self._patience.pause(error, failures)
                sending.restart()
            else:
                self._keep(item, Phase.STAGED, token)
                sending.end(item.size)
                return token

    def drop(self, name: str, token: Mapping[str, Json]) -> None:
        """Remove what was staged for ``name``, and forget it."""
        self._patience.call(lambda: self._target.discard(name, token))
        self._state.drop(name)

    # ---- in place

    def put(self, item: Item, token: Mapping[str, Json], replaces: Found | None) -> None:
        """Give what was staged its name; an attempt whose answer was lost may have done it.

        Raises:
            ExistsError: something is there that is not ``replaces``.
            FetchError: the server cannot be reached, or refuses.
        """
        self._under_way[item.name] = item
        self._keep(item, Phase.COMMITTING, token, replaced=replaces is not None)
        failures = 0
        found: Found | None = None
        while found is None:
            try:
                found = self._target.commit(item.name, token, replaces=replaces)
            except Broken as error:
                failures += 1
                self._patience.pause(error, failures)
                found = self.mine(item)
            except ExistsError:
                found = self.mine(item) if failures else None
                if found is None:
                    del self._under_way[item.name]
                    raise
        self._keep_placed(item, found, replaced=replaces is not None)
        del self._under_way[item.name]

    def recover(self, entry: Progressed) -> Progressed:
        """Return how far a file has come: also where a process died between the end of its `put` and the note of it."""
        if entry.phase is not Phase.COMMITTING:
            return entry
        found = self.mine(Item(entry.name, self._state.folder, entry.digest, entry.size))
        if found is None:
            return entry
        self._patience.call(lambda: self._target.discard(entry.name, entry.token))
        placed = changed(entry, phase=Phase.PLACED, found=found)
        self._state.keep(placed)
        return placed

    def settle(self) -> None:
        """Learn what became of the files whose `put` in this attempt did not end."""
        for item in self._under_way.values():
            entry, found = self._state.entry(item.name), self.mine(item)
            if entry is not None and found is not None:
                self._keep_placed(item, found, replaced=entry.replaced)

    def take_back(self, entry: Progressed) -> bool:
        """Remove what was put in place; return False where that replaced something that the server did not keep."""
        found = entry.found
        if found is None or (entry.replaced and not found.version):
            return False
        placed = changed(found, digest=entry.digest)
        try:
            self._patience.call(lambda: self._target.withdraw(entry.name, placed))
        except ExistsError:
            self.foreign.append(entry.name)
        return True

    def _keep_placed(self, item: Item, found: Found, *, replaced: bool) -> None:
        self.placed[item.name] = found
        self._keep(item, Phase.PLACED, {}, found, replaced=replaced)

    def _keep(
        self,
        item: Item,
        phase: Phase,
        token: Mapping[str, Json],
        found: Found | None = None,
        *,
        replaced: bool = False,
    ) -> None:
        self._state.keep(Progressed(item.name, item.digest, item.size, phase, token, found, replaced))
