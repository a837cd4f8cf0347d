"""A source in memory whose faults a test chooses, and a Reach without patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro.data.answers import Broken, NotThereError
from repro.data.sources.model import ChangedError, Reach, SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REACH = Reach({}, 0, 0, timeout=1.0, attempts=3, pause=0.001)
PIECE = 1000


class MemorySource:
    """Holds ``files`` by name; ``faults`` each take the pieces of one transfer and give others, or raise.

    A file's ETag is its bytes' hash while ``etags`` is true, and vouches for them while ``settled`` is; of those in ``versions`` (name and version) all are kept.
    """

    def __init__(self, files: dict[str, bytes] | None = None, *, etags: bool = True, settled: bool = True) -> None:
        self.put = dict(files or {})
        self.etags = etags
        self.settled = settled
        self.versions: dict[tuple[str, str], bytes] = {}
        self.current: dict[str, str] = {}
        self.faults: list[Callable[[Iterator[bytes]], Iterator[bytes]]] = []
        self.asked: list[tuple[str, int]] = []  # name and offset of each transfer
        self.closed = 0

    def add_version(self, name: str, version: str, data: bytes) -> None:
        """Have ``data`` as the newest version of ``name``."""
        self.put[name] = self.versions[name, version] = data
        self.current[name] = version

    def stat(self, name: str = "", version: str = "") -> SourceFile:
        """Return the file as it is."""
        data = self._data(name, version)
        etag = f"{hash(data):x}" if self.etags else ""
        return SourceFile(name, len(data), version or self.current.get(name, ""), etag, self.settled)

    def files(self) -> Iterator[SourceFile]:
        """Yield all files, in no order."""
        for name in reversed(list(self.put)):
            yield self.stat(name)

    def pieces(self, file: SourceFile, start: int) -> Iterator[bytes]:
        """Yield the bytes, as the next fault has them."""
        self.asked.append((file.name, start))
        data = self._data(file.name, file.version)
        if file.etag and file.etag != self.stat(file.name, file.version).etag:
            raise ChangedError(f"memory:{file.name} changed")
        whole = (data[at : at + PIECE] for at in range(start, len(data), PIECE))
        yield from self.faults.pop(0)(whole) if self.faults else whole

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def _data(self, name: str, version: str) -> bytes:
        try:
            return self.versions[name, version] if version else self.put[name]
        except KeyError:
            raise NotThereError(f"memory:{name} is not there", why="the server does not have it") from None


def broken(after: int = 0) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return a fault: the connection breaks after that many pieces."""

    def fault(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for _ in range(after):
            yield next(pieces)
        raise Broken("the connection broke")

    return fault


def short(after: int = 0) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return a fault: the transfer ends, as if all were well, after that many pieces."""

    def fault(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for _ in range(after):
            yield next(pieces)

    return fault


def doing(action: Callable[[], object], after: int = 0) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return a fault: something happens after that many pieces, and the transfer goes on."""

    def fault(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for _ in range(after):
            yield next(pieces)
        action()
        yield from pieces

    return fault
