"""What makes two images different: files, and packages of dpkg, Python and conda."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repro.api.engine import opened
from repro.api.image_lookup import resolve
from repro.api.packages import read_packages
from repro.dataclass import dataclass
from repro.events import ignore
from repro.oci.differences import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.api.host import Host
    from repro.digest import Digest
    from repro.oci.differences import Difference

# What a package leaves behind is named by it: PyPA "Recording installed projects"; setuptools before it; conda.
_PYTHON: Final = re.compile(
    r"(?:.*/)?([^/-]+)-([^/-]+)(?:\.dist-info/METADATA|(?:-py[0-9.]+)?\.egg-info(?:/PKG-INFO)?)"
)
_CONDA: Final = re.compile(r"(?:.*/)?conda-meta/([^/]+)-([^/-]+)-([^/-]+)\.json")


@dataclass(frozen=True, slots=True)
class PackageDifference:
    """A package that two images have in different versions; ``before`` or ``after`` is empty where one lacks it.

    ``manager`` is ``dpkg``, ``python`` or ``conda``. Several versions of one name are joined by commas.
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
        packages: tuple[_Packages, _Packages] = ({}, {})
        files = tuple(differences(*layers, store.form, lambda side, path: _note(packages[side], path)))
        for side in (0, 1):
            for name, version in read_packages(layers[side], store.form):
                packages[side].setdefault(("dpkg", name), set()).add(version)
    return ImageDifference(*ids, _compared(*packages), files)


_Packages = dict[tuple[str, str], set[str]]  # (manager, name) -> versions


def _note(packages: _Packages, path: str) -> None:
    """Note the package that a path tells of, if it does."""
    if path.endswith((".dist-info/METADATA", ".egg-info", ".egg-info/PKG-INFO")):
        match = _PYTHON.fullmatch(path)
        if match is not None:
            name = re.sub(r"[-_.]+", "-", match[1]).lower()  # PyPA "Name normalization"
            packages.setdefault(("python", name), set()).add(match[2])
    elif path.endswith(".json"):
        match = _CONDA.fullmatch(path)
        if match is not None:
            packages.setdefault(("conda", match[1]), set()).add(f"{match[2]}={match[3]}")


def _compared(
    first: Mapping[tuple[str, str], set[str]], second: Mapping[tuple[str, str], set[str]]
) -> tuple[PackageDifference, ...]:
    found = []
    for key in sorted(first.keys() | second.keys()):
        before, after = (", ".join(sorted(side.get(key, ()))) for side in (first, second))
        if before != after:
            found.append(PackageDifference(*key, before, after))
    return tuple(found)
