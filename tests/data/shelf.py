"""A target in memory, which fails when it is told to."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

from repro.data.answers import NotThereError
from repro.data.sources.model import ExistsError, Found, SourceFile
from repro.digest import Digest
from repro.errors import DataError

_SMALLEST = 4  # bytes that arrive at a time, at least


class Killed(BaseException):
    """The process is dead: nothing that it would do reaches the shelf any more."""


@dataclass
class Shelf:
    """What outlives a publisher. ``fault(operation, name)`` is asked before and after everything, and may raise.

    ``digests`` and ``versions`` say whether it keeps digests beside the files, and what was replaced; ``settled``
    whether the ETags are to be trusted.
    """

    digests: bool = True
    versions: bool = False
    settled: bool = True
    unguarded: bool = False
    files: dict[str, list[tuple[bytes, str]]] = field(default_factory=dict)  # newest last, with ETags
    staged: dict[str, bytearray] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    arrived: dict[str, int] = field(default_factory=dict)  # bytes that were sent, by name
    fault: object = None

    def __post_init__(self):
        self._count = itertools.count(1)
        self._guard = threading.RLock()

    def do(self, operation, name):
        """Note an operation; raise what is to go wrong."""
        with self._guard:
            self.said.append((operation, name))
            if self.fault is not None:
                self.fault(operation, name)

    def fresh(self, prefix):
        """Return a text that was never returned."""
        with self._guard:
            return f"{prefix}{next(self._count)}"

    def put(self, name, data):
        """Have a file be there, by the back door."""
        self.files[name] = [(data, self.fresh("e"))]

    def get(self, name):
        """Return what everybody sees at a name."""
        return self.files[name][-1][0] if self.files.get(name) else None

    def names(self):
        """Return all names that everybody sees."""
        return sorted(name for name, states in self.files.items() if states)

    def held(self, name):
        """Return how many bytes of a file are here, seen or not."""
        return sum(len(data) for place, data in self.staged.items() if place.startswith(f"{name}#")) + len(
            self.get(name) or b""
        )

    def all(self):
        """Return what everybody sees."""
        return {name: self.get(name) for name in self.names()}


class ShelfTarget:
    """A `Target` on a shelf; in a process of its own, as it were."""

    def __init__(self, shelf):
        self.shelf = shelf
        self.unguarded = shelf.unguarded

    def find(self, name):
        """Return what is at a name."""
        self.shelf.do("find", name)
        if not self.shelf.files.get(name):
            return None
        return self._found(*self.shelf.files[name][-1])

    def _found(self, data, etag):
        digest = Digest.of(data) if self.shelf.digests else None
        return Found(len(data), digest, etag, etag if self.shelf.versions else "", self.shelf.settled)

    def read(self, name):
        """Return the bytes at a name."""
        self.shelf.do("read", name)
        if not self.shelf.files.get(name):
            raise NotThereError(name)
        return self.shelf.get(name)

    def stage(self, name, file, digest, size, *, before, note, told):
        """Bring bytes out of sight, a few at a time."""
        self.shelf.do("stage", name)
        data = file.read_bytes()
        if Digest.of(data) != digest:
            raise DataError(f"{file} changed")
        place = before["place"] if before is not None and before["place"] in self.shelf.staged else None
        if place is None:
            place = self.shelf.fresh(f"{name}#")
            note({"place": place})
            self.shelf.do("made", name)
            self.shelf.staged[place] = bytearray()
        held = self.shelf.staged[place]
        told(len(held))
        while len(held) < size:
            piece = data[len(held) : len(held) + max(_SMALLEST, size // 2)]
            self.shelf.do("piece", name)
            held += piece
            self.shelf.arrived[name] = self.shelf.arrived.get(name, 0) + len(piece)
            told(len(piece))
        self.shelf.do("whole", name)
        return {"place": place}

    def commit(self, name, token, *, replaces):
        """Put it in place."""
        self.shelf.do("commit", name)
        with self.shelf._guard:
            states = self.shelf.files.setdefault(name, [])
            if (states[-1][1] if states else None) != (replaces.etag if replaces else None):
                raise ExistsError(f"{name} is there already")
            data = bytes(self.shelf.staged.pop(token["place"]))
            etag = self.shelf.fresh("e")
            self.shelf.files[name] = [*(states if self.shelf.versions else []), (data, etag)]
        self.shelf.do("committed", name)
        return self._found(data, etag)

    def withdraw(self, name, placed):
        """Take it back."""
        self.shelf.do("withdraw", name)
        states = self.shelf.files.get(name)
        if states and states[-1][1] == placed.etag:
            states.pop()

    def discard(self, name, token):
        """Remove what was staged."""
        self.shelf.do("discard", name)
        self.shelf.staged.pop(token.get("place"), None)

    def close(self):
        """Nothing is held."""


class ShelfSource:
    """A `Source` on a shelf."""

    def __init__(self, shelf):
        self.shelf = shelf

    def stat(self, name="", version=""):
        """Return a file."""
        return SourceFile(name, len(self.shelf.get(name)))

    def files(self):
        """Yield all files."""
        return iter(())

    def pieces(self, file, start):
        """Yield the bytes."""
        self.shelf.do("pieces", file.name)
        yield self.shelf.get(file.name)[start:]

    def close(self):
        """Nothing is held."""


def die_at(shelf, number):
    """Have the publisher be dead from the ``number``-th thing on that it does."""
    done = itertools.count()
    dead = threading.Event()

    def fault(operation, name):
        if dead.is_set() or next(done) >= number:
            dead.set()
            raise Killed

    shelf.fault = fault
