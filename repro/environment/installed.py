"""The packages that an image's own databases list: dpkg's, apk's, Python's, conda's and R's.

A package is told once, by the database of whoever installed it: a Python or R package that dpkg or conda brought is
theirs. Of conda the version has the build with it: ``1.21=h50ea8bc_0``. A damaged database, or an entry without name
or version, tells less and stops nobody.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from repro.environment.model import Installed
from repro.errors import DataError
from repro.oci.flatten import merged
from repro.oci.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DPKG: Final = "var/lib/dpkg/status"
_DPKG_PARTS: Final = re.compile(r"var/lib/dpkg/status\.d/[^/.]+")  # images without a shell: a file a package
_APK: Final = re.compile(r"(?:usr/)?lib/apk/db/installed")
# What a package leaves behind is named by it: PyPA "Recording installed projects"; setuptools before it; conda.
_PYTHON: Final = re.compile(
    r"(?P<folder>(?:.*/)?(?:site|dist)-packages)/(?P<entry>(?P<name>[^/-]+)(?:-(?P<version>[^/-]+))?(?:-py[0-9.]+)?"
    r"(?:\.dist-info/METADATA|\.egg-info(?:/PKG-INFO)?))"
)
_CONDA: Final = re.compile(
    r"(?P<prefix>(?:.*/)?)conda-meta/(?P<name>[^/]+)-(?P<version>[^/-]+)-(?P<build>[^/-]+)\.json"
)
_R: Final = re.compile(r"(?P<folder>(?:.*/)?(?:site-)?library)/(?P<name>[A-Za-z][A-Za-z0-9.]*)/DESCRIPTION")
_ENDS: Final = (".dist-info/METADATA", ".egg-info", ".egg-info/PKG-INFO", ".json", "/DESCRIPTION")
# By Debian's policies for Python and R only its packages install here; pip and R use /usr/local.
_OF_DPKG: Final = ("usr/lib/python3/dist-packages/", "usr/lib/R/")


class PackageSearch:
    """Collects where databases lie while somebody walks an image (`note`), then reads them (`found`)."""

    def __init__(self) -> None:
        self._system: list[str] = []
        self._python: list[re.Match[str]] = []
        self._conda: list[re.Match[str]] = []
        self._r: list[re.Match[str]] = []

    def note(self, path: str) -> None:
        """Note a path, without a slash before it, where it tells of packages."""
        if path.endswith(_ENDS):
            for pattern, matches in ((_PYTHON, self._python), (_CONDA, self._conda), (_R, self._r)):
                match = pattern.fullmatch(path)
                if match is not None:
                    matches.append(match)
        elif path == _DPKG or _DPKG_PARTS.fullmatch(path) or _APK.fullmatch(path):
            self._system.append(path)

    def found(self, view: View) -> tuple[Installed, ...]:
        """Return the packages of the image that ``view`` shows, sorted, each once."""
        packages = {package for path in self._system for package in _system_packages(path, _text(view, path))}
        prefixes = {match["prefix"] for match in self._conda}
        packages.update(
            Installed("conda", match["name"], f"{match['version']}={match['build']}") for match in self._conda
        )
        dpkg = any(package.kind == "deb" for package in packages)
        of_conda = {package.name for package in packages if package.kind == "conda"}
        packages.update(
            package
            for match in self._python
            if not (dpkg and match.string.startswith(_OF_DPKG))
            for package in _python_package(view, match)
        )
        packages.update(
            package
            for match in self._r
            if not (dpkg and match.string.startswith(_OF_DPKG))
            and not (_below(match.string, prefixes) and _conda_names(match["name"]) & of_conda)
            for package in _r_package(view, match)
        )
        return tuple(sorted(packages))


def installed(layers: Sequence[Path], form: str) -> tuple[Installed, ...]:
    """Return the packages in the merged root of ``layers``, lowest first, unpacked in ``form``; every path is seen."""
    search = PackageSearch()
    for entry in merged(layers):
        if not entry.leaving:
            search.note(os.fsdecode(entry.path))
    return search.found(View(layers, form))


def _text(view: View, path: str) -> str:
    """Return a file's text, empty where it cannot be read: a folder or device of that name, or a file too large."""
    try:
        return view.read(f"/{path}").decode(errors="replace")
    except (DataError, OSError):
        return ""


def _system_packages(path: str, text: str) -> Iterator[Installed]:
    """Give the packages of dpkg (deb822 stanzas; status.d has no Status) or of apk (``P:`` and ``V:`` lines)."""
    apk = _APK.fullmatch(path) is not None
    separator, name_key, version_key = (":", "P", "V") if apk else (": ", "Package", "Version")
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza, separator)
        ready = apk or path != _DPKG or fields.get("Status", "").endswith(" installed")
        if ready and fields.get(name_key) and fields.get(version_key):
            yield Installed("apk" if apk else "deb", fields[name_key], fields[version_key])


def _fields(text: str, separator: str = ": ") -> dict[str, str]:
    """Return the one-line fields of a stanza; continued lines say nothing here, the first of a name counts."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, found, value = line.partition(separator)
        if found and line[:1].strip():
            fields.setdefault(name, value.strip())
    return fields


def _python_package(view: View, match: re.Match[str]) -> Iterator[Installed]:
    """Give the package unless conda installed it (``INSTALLER``); a name without a version asks its metadata."""
    folder = match.string.rpartition("/")[0]
    if folder.endswith(".dist-info") and _text(view, f"{folder}/INSTALLER").strip() == "conda":
        return
    name, version = match["name"], match["version"]
    if version is None:
        fields = _fields(_text(view, match.string).partition("\n\n")[0])
        name, version = fields.get("Name") or name, fields.get("Version")
    if version:
        yield Installed("pip", re.sub(r"[-_.]+", "-", name).lower(), version)  # PyPA "Name normalization"


def _r_package(view: View, match: re.Match[str]) -> Iterator[Installed]:
    """Give the package unless it is part of R itself; a DESCRIPTION in an R library says when it was built."""
    fields = _fields(_text(view, match.string))
    if fields.get("Version") and "Built" in fields and fields.get("Priority") != "base":
        yield Installed("r", fields.get("Package") or match["name"], fields["Version"])


def _below(path: str, prefixes: set[str]) -> bool:
    return any(path.startswith(prefix) for prefix in prefixes)


def _conda_names(name: str) -> set[str]:
    """Return what conda calls an R package; those that come with R belong to ``r-base``."""
    return {f"{prefix}{name.lower()}" for prefix in ("r-", "bioconductor-")}
