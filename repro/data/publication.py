"""Files published to one target, step by step; `repro.data.publishing` takes the steps (ADR 13).

::

    survey    what is there already: the same bytes stay
    stage     everything else is brought to the server, several files at a time, out of sight
    commit    each file gets its name, only where nothing else is; then the list of checksums
    finish    what was done is remembered
    withdraw  instead of that: what was put in place is taken back
"""

from __future__ import annotations

from dataclasses import replace as changed
from typing import TYPE_CHECKING

from repro.data.part import Counter
from repro.data.placing import Item, Placing
from repro.data.publish_state import Known, Phase, Progressed, PublishState
from repro.data.sending import QUESTIONS, Patience
from repro.data.sources.model import ExistsError
from repro.data.sums import read_sums
from repro.data.sums_text import list_text
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError
from repro.events import ignore
from repro.files import Lock, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from repro.data.sources.model import Found, Reach, Source, Target
    from repro.digest import Json

__all__ = ["MANIFEST", "Item", "Publication", "Published"]

MANIFEST = "SHA256SUMS"
_MOST_MERGES = 5  # times that another publication may change the list of checksums under our hands


@dataclass(frozen=True, slots=True)
class Published:
    """How a file stands at the target, which describes it as ``found``.

    ``state`` is ``there`` (with these bytes, before anything was sent), ``sent``, ``missing`` or ``differs`` (other
    bytes are there).
    """

    item: Item
    state: str
    found: Found | None


class Publication:
    """Files for one target, as a context: held against others of this machine, and closed, by its block.

    Args:
        target: a folder; closed with this.
        items: what is to be there; names are unique.
        address: the folder's address, ending in ``/``, for messages.
        state: the folder of the `PublishState`, of this publication alone.
        reach: attempts and pauses.
        source: opens the target for reading: once, where only the bytes can tell what is there.
        owner: who publishes, for others who want to meanwhile.
        listed: whether `MANIFEST` is kept; otherwise each file has ``NAME.sha256`` where the target keeps no digests.
    """

    def __init__(
        self,
        target: Target,
        items: Sequence[Item],
        *,
        address: str,
        state: Path,
        reach: Reach,
        source: Callable[[], Source],
        owner: str = "",
        listed: bool = True,
    ) -> None:
        self.address = address
        self.items = {item.name: item for item in items}
        self._state = PublishState(state)
        self._lock = Lock(state / "lock", owner=owner)
        self._patience = Patience(reach, address)
        self._files = Placing(target, self._state, self._patience, source)
        self._listed = listed
        self._there: dict[str, Found] = {}  # what `survey` found
        self._bytes: dict[str, Digest] = {}  # and the digests of that, where they are known
        self._tokens: dict[str, Mapping[str, Json]] = {}
        self._said: dict[str, Digest] = {}  # by the list of checksums, as it was before
        self._list_before = b""

    def __enter__(self) -> Self:
        self._lock.acquire(wait=False)
        self._state.load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        self._lock.release()

    @property
    def missing(self) -> int:
        """How many bytes `stage` has to bring there."""
        return sum(item.size for item in self._todo())

    @property
    def foreign(self) -> tuple[str, ...]:
        """The names of files that `withdraw` left where they are: somebody else wrote them since."""
        return tuple(self._files.foreign)

    @property
    def unguarded(self) -> bool:
        """Whether the server let `commit` write without a condition, which it does not know."""
        return self._files.unguarded

    def standing(self) -> tuple[Published, ...]:
        """Return how each file stands, in the order of the items."""
        return tuple(self._standing(item) for item in self.items.values())

    def _standing(self, item: Item) -> Published:
        if item.name in self._files.placed:
            return Published(item, "sent", self._files.placed[item.name])
        found = self._there.get(item.name)
        state = "missing" if found is None else "there" if self._same(item.name) else "differs"
        return Published(item, state, found)

    def _same(self, name: str) -> bool:
        """Return whether `survey` found the wanted bytes."""
        return name in self.items and self._bytes.get(name) == self.items[name].digest

    def _todo(self) -> list[Item]:
        return [item for item in self.items.values() if not self._same(item.name)]

    # ---- survey

    def survey(self, *, replace: bool = False, settle: bool = True) -> None:
        """Learn what is at the target.

        Args:
            replace: what is there will be replaced: a list of checksums that cannot be read is no error, and other
                files are read where only their bytes can tell later whether they are the same.
            settle: discard what earlier attempts staged, and take back what they put in place, of files or bytes that
                are not wanted any more.

        Raises:
            DataError: a file has the name of the list of checksums, or that list has a mistake.
            FetchError: the target cannot be asked.
        """
        if self._listed:
            if MANIFEST in self.items:
                why, hint = "the list of checksums has that name", "have its step name it otherwise"
                raise DataError(f"{MANIFEST} cannot be published at {self.address}", why=why, hint=hint)
            self._list_before, self._said = self._read_list(replace=replace)
        if settle:
            for entry in self._state.entries():
                self._settle(entry)
        looks = self._patience.each(
            lambda item: self._files.look(item, closely=replace), list(self.items.values()), most=QUESTIONS
        )
        for item, (found, digest) in looks:
            if found is not None:
                self._there[item.name] = found
            if digest is not None:
                self._bytes[item.name] = digest
        for entry in self._state.entries() if settle else ():
            if entry.phase is not Phase.PLACED and self._same(entry.name):  # somebody else had the same
                self._files.drop(entry.name, entry.token)

    def _settle(self, entry: Progressed) -> None:
        """Undo what an attempt that did not end did for a file, unless this one can go on from there."""
        entry = self._files.recover(entry)
        wanted = self.items.get(entry.name)
        if wanted is not None and wanted.digest == entry.digest:
            return
        if entry.phase is not Phase.PLACED:
            self._files.drop(entry.name, entry.token)
            return
        if entry.name != MANIFEST and not self._ended(entry):
            self._files.take_back(entry)
        self._state.drop(entry.name)

    def _ended(self, entry: Progressed) -> bool:
        """Return whether the publication that put a file in place came to its end: then the list names the file."""
        return self._said.get(entry.name) == entry.digest

    # ---- stage

    def stage(self, progress: Counter) -> None:
        """Bring all missing bytes to the server, out of sight; ``progress`` counts them.

        Raises:
            DataError: a file changed on this machine since its digest was taken.
            FetchError: the server cannot be reached, or refuses. What was staged stays for the next attempt.
        """
        staged = self._patience.each(lambda item: self._files.stage(item, progress), self._todo())
        self._tokens = {item.name: token for item, token in staged}

    # ---- commit

    def commit(self) -> None:
        """Put what was staged in place, several files at a time; the list of checksums at the end.

        Raises:
            ExistsError: somebody else put something there in the meantime.
            FetchError: the server cannot be reached, or refuses.
        """
        todo = sorted(self._todo(), key=lambda item: item.name)
        new = [item for item in todo if item.name not in self._there]
        others = [item for item in todo if item.name in self._there]
        for group in (new, others):  # what cannot be undone comes last
            for part in (group[:1], group[1:]):  # the first one, alone, decides between two publications
                self._patience.each(self._put_staged, part)
        if self._listed:
            self._put_list()
            return
        for published in self.standing():
            item = published.item
            if published.found is not None and published.found.digest is None:
                name = f"{item.name}.sha256"
                self._put_text(name, list_text({item.name: item.digest}), self._files.find(name))

    def _put_staged(self, item: Item) -> None:
        there = self._there.get(item.name)
        replaces = None if there is None else changed(there, digest=self._bytes.get(item.name))
        self._files.put(item, self._tokens[item.name], replaces)

    # ---- the list of checksums

    def _put_list(self) -> None:
        """Put the list in place, with the lines of files that stay; other publications may write it meanwhile."""
        ours = {item.name: item.digest for item in self.items.values()}
        for _ in range(_MOST_MERGES):
            there = self._files.find(MANIFEST)
            text, said = self._read_list(replace=True)
            if any(said.get(name) not in (None, digest, self._said.get(name)) for name, digest in ours.items()):
                break
            data = list_text({**said, **ours})
            try:
                if data != text:
                    self._put_text(MANIFEST, data, None if there is None else changed(there, digest=Digest.of(text)))
            except ExistsError:
                continue
            return
        raise ExistsError(
            f"another publication to {self.address} is under way",
            why=f"it changed {MANIFEST} in the meantime",
            hint="wait for its end, then publish again",
        )

    def _put_text(self, name: str, data: bytes, there: Found | None) -> None:
        """Put a small file in place; ExistsError where ``there`` is not there any more."""
        item = Item(name, self._state.folder / MANIFEST, Digest.of(data), len(data))
        write_atomic(item.path, data, durable=False)
        token = self._files.stage(item, Counter(ignore, "", 0))
        try:
            self._files.put(item, token, there)
        except ExistsError:
            self._files.drop(name, token)
            raise

    def _read_list(self, *, replace: bool) -> tuple[bytes, dict[str, Digest]]:
        """Return the text of the list, and what it says; nothing where there is none, or none that must stay."""
        if self._files.find(MANIFEST) is None:
            return b"", {}
        text = self._files.read(MANIFEST)
        try:
            sums = read_sums(text, f"{self.address}{MANIFEST}")
        except DataError as error:
            if replace:
                return text, {}
            error.hint = "move it away, or replace it with --replace"
            raise
        said = {name: sums.expected(name) for name in sums.names()}
        return text, {name: Digest(one.hex) for name, one in said.items() if one and one.algorithm == "sha256"}

    # ---- the end, this way or that

    def finish(self) -> None:
        """Remember what is at the target now."""
        known = {one.item.name: Known(one.item.digest, one.found) for one in self.standing() if one.found is not None}
        self._state.finish(known)

    def withdraw(self) -> int:
        """Take back what this attempt, and those before it that did not end, put in place.

        A server that keeps versions (S3) gives back what was there before. On others the new bytes stay, for nothing
        would be in their place: how many such files there are is returned.

        Raises:
            FetchError: the server cannot be reached. The next attempt carries on.
        """
        self._patience.resume()
        self._files.settle()
        entries = [
            entry
            for entry in self._state.entries()  # a list from before may name what only this attempt put there
            if entry.phase is Phase.PLACED and (entry.name in self._files.placed or not self._ended(entry))
        ]
        stays = 0
        for entry in sorted(entries, key=lambda one: one.name != MANIFEST):  # nothing is listed that is not there
            if entry.name == MANIFEST and entry.replaced and entry.found is not None and not entry.found.version:
                self._state.drop(MANIFEST)
                self._put_text(MANIFEST, self._list_before, changed(entry.found, digest=entry.digest))
            elif not self._files.take_back(entry):
                stays += 1
                continue
            self._state.drop(entry.name)
            self._files.placed.pop(entry.name, None)
        return stays

    def discard(self) -> None:
        """Remove what is staged; FetchError where the server cannot be reached."""
        for entry in self._state.entries():
            if entry.phase is not Phase.PLACED:
                self._files.drop(entry.name, entry.token)
