"""dpkg's database for packages that were unpacked without it (dpkg(1), "FILES"; deb-triggers(5))."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from repro.dataclass import dataclass
from repro.environment.resolvers.control import parse_stanza, required
from repro.errors import DataError
from repro.oci import tar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from repro.environment.resolvers.deb import Deb, Member

ADMIN = "var/lib/dpkg"
_FORMAT = b"1\n"  # of info/: names with an architecture for packages that are Multi-Arch: same


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package whose files are in the tree; ``names`` as dpkg lists them, ``digests`` the conffiles' MD5."""

    fields: Mapping[str, str]
    stanza: str
    control: tuple[Member, ...]
    names: Sequence[str]
    digests: Mapping[str, str]

    @property
    def name(self) -> str:
        """The package's name."""
        return self.fields["Package"]

    @property
    def info_name(self) -> str:
        """Its name in info/ and in triggers: with the architecture where several may be installed at once."""
        if self.fields.get("Multi-Arch") == "same":
            return f"{self.name}:{self.fields['Architecture']}"
        return self.name

    def has(self, control_file: str) -> bool:
        """Return whether its control archive holds ``control_file``."""
        return any(file.name == control_file for file in self.control)


def read_package(deb: Deb, names: Sequence[str]) -> Unpacked:
    """Return what dpkg keeps of the package, from its control archive and the conffiles' bytes."""
    files = {member.name: member for member in deb.control if member.kind == tar.FILE}
    nested = next((name for name in files if "/" in name), None)
    if nested is not None:
        raise DataError(f"{deb.name} has a control file in a folder: {nested!r}")
    if "control" not in files:
        raise DataError(f"{deb.name} has no control file")
    stanza = files.pop("control").data.decode("utf-8", "surrogateescape")
    fields = parse_stanza(stanza)
    for name in ("Package", "Version", "Architecture"):
        required(fields, name, f"the control file of {deb.name}")
    conffiles = _conffiles(os.fsdecode(files["conffiles"].data)) if "conffiles" in files else []
    contents = {f"/{member.name}": member.data for member in deb.data if member.kind == tar.FILE}
    digests = {  # MD5 is the database's format
        path: hashlib.md5(contents[path], usedforsecurity=False).hexdigest() for path in conffiles if path in contents
    }
    return Unpacked(fields, stanza.strip("\n"), tuple(files[name] for name in sorted(files)), names, digests)


def _conffiles(text: str) -> list[str]:
    """Return the paths of a conffiles file; a line with a flag (remove-on-upgrade) names none of ours."""
    return [line.strip() for line in text.splitlines() if line.startswith("/")]


def write_database(tree: Path, packages: Sequence[Unpacked]) -> None:
    """Write dpkg's database below ``tree``: every package unpacked, none configured.

    The folders that the package dpkg brings are there already; times of control files are kept.
    """
    admin = tree / ADMIN
    for folder in ("info", "updates", "triggers"):
        _make_folder(admin / folder)
    _write(admin / "info" / "format", _FORMAT)
    _write(admin / "available", b"")
    for package in packages:
        _write_info(admin / "info", package)
    _write_triggers(admin / "triggers", packages)
    status = "".join(f"{_status(package)}\n\n" for package in sorted(packages, key=lambda item: item.name))
    _write(admin / "status", status.encode("utf-8", "surrogateescape"))


def _make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents with mode 755, whatever the umask; those that are there stay as they are."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file with ``mode``, whatever the umask."""
    path.write_bytes(data)
    path.chmod(mode)


def _write_info(folder: Path, package: Unpacked) -> None:
    listing = "".join(f"{name}\n" for name in package.names)
    _write(folder / f"{package.info_name}.list", os.fsencode(listing))
    for file in package.control:
        path = folder / f"{package.info_name}.{file.name}"
        _write(path, file.data, file.mode)
        os.utime(path, ns=(file.mtime, file.mtime))


def _status(package: Unpacked) -> str:
    """Return the package's stanza as dpkg would keep it after unpacking."""
    head, _, rest = package.stanza.partition("\n")
    lines = [head, "Status: install ok unpacked", *([rest] if rest else [])]
    if package.digests:
        lines += ["Conffiles:", *(f" {path} {digest}" for path, digest in package.digests.items())]
    return "\n".join(lines)


def _write_triggers(folder: Path, packages: Iterable[Unpacked]) -> None:
    """Write who is interested in which trigger: ``File`` for paths, one file for each name."""
    paths: list[str] = []
    names: dict[str, list[str]] = {}
    for package in packages:
        text = next((os.fsdecode(file.data) for file in package.control if file.name == "triggers"), "")
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            who = package.info_name + ("/noawait" if words[0] == "interest-noawait" else "")
            if words[1].startswith("/"):
                paths.append(f"{words[1]} {who}\n")
            else:
                names.setdefault(words[1], []).append(f"{who}\n")
    _write(folder / "File", os.fsencode("".join(paths)))
    for name, lines in sorted(names.items()):
        _write(folder / name, os.fsencode("".join(lines)))
    _write(folder / "Unincorp", b"")
