"""What was locked before and can stay: its versions go first in apt's choice (apt_preferences(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from repro.dataclass import dataclass
from repro.environment.resolvers.flat import flat_repository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package
    from repro.environment.resolvers.index import PackageIndex

_PRIORITY = 990  # before newer versions (500), but never instead of a newer one that the base has (1000)


@dataclass(frozen=True, slots=True)
class Kept:
    """Packages that were locked before: ``listed`` by the archive as they were, or ``lost`` there, but downloaded."""

    listed: tuple[Package, ...] = ()
    lost: tuple[Package, ...] = ()

    @classmethod
    def of(cls, packages: Sequence[Package], index: PackageIndex, downloads: Downloads) -> Self:
        """Return those of ``packages`` that can still be had; a damaged download cannot.

        The archive's word counts: what it lists under the same version with other bytes is not kept.
        """
        listed, lost = [], []
        for package in packages:
            versions = [one.package for one in index.candidates(package.name)]
            same = [one.digest for one in versions if one.version == package.version]
            if same:
                listed += [package] if package.digest in same else []
            elif downloads.find(package.digest) is not None:
                lost.append(package)
        return cls(tuple(listed), tuple(lost))

    def has(self, name: str, version: str | None) -> bool:
        """Return whether a package of that name, in ``version`` where one is given, is among them."""
        return any(
            package.name == name and version in (None, package.version) for package in (*self.listed, *self.lost)
        )

    def versions(self) -> dict[str, str]:
        """Return the packages' versions by their names."""
        return {package.name: package.version for package in (*self.listed, *self.lost)}

    def lay_out(self, archive: Path, seen: str, name: str, downloads: Downloads) -> None:
        """Put what is lost beside the archive laid out in ``archive``, as the flat repository ``name``.

        ``seen`` is that folder's path in the container. DataError where a download is another package.
        """
        if not self.lost:
            return
        flat_repository(self.lost, downloads, archive / name)
        with open(archive / "sources.list", "a", encoding="utf-8") as file:
            file.write(f"deb [trusted=yes] file:{seen}/{name} ./\n")

    def prefer(self, versions: Mapping[str, str], archive: Path) -> None:
        """Write the preferences for ``versions`` into the archive's folder; they replace those of before."""
        pins = (
            f"Package: {name}\nPin: version {version}\nPin-Priority: {_PRIORITY}\n"
            for name, version in sorted(versions.items())
        )
        (archive / "preferences").write_text("\n".join(pins), encoding="utf-8")
