"""Inputs pinned: a declaration becomes digests, sizes and versions; later the same bytes are had, or an error says so.

What is on this machine (a path, ``file://``, a site, a share that is mounted) is hashed where it lies. The rest is
brought into the cache and hashed while it comes, a glob's choice among them: a folder with only some of the files is
nowhere but there.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from repro.data.answers import NotThereError
from repro.data.cache import AlteredError, Sought, Wanted
from repro.data.checksum import tree_digest, walk
from repro.data.drift import DriftError, drifted, lost_line
from repro.data.fingerprints import fingerprint
from repro.data.globs import matches, split_glob
from repro.data.model import InputFile, InputLock
from repro.data.origin import Origin, patiently, read_small
from repro.data.parallel import UnfetchedError, way_on
from repro.data.sources.model import ChangedError, SourceFile
from repro.data.sums import Expected
from repro.data.verifying import LARGEST_LIST, Listing, check
from repro.digest import Digest, canonical_json, record_digest
from repro.errors import DataError, FetchError, UsageError
from repro.events import Notice
from repro.names import DataUri, hidden
from repro.workflow.model import Access

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from repro.data.cache import Downloads
    from repro.data.checksum import StatCache
    from repro.data.sources.model import Reach, Source
    from repro.events import Sink
    from repro.workflow.model import DataSource

_SHARES = ("nfs", "smb")
_WEAK = "W/"


class Places(Protocol):
    """Where this host keeps data by name (`repro.data.sites.Sites`)."""

    def path(self, site: str) -> Path:
        """Return the path of a place, or of something below it."""


def origin(source: DataSource) -> Digest:
    """Return the checksum of what an input's declaration says about its bytes.

    Who may have them, with which login they are read and where jobs see them is left out.
    """
    return record_digest(
        "input-origin/1",
        {
            "uri": source.uri,
            "site": source.site,
            "version": source.version,
            "checksum": source.checksum,
            "checksums": source.checksums,
            "fingerprint": [source.fingerprint.kind, source.fingerprint.value],
            "endpoint": source.access.endpoint,
        },
    )


class Pinner:
    """Resolves, checks and fetches the inputs of the project in ``root``; safe to use from many threads.

    ``open_source`` gives what reads at an address; ``mounted`` the path of this host where a share's address is
    mounted, None where it is not; ``sites`` maps names to paths of this host. ``cache`` remembers digests of files.
    """

    def __init__(
        self,
        downloads: Downloads,
        open_source: Callable[[DataUri, Access], Source],
        reach: Reach,
        cache: StatCache,
        root: Path,
        sites: Places,
        mounted: Callable[[DataUri], Path | None],
        sink: Sink,
    ) -> None:
        self._downloads = downloads
        self._open_source = open_source
        self._reach = reach
        self._cache = cache
        self._root = root
        self._sites = sites
        self._mounted = mounted
        self._sink = sink

    # ---- locking

    def pin(self, source: DataSource, before: InputLock | None) -> InputLock:
        """Return what ``source`` resolves to now; every byte of it is read once.

        ``before`` is its entry so far: files whose version, or ETag and size, are as they were, and which are in the
        cache, are not read again.

        Raises:
            NotThereError, DeniedError, UnreachableError, FetchError: it cannot be had.
            DataError: it is not what ``checksum`` or ``checksums`` say, has names that no folder can have, or a glob
                chooses nothing.
            UsageError: the site is not known here.
        """
        try:
            place = self.local(source)
            return self._pin_there(source, before) if place is None else self._pin_here(source, place)
        except (DataError, FetchError, UsageError) as error:
            error.where = error.where or source.where
            if isinstance(error, FetchError):
                error.hint = way_on(error)
            raise

    def _pin_there(self, source: DataSource, before: InputLock | None) -> InputLock:
        """Return the entry of what is elsewhere, which is in the cache then."""
        base, pattern = self._chosen(source)
        address = self._address(source)
        with closing(self._open_source(base, source.access)) as opened:
            listed = self._listed(opened, base, pattern, source)
            keys = [_key(base, file) for file in listed]
            known = {file.name: file for file in before.files} if before and before.uri == address else {}
            files = self._taken(source, listed, known, _origins(opened, listed, self._reach, base), keys)
        by_name = {file.name: (file.digest, self._downloads.path(file.digest)) for file in files}
        try:
            self._check_checksums(source, base, by_name, whole=not pattern)
        except DataError:  # whatever was changed on its way here is to come anew
            self._downloads.forget(key for key in keys if key)
            raise
        self._downloads.forget(key for key in keys if key)
        size, count = sum(file.size for file in files), len(files)
        return InputLock(source.path, address, origin(source), _digest(source, files), size, count, files=tuple(files))

    def listed(self, source: DataSource) -> tuple[SourceFile, ...]:
        """Return what there is now, sorted by name; not for what is on this machine. Errors as `pin`."""
        base, pattern = self._chosen(source)
        with closing(self._open_source(base, source.access)) as opened:
            return tuple(self._listed(opened, base, pattern, source))

    def there(self, source: DataSource, entry: InputLock) -> list[str]:
        """Return the names of files that the source still has as they were locked, as far as it tells; errors as `pin`.

        A version that was locked is asked for itself: that the name has moved on means nothing.
        """
        base, _ = self._chosen(source)
        found = []
        with closing(self._open_source(base, source.access)) as opened:
            for file in entry.files:
                try:
                    now = patiently(partial(opened.stat, file.name, file.version), self._reach, str(base))
                except NotThereError:
                    continue
                if file.version or as_told(file, now):
                    found.append(file.name)
        return found

    def _listed(self, opened: Source, base: DataUri, pattern: str, source: DataSource) -> list[SourceFile]:
        """Return the files of an input, sorted by name, with names that a folder can have."""
        if not source.folder:
            return [patiently(lambda: opened.stat("", source.version or ""), self._reach, str(base))]
        found = sorted(patiently(lambda: list(opened.files()), self._reach, str(base)))
        if pattern:
            decoded = unquote(pattern) if base.scheme in ("http", "https") else pattern
            found = [file for file in found if matches(decoded, file.name)]
            if not found:
                raise DataError(f"{hidden(self._address(source))} chooses no file")
        tree_digest((file.name, Digest.of(b"")) for file in found)  # refuses names before anything is fetched
        return found

    def _taken(
        self,
        source: DataSource,
        listed: Sequence[SourceFile],
        known: dict[str, InputFile],
        origins: Sequence[Origin],
        keys: Sequence[str],
    ) -> list[InputFile]:
        """Return all files locked, those fetched that are not known to be as they were."""
        kept = {
            file.name: (old.digest, old.size)
            for file in listed
            if (old := known.get(file.name)) is not None and as_before(old, file) and self.intact(old)
        }
        missing = [
            Sought(origin.address, key, origin, file.size)
            for file, origin, key in zip(listed, origins, keys, strict=True)
            if file.name not in kept
        ]
        taken = iter(self._downloads.take_all(missing, sink=self._sink, what=source.path) if missing else ())
        files = []
        for file in listed:
            digest, size = kept[file.name] if file.name in kept else next(taken)
            files.append(InputFile(file.name, digest, size, file.version, _state(file)))
        return files

    def intact(self, file: InputFile) -> bool:
        """Return whether the cache has the right bytes; they are read only where that is not known of them."""
        if not self._downloads.has(file.digest):
            return False
        try:
            return self._cache.digest_file(self._downloads.path(file.digest)) == (file.digest, file.size)
        except DataError:
            return False

    # ---- on this machine

    def local(self, source: DataSource) -> Path | None:
        """Return where a source lies on this machine; None where it has to be fetched, as a glob's choice has.

        DataError where it is to be bound in place and is not here; UsageError where the site is not known.
        """
        if source.site is not None:
            return self._sites.path(source.site)
        uri, pattern = self._chosen(source)
        place = None if pattern or uri.scheme != "file" else Path(uri.path)
        if place is None and not pattern and uri.scheme in _SHARES:
            place = self._mounted(uri)
        if place is None and source.mount:
            raise DataError(
                f"{hidden(str(uri))} is not mounted on this machine",
                where=source.where,
                hint="mount it, or leave out `mount: true`",
            )
        return place

    def digest(self, source: DataSource) -> tuple[Digest, int]:
        """Return digest and size in bytes of what is on this machine, as it is now; DataError where it is not there."""
        place = self.local(source)
        assert place is not None, "only asked of what is on this machine"
        found = self._here(source, place)
        return found.digest, found.size

    def part(self, entry: InputLock, name: str) -> Digest:
        """Return what stands for something in a folder whose own digest is not that of its bytes."""
        return record_digest("input-part/1", [str(entry.digest), name])

    def _pin_here(self, source: DataSource, place: Path) -> InputLock:
        entry = self._here(source, place)
        if source.checksum or source.checksums:
            files = self._files_here(place) if source.folder else [InputFile("", *self._cache.digest_file(place))]
            base = DataUri("file", "", f"{place}/" if source.folder else str(place))
            by_name = {file.name: (file.digest, place / file.name if file.name else place) for file in files}
            self._check_checksums(source, base, by_name, whole=True)
        return entry

    def _here(self, source: DataSource, place: Path) -> InputLock:
        """Return the entry of what lies at ``place``. A share's files are listed: other machines may have to fetch."""
        if place.exists() and place.is_dir() != source.folder:
            what, hint = ("no folder", "without") if source.folder else ("a folder", "with")
            raise DataError(
                f"{place} is {what}", where=source.where, hint=f"write the input's path {hint} '/' at its end"
            )
        kind, address = source.fingerprint.kind, self._address(source)
        if kind == "sha256" and source.folder and address.partition(":")[0] in _SHARES:
            files = self._files_here(place)
            digest, size, count = _digest(source, files), sum(file.size for file in files), len(files)
        else:
            digest, size, count = fingerprint(kind, source.fingerprint.value, place, self._cache)
            files = [] if source.folder or kind != "sha256" else [InputFile("", digest, size)]
        return InputLock(source.path, address, origin(source), digest, size, count, kind, tuple(files))

    def _files_here(self, folder: Path) -> list[InputFile]:
        """Return all files below a folder, links to files among them, as a server would list them."""
        entries = [
            entry
            for entry in walk(folder)
            if entry.kind == "file" or (entry.kind == "link" and os.path.isfile(entry.path))
        ]
        digests = self._cache.digest_files([entry.path for entry in entries])
        return [InputFile(entry.name, *found) for entry, found in zip(entries, digests, strict=True)]

    # ---- elsewhere

    def fetch(
        self, source: DataSource, entry: InputLock, files: Sequence[InputFile], stop: threading.Event | None = None
    ) -> None:
        """Have ``files`` of a locked input in the cache, verified; set, ``stop`` ends it with Interrupted.

        Raises:
            DriftError: other bytes came, or the source has not any more what was locked.
            UnfetchedError: they cannot be had now.
        """
        base, _ = self._chosen(source)
        try:
            with closing(self._open_source(base, source.access)) as opened:
                wanted = self.wanted(source, entry, files, opened)
            self._downloads.fetch(wanted, sink=self._sink, what=source.path, stop=stop)
        except UnfetchedError as error:
            final = AlteredError | ChangedError | NotThereError
            lost = [(name, why) for name, why in error.failures if isinstance(why, final)]
            if not lost:
                raise
            locked = {self._shown(base, file): file.digest for file in files}
            raise drifted(entry.path, [lost_line(name, locked[name], why) for name, why in lost]) from error

    def wanted(
        self,
        source: DataSource,
        entry: InputLock,
        files: Sequence[InputFile] | None = None,
        opened: Source | None = None,
    ) -> list[Wanted]:
        """Return what to download to have ``files`` (default: all) of a locked input.

        Files are asked for by version where the lock has one, else by name: whatever the server says about the state
        they are in, only the digest decides. The caller closes ``opened``; None: nothing is asked but the vendors.
        """
        base, _ = self._chosen(source)
        chosen = entry.files if files is None else files
        asked = [SourceFile(file.name, file.size, file.version) for file in chosen]
        origins = [None] * len(asked) if opened is None else _origins(opened, asked, self._reach, base)
        return [
            Wanted(self._shown(base, file), file.digest, file.size, (), origin)
            for file, origin in zip(chosen, origins, strict=True)
        ]

    def drift(self, entry: InputLock, digest: Digest) -> DriftError:
        """Return the error that an input has ``digest`` now, and not the one of its entry."""
        return drifted(entry.path, [f"locked {entry.digest}, now {digest}"])

    # ---- addresses

    def _address(self, source: DataSource) -> str:
        """Return the address as declared."""
        return f"site:{source.site}" if source.uri is None else source.uri

    def _chosen(self, source: DataSource) -> tuple[DataUri, str]:
        """Return the file, or the folder, that an input is or chooses from, and the glob that chooses."""
        assert source.uri is not None, "a site is on this machine"
        if "://" in source.uri:
            uri = DataUri.parse(source.uri)
        else:
            slash = "/" if source.uri.endswith("/") else ""
            uri = DataUri("file", "", os.path.normpath(self._root / source.uri) + slash)
        if not source.folder:
            return uri, ""
        path, pattern = split_glob(uri.path)
        if not pattern and not path.endswith("/"):
            path += "/"
        folder = DataUri(uri.scheme, uri.host, path, uri.user, uri.query)
        if pattern and folder.scheme in _SHARES and (place := self._mounted(folder)) is not None:
            folder = DataUri("file", "", f"{place}/")
        return folder, pattern

    @staticmethod
    def _shown(base: DataUri, file: InputFile) -> str:
        return hidden(str(base)) + file.name

    # ---- checksums given

    def _check_checksums(
        self, source: DataSource, base: DataUri, files: dict[str, tuple[Digest, Path]], *, whole: bool
    ) -> None:
        """Return where all files are as ``checksum`` and ``checksums`` say; DataError where not."""
        if source.checksum is not None:
            check(hidden(str(base)), *files[""], Expected.parse(source.checksum), str(source.where))
        if source.checksums is not None:
            listing = Listing(source.checksums, base, lambda uri: self._read(uri, source.access, base))
            unlisted = listing.check(files, whole=whole and source.folder)
            if unlisted > 1 or (unlisted and source.checksums not in files):
                text = f"{source.path}: {hidden(source.checksums)} says nothing about {unlisted} of {len(files)} files"
                self._sink(Notice("info", text))

    def _read(self, uri: DataUri, access: Access, base: DataUri) -> bytes:
        """Return the bytes of a list of checksums."""
        with closing(self._open_source(uri, access if uri.scheme == base.scheme else Access())) as opened:
            return read_small(opened, self._reach, str(uri), LARGEST_LIST)


def _origins(opened: Source, files: Sequence[SourceFile], reach: Reach, base: DataUri) -> list[Origin]:
    return [Origin(opened, file, reach, str(base), whole=base.scheme == "s3") for file in files]


def _key(base: DataUri, file: SourceFile) -> str:
    """Return what tells one state of a file from all others; nothing where the server says too little for that."""
    if not file.version and not (file.etag and file.settled):
        return ""
    return canonical_json([str(base), file.name, file.version, file.etag, file.size]).decode()


def as_before(old: InputFile, now: SourceFile) -> bool:
    """Return whether a file is in the state that was locked, as the server tells it."""
    if now.version or old.version:
        return now.version == old.version
    return bool(now.etag) and (now.etag, now.size) == (old.etag, old.size)


def as_told(old: InputFile, now: SourceFile) -> bool:
    """Return whether nothing that the server tells speaks against a file being as it was locked."""
    if now.version or old.version:
        return now.version == old.version
    return old.etag.removeprefix(_WEAK) in ("", now.etag) and now.size in (None, old.size)


def _state(file: SourceFile) -> str:
    """Return the etag that is locked: marked as weak where it does not vouch for the bytes (RFC 9110, 8.8.1)."""
    return file.etag if file.settled or not file.etag else _WEAK + file.etag


def _digest(source: DataSource, files: Sequence[InputFile]) -> Digest:
    return tree_digest((file.name, file.digest) for file in files) if source.folder else files[0].digest
