"""A folder of locked packages that apt can install from with no network: a flat repository (sources.list(5)).

::

    apt.conf        for APT_CONFIG: this folder is the only source; lists, caches, logs go to /tmp/apt
    sources.list    one line: deb [trusted=yes] file:/run/repro/apt ./
    Packages        the control stanza of each package, with its file name, size and sha256
    *.deb           hard links into the downloads cache, copies across file systems

Equal packages give an equal folder: names sorted, times 0, modes fixed.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from repro.environment.resolvers.deb import control_text
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package

TARGET = "/run/repro/apt"  # where a build binds the folder
# The packages were verified against the lock when they were fetched, hence trusted=yes.
SOURCES = f"deb [trusted=yes] file:{TARGET} ./\n"
# dpkg need not wait for the disk: a layer is kept whole or not at all, and synced when it is kept.
CONFIG = f"""\
// apt installs the locked packages in this folder and knows no other source.
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Dir::Etc::SourceList "{TARGET}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "/tmp/apt/lists";
Dir::Cache "/tmp/apt/cache";
Dir::Log "/tmp/apt/log";
DPkg::Options {{ "--force-unsafe-io"; }};
"""
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP})


def flat_repository(packages: Iterable[Package], downloads: Downloads, folder: Path) -> None:
    """Fill ``folder``, which is made and must be empty, with a flat repository of ``packages``.

    Each package must have been fetched just before, and so verified (`archive.fetch_packages`).

    Raises:
        DataError: a ``.deb`` is damaged, or is another package than the lock says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stanzas = []
    for package in sorted(packages):
        file = downloads.path(package.digest)
        stanzas.append(_stanza(package, control_text(file, package.file_name)))
        link_or_copy(file, folder / package.file_name)
    _write(folder / "Packages", "\n".join(stanzas))
    _write(folder / "sources.list", SOURCES)
    _write(folder / "apt.conf", CONFIG)
    os.chmod(folder, 0o755)  # noqa: S103 - apt in the container reads it
    os.utime(folder, (0, 0))


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the cached file ``source``: a hard link, or a copy with the same mode and time."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)
        os.chmod(target, 0o444)
        os.utime(target, (0, 0))


def _stanza(package: Package, control: str) -> str:
    """Return the package's entry in Packages; DataError where the ``.deb`` is another package."""
    fields = dict(line.split(": ", 1) for line in control.splitlines() if line[:1].strip() and ": " in line)
    found = (fields.get("Package"), fields.get("Version"), fields.get("Architecture"))
    if found != (package.name, package.version, package.architecture):
        raise DataError(
            f"{package.file_name} is not the package that the lock says",
            why=f"it calls itself {' '.join(str(part) for part in found)}",
            hint="resolve it anew with `repro lock --upgrade`",
        )
    extra = {"Filename": f"./{package.file_name}", "Size": package.size, "SHA256": package.digest.hex}
    return "\n".join([control.strip(), *(f"{name}: {value}" for name, value in extra.items()), ""])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.chmod(path, 0o644)
    os.utime(path, (0, 0))
