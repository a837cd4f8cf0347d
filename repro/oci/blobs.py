"""Blobs by digest: written aside, synced, renamed; checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from repro.digest import CHUNK, Digest
from repro.errors import CorruptError, DataError, StoreError
from repro.files import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from repro.digest import Source
    from repro.oci.workspace import Workspaces


class Blobs:
    """Files below ``folder``, each named by the sha256 of its bytes; ``room`` is on the same file system."""

    def __init__(self, folder: Path, room: Workspaces) -> None:
        self.blobs_folder = folder
        self._room = room

    def blob_path(self, digest: Digest) -> Path:
        """Return where the blob is, or would be."""
        return self.blobs_folder / digest.hex

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self.blob_path(digest).exists()

    def put_blob(self, data: bytes) -> Digest:
        """Keep ``data``, also in place of a damaged blob; return its digest."""
        digest = Digest.of(data)
        if not self.has_blob(digest) or self.blob_path(digest).read_bytes() != data:
            with self.new_blob() as blob:
                blob.write(data)
                blob.keep()
        return digest

    def add_blob(self, stream: Source, *, digest: Digest | None = None) -> Digest:
        """Keep what is left in ``stream``; return its digest. DataError if that is not ``digest``."""
        with self.new_blob() as blob:
            while data := stream.read(CHUNK):
                blob.write(data)
            found = blob.digest()
            if digest is not None and found != digest:
                raise DataError(f"the bytes of blob {digest} are not its own", why=f"their digest is {found}")
            blob.keep()
        return found

    @contextlib.contextmanager
    def new_blob(self) -> Iterator[NewBlob]:
        """Give a blob to write; it is gone when the block ends unless it was kept (`NewBlob.keep`)."""
        with self._room.file() as (descriptor, path), open(descriptor, "wb", closefd=False) as file:
            yield NewBlob(file, path, self.blobs_folder)

    def read_blob(self, digest: Digest) -> bytes:
        """Return the blob's bytes; CorruptError if the digest is another, StoreError if missing."""
        try:
            data = self.blob_path(digest).read_bytes()
        except FileNotFoundError as error:
            hint = "build or pull its image again"
            raise StoreError(f"blob {digest} is not in the store", hint=hint) from error
        if Digest.of(data) != digest:
            raise CorruptError(
                f"blob {digest} in the store is damaged",
                where=str(self.blob_path(digest)),
                why=f"its sha256 is now {Digest.of(data).hex}",
                hint="repair it with `repro store check --repair`, or build the image again",
            )
        return data


class NewBlob:
    """A blob that is being written: an `Output` that hashes what goes through it."""

    def __init__(self, file: BinaryIO, path: Path, folder: Path) -> None:
        self._file = file
        self._path = path
        self._folder = folder
        self._hasher = hashlib.sha256()

    def write(self, data: bytes | memoryview, /) -> None:
        """Add ``data``."""
        self._hasher.update(data)
        self._file.write(data)

    def digest(self) -> Digest:
        """Return the digest of what was written so far."""
        return Digest(self._hasher.hexdigest())

    def keep(self) -> Digest:
        """Put what was written among the blobs, for good and in place of what had its digest; return that."""
        digest = self.digest()
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o600)
        os.fsync(self._file.fileno())
        os.rename(self._path, self._folder / digest.hex)
        fsync_folder(self._folder)
        return digest
