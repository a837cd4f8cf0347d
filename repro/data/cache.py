"""Downloads, kept by digest: fetched once, verified each time they are asked for.

::

    <root>/sha256/, tmp/<hex>.part    `repro.data.blobs`
    <root>/tmp/<hex>.taken            what `take` made of a state of a file, until it is told to forget
    <root>/trees/, used/, users       `repro.data.trees`, `repro.data.keeping`

`Downloads.fetch` replaces a file that is damaged on disk, so who calls it before use has the right bytes. A ``.part``
whose writer failed or died is continued by the next fetch of that file, in any process; one that nobody continued for
a week is removed.

What is fetched by digest has its part named by that. `Downloads.take` brings files whose digest is not known yet; it
names the part by a key that tells one state of the file from another, so that never two states become one file.
"""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

from repro.data.answers import NotThereError
from repro.data.blobs import Blobs
from repro.data.keeping import in_use
from repro.data.parallel import each, hint_for, unfetched
from repro.data.part import TAKEN, Counter, open_part
from repro.data.sources.model import ChangedError
from repro.data.transports import Transports
from repro.dataclass import dataclass
from repro.digest import Digest
from repro.errors import DataError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from repro.data.origin import Origin
    from repro.data.part import Part
    from repro.data.transports import Target
    from repro.events import Sink


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to have: ``name`` is for people, ``size`` in bytes, ``urls`` are tried in order, then ``origin``."""

    name: str
    digest: Digest
    size: int
    urls: tuple[str, ...]
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Sought:
    """A file to take whose digest is not known yet.

    ``name`` is for people; ``key`` is another one whenever the bytes may be others, and empty where nothing tells
    that; ``size`` is in bytes, None where nobody knows.
    """

    name: str
    key: str
    origin: Origin
    size: int | None


class AlteredError(FetchError):
    """Other bytes came than those with the digest that was asked for: more to be told than what was not there."""

    def __init__(self, name: str, *, wanted: Digest, found: Digest) -> None:
        super().__init__(name, why=f"other bytes than asked for came: {found} instead of {wanted}")
        self.found = found


class Fetcher(Protocol):
    """Brings the bytes of an address, as `repro.data.transports.Transports` does."""

    def download(self, url: str, out: Target, *, size: int | None = None) -> object:
        """Write the bytes at ``url`` to ``out``, after those that it holds; FetchError as there."""


def vendored(vendor: str, digest: Digest) -> str:
    """Return the address of a file in the vendor folder at the address ``vendor``: an OCI image layout's blob."""
    return f"{vendor.rstrip('/')}/blobs/sha256/{digest.hex}"


class Downloads(Blobs):
    """A cache of downloads below ``root``, made when first written to; processes may share it.

    ``vendors`` are addresses of folders that hold files by their digest (`vendored`), asked before any other.
    """

    def __init__(self, root: Path, transports: Fetcher | None = None, vendors: Sequence[str] = ()) -> None:
        super().__init__(root)
        self._transports = transports if transports is not None else Transports({})
        self._vendors = tuple(vendors)

    def fetch(
        self,
        wanted: Sequence[Wanted],
        *,
        sink: Sink,
        what: str,
        offline: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Have every file of ``wanted`` in the cache, each verified by size and digest.

        Args:
            wanted: files, downloaded `PARALLEL` at a time where they are not there or are damaged.
            sink: is told the progress in bytes, as ``what``.
            what: what the files are, for people: ``packages of align``.
            offline: no address is known: a missing file is a failure.
            stop: once it is set, downloads end with Interrupted at their next bytes.

        Raises:
            UnfetchedError: names every file that could not be had, and why. All others are in the cache then.
            StoreError: the cache cannot be written, or its disk is full.
        """
        files = list({item.digest: item for item in wanted}.values())
        self.sweep(item.digest for item in files)
        progress = Counter(sink, what, sum(item.size for item in files))
        stop = stop or threading.Event()
        with in_use(self.root):
            failures = each(files, partial(self.have, progress=progress, stop=stop, offline=offline), stop)
            for item in files:
                self.mark(item.digest)
        if failures:
            packages = all(item.origin is None for item in files)
            raise unfetched(failures, len(files), what, hint_for(failures, offline=offline, packages=packages))

    def have(self, item: Wanted, progress: Counter, stop: threading.Event, *, offline: bool = False) -> None:
        """Have one file in the cache, verified; told to ``stop``, it ends with Interrupted.

        Raises:
            FetchError: with the reason of the last address tried.
            StoreError: it cannot be kept.
        """
        damaged = self.has(item.digest)
        if self._intact(item.digest, item.size):
            progress.add(item.size)
            return
        try:
            with self._writing(self._part_path(item.digest.hex), item.size):
                self._obtain(item, progress, stop, offline=offline)
        except FetchError as error:
            if damaged:
                error.why = f"the copy in the cache was damaged and is removed; {error.why or error.message}"
            raise

    def _obtain(self, item: Wanted, progress: Counter, stop: threading.Event, *, offline: bool) -> None:
        """Download one file that the cache lacks; FetchError with the reason of the last address tried."""
        urls = (*(vendored(vendor, item.digest) for vendor in self._vendors), *(() if offline else item.urls))
        ways: list[Callable[[Part], object]] = [partial(self._transports.download, url, size=item.size) for url in urls]
        if item.origin is not None and not offline:
            origin = item.origin
            ways.append(lambda part: origin.download(part, size=item.size, sleep=part.pause))
        if offline and not ways:
            raise FetchError(item.name, why="not in the cache, and no mirror of it is known here")
        with self._part(item.digest, progress, stop) as part:
            if part is None:  # another process had it in the meantime
                progress.add(item.size)
                return
            durable = item.origin is None
            if part.tell() == item.size and part.digest() == item.digest:  # its writer died just before the end
                self._keep(part, item.digest, durable=durable)
                return
            error: FetchError = NotThereError(item.name, why="no address is known for it")
            for way in ways:
                try:
                    _download(way, item, part)
                except FetchError as reason:  # of mirrors the one that lied; of others the last, which is the origin
                    error = error if isinstance(error, AlteredError) and item.origin is None else reason
                else:
                    self._keep(part, item.digest, durable=durable)
                    return
            raise error

    def take(
        self,
        key: str,
        origin: Origin,
        size: int | None,
        progress: Counter | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[Digest, int]:
        """Bring a file whose digest is not known yet into the cache; return digest and size in bytes.

        What a killed process began is continued by the next `take` with the same ``key`` (`Sought`), and what it ended
        is not brought again until `forget` is told the key.

        Raises:
            FetchError: as `repro.data.origin.Origin.download`.
            StoreError: it cannot be kept.
        """
        name = Digest.of((key or os.urandom(16).hex()).encode()).hex
        path = self._part_path(name)
        with self._writing(path, size or 0), open_part(path, progress, stop) as part:
            known = self._taken(name)
            if known is not None and self._intact(*known):
                if progress is not None:
                    progress.add(known[1] - part.tell())
                part.discard()
                return known
            try:
                origin.download(part, size=size, verified=False, sleep=part.pause)
            except ChangedError:
                part.restart()  # nobody can go on from a state that is gone
                raise
            digest, count = part.digest(), part.tell()
            if key:
                _note(path.with_suffix(TAKEN), json.dumps([digest.hex, count]).encode())
            if self.has(digest) and self._intact(digest, count):
                part.discard()
            else:
                self._keep(part, digest, durable=False)
            self.mark(digest)
            return digest, count

    def take_all(self, sought: Sequence[Sought], *, sink: Sink, what: str) -> list[tuple[Digest, int]]:
        """Return `take` of each in order, `PARALLEL` at a time; ``sink`` is told the progress in bytes, as ``what``.

        Raises:
            UnfetchedError: names every file that could not be had, and why.
            StoreError: the cache cannot be written, or its disk is full.
        """
        progress = Counter(sink, what, sum(item.size or 0 for item in sought))
        stop = threading.Event()
        found: dict[int, tuple[Digest, int]] = {}

        def take(item: Sought) -> None:
            found[id(item)] = self.take(item.key, item.origin, item.size, progress, stop)

        with in_use(self.root):
            failures = each(sought, take, stop)
        if failures:
            raise unfetched(failures, len(sought), what, hint_for(failures, offline=False, packages=False))
        return [found[id(item)] for item in sought]

    def forget(self, keys: Iterable[str]) -> None:
        """Let a later `take` of these keys bring the bytes anew: what was taken is written down elsewhere now."""
        for key in keys:
            self._part_path(Digest.of(key.encode()).hex).with_suffix(TAKEN).unlink(missing_ok=True)

    def _taken(self, name: str) -> tuple[Digest, int] | None:
        """Return digest and size that `take` noted under ``name``."""
        try:
            hexadecimal, size = json.loads(self._part_path(name).with_suffix(TAKEN).read_bytes())
            return Digest(hexadecimal), int(size)
        except (OSError, ValueError, TypeError, DataError):  # nothing, or torn
            return None


def _download(way: Callable[[Part], object], item: Wanted, part: Part) -> None:
    """Fill ``part`` in one ``way``; FetchError where the bytes are not the right ones."""
    resumed = part.tell() > 0
    way(part)
    if part.digest() != item.digest and resumed:
        part.restart()  # the beginning, from an earlier process or address, may have been the wrong part
        way(part)
    if part.digest() != item.digest:
        found = part.digest()
        part.restart()
        raise AlteredError(item.name, wanted=item.digest, found=found)


def _note(path: Path, data: bytes) -> None:
    """Write a few bytes that are no loss: torn ones are as good as none to who reads them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
