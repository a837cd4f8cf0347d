"""What makes two images different: files, and packages by their databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repro.api.engine import opened
from repro.api.image_lookup import resolve
from repro.dataclass import dataclass
from repro.environment.installed import PackageSearch
from repro.events import ignore
from repro.oci.differences import differences
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repro.api.host import Host
    from repro.digest import Digest
    from repro.environment.model import Installed
    from repro.oci.differences import Difference

_MANAGERS: Final = {"deb": "dpkg", "pip": "python"}  # whose packages these kinds are


@dataclass(frozen=True, slots=True)
class PackageDifference:
    """A package that two images have in different versions; ``before`` or ``after`` is empty where one lacks it.

    ``manager`` is ``dpkg``, ``apk``, ``python``, ``conda`` or ``r``. Several versions of one name are joined by commas.
    """

    manager: str
    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if self.before and self.after:
            return "changed"
        return "removed" if self.before else "added"


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """How the image ``second`` differs from ``first``: by paths, and by packages, both sorted."""

    first: Digest
    second: Digest
    packages: tuple[PackageDifference, ...]
    files: tuple[Difference, ...]


def diff_images(host: Host, first: str, second: str) -> ImageDifference:
    """Return how two images of the store differ in their files and packages.

    Raises:
        StoreError: there is no such image, or not in this mode.
        CorruptError: one of them is damaged.
    """
    with opened(host, ignore) as engine:
        engine.enter()
        store = engine.store
        ids = resolve(store, first), resolve(store, second)
        if ids[0] == ids[1]:
            return ImageDifference(*ids, (), ())
        layers = store.image_layers(ids[0]), store.image_layers(ids[1])
        searches = PackageSearch(), PackageSearch()
        files = tuple(differences(*layers, store.form, lambda side, path: searches[side].note(path)))
        before, after = (
            _versions(search.found(View(stack, store.form))) for search, stack in zip(searches, layers, strict=True)
        )
    return ImageDifference(*ids, _compared(before, after), files)


_Packages = dict[tuple[str, str], set[str]]  # (manager, name) -> versions


def _versions(packages: Iterable[Installed]) -> _Packages:
    found: _Packages = {}
    for package in packages:
        key = (_MANAGERS.get(package.kind, package.kind), package.name)
        found.setdefault(key, set()).add(package.version)
    return found


def _compared(
    first: Mapping[tuple[str, str], set[str]], second: Mapping[tuple[str, str], set[str]]
) -> tuple[PackageDifference, ...]:
    found = []
    for key in sorted(first.keys() | second.keys()):
        before, after = (", ".join(sorted(side.get(key, ()))) for side in (first, second))
        if before != after:
            found.append(PackageDifference(*key, before, after))
    return tuple(found)
