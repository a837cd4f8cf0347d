"""Downloads, kept by digest: fetched once, verified each time they are asked for.

::

    <root>/sha256/<first two hex digits>/<hex>    a whole file, mode 0444, mtime 0
    <root>/tmp/<hex>.part                         a download under way, flocked by whoever writes it

A file enters under its digest by rename, after its bytes were hashed while they came. `Downloads.fetch`
hashes what is already there again (over 1 GB a second), so a file damaged on disk is replaced, and who calls
it before use has the right bytes. A ``.part`` whose writer failed or died is continued by the next fetch of
that file, in any process, and removed by a fetch of others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, BinaryIO, Protocol

from repro.data.answers import NotThereError, UnreachableError
from repro.data.part import Counter, Part, renamed
from repro.data.transports import Transports
from repro.dataclass import dataclass
from repro.digest import CHUNK, Digest
from repro.errors import CorruptError, FetchError, StoreError
from repro.files import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from repro.data.transports import Target
    from repro.events import Sink

PARALLEL = 8
_NAMED_FAILURES = 20  # a message names this many files, then counts
_MOVED_ON = (
    "bring the files (a vendor folder: REPRO_VENDOR; a cache: REPRO_CACHE), name a mirror that keeps old versions "
    "(`mirror:`, REPRO_APT_MIRROR, REPRO_APT_SNAPSHOT), or take what there is today with `repro lock --upgrade`"
)
_NO_ADDRESS = "set REPRO_APT_MIRROR=<URL of a mirror>, or bring a cache that has the files (REPRO_CACHE)"
_OTHER_FOLDER = "set REPRO_CACHE to a folder that you can read and write"
_NO_NETWORK = "run it once where the network can be reached: everything fetched is kept"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to have: ``name`` is for people, ``size`` in bytes, ``urls`` are tried in order."""

    name: str
    digest: Digest
    size: int
    urls: tuple[str, ...]


class AlteredError(FetchError):
    """Other bytes came than those with the digest that was asked for: more to be told than what was not there."""


class Fetcher(Protocol):
    """Brings the bytes of an address, as `repro.data.transports.Transports` does."""

    def download(self, url: str, out: Target, *, size: int | None = None) -> object:
        """Write the bytes at ``url`` to ``out``, after those that it holds; FetchError as there."""


def vendored(vendor: str, digest: Digest) -> str:
    """Return the address of a file in the vendor folder at the address ``vendor``: an OCI image layout's blob."""
    return f"{vendor.rstrip('/')}/blobs/sha256/{digest.hex}"


class Downloads:
    """A cache of downloads below ``root``, made when first written to; processes may share it.

    ``vendors`` are addresses of folders that hold files by their digest (`vendored`), asked before any other.
    """

    def __init__(self, root: Path, transports: Fetcher | None = None, vendors: Sequence[str] = ()) -> None:
        self.root = root
        self._transports = transports if transports is not None else Transports({})
        self._vendors = tuple(vendors)

    def path(self, digest: Digest) -> Path:
        """Return where the file with ``digest`` lies, or would."""
        return self.root / "sha256" / digest.hex[:2] / digest.hex

    def has(self, digest: Digest) -> bool:
        """Return whether the file is there; its bytes are not looked at (`fetch` and `read` do)."""
        return self.path(digest).is_file()

    def read(self, digest: Digest) -> bytes:
        """Return the bytes of a cached file; CorruptError where they are not those of ``digest``."""
        data = self.path(digest).read_bytes()
        if Digest.of(data) != digest:
            raise CorruptError(f"the cached download {digest} is damaged", hint=f"remove {self.path(digest)}")
        return data

    def add_bytes(self, data: bytes) -> Digest:
        """Keep ``data`` and return its digest; idempotent."""
        digest = Digest.of(data)
        if not self._intact(digest, len(data)):
            with self._part(digest) as part:
                if part is not None:
                    part.restart()
                    part.write(data)
                    self._keep(part, digest)
        return digest

    def add_file(self, file: BinaryIO, digest: Digest) -> None:
        """Keep the bytes of ``file``, which are those of ``digest``; idempotent."""
        with self._part(digest) as part:
            if part is not None:
                part.restart()
                while piece := file.read(CHUNK):
                    part.write(piece)
                self._keep(part, digest)

    def find(self, digest: Digest) -> Path | None:
        """Return the cached file with these bytes, hashed again; None if there is none. A damaged one is removed."""
        path = self.path(digest)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return None
        return path if self._intact(digest, size) else None

    def fetch(self, wanted: Sequence[Wanted], *, sink: Sink, what: str, offline: bool = False) -> None:
        """Have every file of ``wanted`` in the cache, each verified by size and digest.

        Args:
            wanted: files, downloaded `PARALLEL` at a time where they are not there or are damaged.
            sink: is told the progress in bytes, as ``what``.
            what: what the files are, for people: ``packages of align``.
            offline: no address is known: a missing file is a failure.

        Raises:
            FetchError: names every file that could not be had, and why. All others are in the cache then.
        """
        files = {item.digest: item for item in wanted}
        self.sweep(files)
        progress = Counter(sink, what, sum(item.size for item in files.values()))
        stop = threading.Event()
        failures: list[tuple[Wanted, FetchError]] = []
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool:
            tasks = {pool.submit(self.have, item, progress, stop, offline=offline): item for item in files.values()}
            try:
                for task in as_completed(tasks):
                    try:
                        task.result()
                    except FetchError as error:
                        failures.append((tasks[task], error))
            finally:  # nothing is left of them unless something else ended the loop
                stop.set()  # downloads under way notice it at their next bytes
                pool.shutdown(wait=False, cancel_futures=True)
        if failures:
            raise _failure(failures, len(files), what, offline=offline)

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
            self._obtain(item, progress, stop, offline=offline)
        except OSError as error:
            raise StoreError(f"downloads cannot be kept in {self.root}", why=str(error), hint=_OTHER_FOLDER) from error
        except FetchError as error:
            if damaged:
                error.why = f"the copy in the cache was damaged and is removed; {error.why or error.message}"
            raise

    def _obtain(self, item: Wanted, progress: Counter, stop: threading.Event, *, offline: bool) -> None:
        """Download one file that the cache lacks; FetchError with the reason of the last address tried."""
        urls = (*(vendored(vendor, item.digest) for vendor in self._vendors), *(() if offline else item.urls))
        if offline and not urls:
            raise FetchError(item.name, why="not in the cache, and no mirror of it is known here")
        with self._part(item.digest, progress, stop) as part:
            if part is None:  # another process had it in the meantime
                progress.add(item.size)
                return
            if part.tell() == item.size and part.digest() == item.digest:  # its writer died just before the end
                self._keep(part, item.digest)
                return
            error: FetchError = NotThereError(item.name, why="no address is known for it")
            for url in urls:
                try:
                    self._download(url, item, part)
                except FetchError as reason:
                    error = error if isinstance(error, AlteredError) else reason
                else:
                    self._keep(part, item.digest)
                    return
            raise error

    def _download(self, url: str, item: Wanted, part: Part) -> None:
        """Fill ``part`` from ``url``; FetchError where the bytes are not the right ones."""
        resumed = part.tell() > 0
        self._transports.download(url, part, size=item.size)
        if part.digest() != item.digest and resumed:
            part.restart()  # the beginning, from an earlier process or address, may have been the wrong part
            self._transports.download(url, part, size=item.size)
        if part.digest() != item.digest:
            found = part.digest()
            part.restart()
            raise AlteredError(item.name, why=f"other bytes than asked for came: {found} instead of {item.digest}")

    def _intact(self, digest: Digest, size: int) -> bool:
        """Return whether the cached file has the right bytes; a damaged one is removed.

        FetchError where it is the file with that digest, and of another size than who asks for it believes.
        """
        path = self.path(digest)
        try:
            found = os.stat(path).st_size
            if Digest.of_file(path) == digest:
                if found == size:
                    return True
                raise FetchError(path.name, why=f"it has {found} bytes, and {size} are asked for")
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(
                f"the cached download {path} cannot be read", why=error.strerror, hint=_OTHER_FOLDER
            ) from error
        return False

    @contextlib.contextmanager
    def _part(
        self, digest: Digest, progress: Counter | None = None, stop: threading.Event | None = None
    ) -> Iterator[Part | None]:
        """Give the one ``.part`` file for ``digest``, locked; None where another process finished the file.

        Only the holder of the lock renames or removes the name, so nobody loses a file under his hands.
        """
        folder = self.root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / f"{digest.hex}.part"
        while True:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink and not renamed(descriptor, name):
                break
            os.close(descriptor)  # while we waited, its writer renamed it into place or gave up
        part = Part(descriptor, name, progress, stop)
        try:
            yield None if self.has(digest) else part
        finally:
            if not part.kept and (part.tell() == 0 or self.has(digest)):
                os.unlink(name)
            os.close(descriptor)

    def _keep(self, part: Part, digest: Digest) -> None:
        """Give a whole part its final name."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.fchmod(part.descriptor, 0o444)
        os.utime(part.descriptor, (0, 0))  # hard-linked into a build context, it must look the same everywhere
        os.fsync(part.descriptor)
        os.rename(part.path, target)
        part.kept = True
        fsync_folder(target.parent)

    def sweep(self, keep: Iterable[Digest] = ()) -> None:
        """Remove parts that dead processes left, those aside that are wanted now."""
        kept = {f"{digest.hex}.part" for digest in keep}
        for path in sorted((self.root / "tmp").glob("*.part")):
            if path.name in kept:
                continue
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(descriptor)


def _failure(failures: list[tuple[Wanted, FetchError]], total: int, what: str, *, offline: bool) -> FetchError:
    """Return one error that names every file that could not be had."""
    failures.sort(key=lambda failure: failure[0].name)
    lines = [f"{item.name}: {error.why or error.message}" for item, error in failures[:_NAMED_FAILURES]]
    if len(failures) > _NAMED_FAILURES:
        lines.append(f"and {len(failures) - _NAMED_FAILURES} more")
    hint = next((error.hint for _, error in failures if error.hint), None)
    if offline:
        hint = _NO_ADDRESS
    elif any(isinstance(error, UnreachableError) for _, error in failures):
        hint = _NO_NETWORK
    elif all(isinstance(error, NotThereError) for _, error in failures):
        hint = _MOVED_ON
    return FetchError(
        f"{len(failures)} of {total} files could not be had ({what})", why="\n       ".join(lines), hint=hint
    )
