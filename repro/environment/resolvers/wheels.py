"""Wheels: the one for an interpreter among those of a release, and the folder that pip installs them from.

::

    requirements.txt    name==version --hash=sha256:…, one locked wheel a line, sorted
    tools.txt           the same for pip itself and for what builds the project's own packages
    *.whl               hard links into the downloads cache, copies across file systems

Equal wheels give an equal folder: names sorted, times 0, modes fixed.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from repro.dataclass import dataclass
from repro.digest import Digest
from repro.environment.model import Wheel
from repro.environment.resolvers.flat import link_or_copy
from repro.environment.resolvers.requirement_files import normalized
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from packaging.tags import Tag

    from repro.data.cache import Downloads
    from repro.data.transports import Transports


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wheel as an index offers it; ``size`` in bytes and ``digest`` are None where the index does not say."""

    url: str
    digest: Digest | None = None
    size: int | None = None

    @property
    def file(self) -> str:
        """Its file name."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def choose(
    candidates: Iterable[Candidate],
    tags: Sequence[Tag],
    *,
    allowed: Collection[str] = (),
    keep: Collection[Digest] = (),
) -> Candidate | None:
    """Return the wheel that pip would install, the same for any order of ``candidates``; None where none fits.

    Args:
        candidates: the wheels of one release.
        tags: what the interpreter takes, the best first; then the highest build number wins (PEP 427).
        allowed: sha256 sums; where there are any, no other wheel is taken.
        keep: a wheel among these that fits is taken before any other: it is what was locked before.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415 - only to lock

    ranks = {tag: rank for rank, tag in reversed(list(enumerate(tags)))}
    found = []
    for candidate in candidates:
        try:
            _, _, build, theirs = parse_wheel_filename(candidate.file)
        except InvalidWheelFilename:
            continue
        fitting = [ranks[tag] for tag in theirs if tag in ranks]
        if not fitting or (allowed and (candidate.digest is None or candidate.digest.hex not in allowed)):
            continue
        order = (candidate.digest not in keep, min(fitting), -build[0] if build else 0)
        found.append((order, candidate.file, candidate.url, candidate))
    return min(found)[3] if found else None


def measured(name: str, version: str, candidate: Candidate, transports: Transports) -> Wheel:
    """Return the wheel to lock; downloaded where the index does not tell its size or its sha256.

    Raises:
        DataError: its bytes are not those that the index announced.
        FetchError: it cannot be had.
    """
    if candidate.digest is not None and candidate.size is not None:
        return Wheel(normalized(name), version, candidate.file, candidate.digest, candidate.size)
    measure = _Measure()
    transports.download(candidate.url, measure)
    digest = Digest(measure.hasher.hexdigest())
    if candidate.digest not in (None, digest):
        raise DataError(f"{candidate.file} is not what its index says", why=f"{digest} came, not {candidate.digest}")
    return Wheel(normalized(name), version, candidate.file, digest, measure.size)


def pip_folder(wheels: Iterable[Wheel], tools: Iterable[Wheel], downloads: Downloads, folder: Path) -> None:
    """Fill ``folder``, which is made and must be empty, with ``wheels`` and ``tools`` for pip.

    Each must have been fetched just before, and so verified.

    Raises:
        DataError: a file name is not that of the wheel that the lock says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lists: Mapping[str, list[Wheel]] = {"requirements.txt": sorted(wheels), "tools.txt": sorted(tools)}
    for wheel in sorted({wheel for listed in lists.values() for wheel in listed}):
        _check(wheel)
        link_or_copy(downloads.path(wheel.digest), folder / wheel.file)
    for name, listed in lists.items():
        text = "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.digest.hex}\n" for wheel in listed)
        (folder / name).write_text(text, encoding="utf-8")
        os.chmod(folder / name, 0o644)
        os.utime(folder / name, (0, 0))
    os.chmod(folder, 0o755)  # noqa: S103 - pip in the container reads it
    os.utime(folder, (0, 0))


def _check(wheel: Wheel) -> None:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415 - only to build
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    try:
        name, version, *_ = parse_wheel_filename(wheel.file)
        same = (str(name), version) == (wheel.name, Version(wheel.version))
    except (InvalidWheelFilename, InvalidVersion):
        same = False
    if not same or "/" in wheel.file:
        raise DataError(
            f"{wheel.file} is not the name of a wheel of {wheel.name} {wheel.version}",
            hint="resolve it anew with `repro lock --upgrade`",
        )


class _Measure:
    """Takes the bytes of a download and keeps their number and their sha256."""

    def __init__(self) -> None:
        self.restart()

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.hasher.update(data)

    def tell(self) -> int:
        return self.size

    def restart(self) -> None:
        self.size = 0
        self.hasher = hashlib.sha256()
