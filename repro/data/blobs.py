"""Files kept by digest: whole, read-only, and verified each time they are asked for.

::

    <root>/sha256/<first two hex digits>/<hex>    a whole file, mode 0444, mtime 0
    <root>/tmp/<hex>.part                         a file under way, flocked by whoever writes it

A file enters under its digest by rename, after its bytes were hashed while they were written. What is there already is
hashed again by whoever looks for it (over 1 GB a second), so a file damaged on disk is found, and removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from repro.data.keeping import BLOBS, PARTS, mark
from repro.data.part import SUFFIX, open_part, sweep_parts
from repro.digest import CHUNK, Digest
from repro.errors import CorruptError, FetchError, StoreError
from repro.files import fsync_folder

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from repro.data.part import Counter, Part

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
MAKE_ROOM: Final = "make room (`repro data gc`, `repro store gc`), or set REPRO_CACHE to a folder on another disk"
_OTHER_FOLDER = "set REPRO_CACHE to a folder that you can read and write"


class Blobs:
    """Files below ``root``, which is made when first written to; processes and threads may share them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Return where the file with ``digest`` lies, or would."""
        return self.root / BLOBS / digest.hex[:2] / digest.hex

    def has(self, digest: Digest) -> bool:
        """Return whether the file is there; its bytes are not looked at (`find` and `read` do)."""
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

    def mark(self, digest: Digest) -> None:
        """Note that the file is used now (`repro.data.keeping`)."""
        mark(self.root, digest)

    def sweep(self, keep: Iterable[Digest] = ()) -> None:
        """Remove old parts that dead processes left, those aside that are wanted now (`sweep_parts`)."""
        sweep_parts(self.root / PARTS, {f"{digest.hex}{SUFFIX}" for digest in keep})

    def _part_path(self, name: str) -> Path:
        return self.root / PARTS / f"{name}{SUFFIX}"

    @contextlib.contextmanager
    def _writing(self, path: Path, size: int) -> Iterator[None]:
        """Turn what the disk refuses while the part ``path`` becomes a file of ``size`` bytes into StoreError."""
        try:
            yield
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise StoreError(
                    f"downloads cannot be kept in {self.root}", why=str(error), hint=_OTHER_FOLDER
                ) from error
            held = path.stat().st_size if path.exists() else 0
            more = f"{size - held} more bytes are needed for one file" if size > held else "more is needed"
            raise StoreError(
                f"the disk of the cache {self.root} is full: {error.strerror}",
                why=f"{more}; what came so far is kept, and continued by the next attempt",
                hint=MAKE_ROOM,
            ) from error

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
        """Give the one part for ``digest``, locked; None where another process finished the file."""
        with open_part(self._part_path(digest.hex), progress, stop) as part:
            try:
                yield None if self.has(digest) else part
            finally:
                if not part.kept and self.has(digest):
                    part.discard()

    def _keep(self, part: Part, digest: Digest, *, durable: bool = True) -> None:
        """Give a whole part its final name.

        What is not ``durable`` may be torn by a power cut, which its size tells whoever uses it next; it is fetched
        again then. Waiting for the disk took twice as long as 1 GiB itself.
        """
        target = self.path(digest)
        os.fchmod(part.descriptor, 0o444)
        os.utime(part.descriptor, (0, 0))  # hard-linked into a build context, it must look the same everywhere
        if durable:
            os.fsync(part.descriptor)
        try:
            os.rename(part.path, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(part.path, target)
        part.kept = True
        if durable:
            fsync_folder(target.parent)
