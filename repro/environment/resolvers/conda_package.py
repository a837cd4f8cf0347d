"""Conda packages read without trust: what they want installed, and their files under numbers of our own.

A package is a zip of two tars (``.conda``) or one tar (``.tar.bz2``); ``info/`` describes the rest (conda-build,
"Conda package specification"). No path of a package is ever used on the host: each file's bytes go to a numbered file
in a folder of ours, links are only remembered, and a path that leaves the prefix is refused.
"""

from __future__ import annotations

import bz2
import json
import shutil
import tarfile
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, cast

from repro.dataclass import dataclass
from repro.errors import DataError
from repro.oci.compression import Measured, decompressed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repro.digest import Json

_LARGEST_INFO: Final = 64 << 20  # bytes of one file in info/
_OLD_PLACEHOLDER: Final = "/opt/anaconda1anaconda2anaconda3"  # of info/has_prefix lines that name a file alone
_HINT: Final = "the package is damaged or hostile: take another build of it"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the tar: ``file`` holds its bytes, or it is a link to ``target``."""

    file: Path | None
    target: str = ""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Installs:
    """A path to be installed: its member, and the build's prefix in it that is to be replaced, if any.

    ``member`` is None for a folder.
    """

    path: str
    member: Member | None
    placeholder: str | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package as it came.

    Attributes:
        index: info/index.json: name, version, build, depends.
        installs: what it installs, sorted by path.
        entry_points: of a noarch Python package: ``name = module:function``.
        noarch_python: its ``site-packages/`` and ``python-scripts/`` are to be moved to where Python has them.
    """

    index: Mapping[str, Json]
    installs: tuple[Installs, ...]
    entry_points: tuple[str, ...]
    noarch_python: bool

    def text(self, key: str) -> str:
        """Return a text of the index; empty if it has none."""
        value = self.index.get(key)
        return value if isinstance(value, str) else ""

    @property
    def depends(self) -> tuple[str, ...]:
        """The names of the packages that it needs, sorted."""
        value = self.index.get("depends")
        specs = [spec.split() for spec in value if isinstance(spec, str)] if isinstance(value, list) else []
        return tuple(sorted({words[0].rpartition("::")[2] for words in specs if words}))


def unpack(path: Path, name: str, folder: Path) -> Unpacked:
    """Return what the package file at ``path`` holds; its files' bytes go into ``folder``, which is made.

    Args:
        path: the package, its digest verified just before.
        name: its file name, which says what form it has.
        folder: is made, and must be on the file system of the prefix.

    Raises:
        DataError: it is no conda package, a path leaves the prefix, or what it lists is not in it.
        HostError: it is compressed with zstd, and nothing here can read that.
    """
    folder.mkdir()
    info: dict[str, bytes] = {}
    members: dict[str, Member] = {}
    try:
        with _tars(path, name) as tars:
            for tar in tars:
                _read_tar(tar, folder, info, members)
        return _described(info, members)
    except DataError as error:
        raise DataError(
            f"{name} cannot be installed: {error.message}", why=error.why, hint=error.hint or _HINT
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, RecursionError) as error:
        raise DataError(f"{name} is no conda package", why=str(error), hint=_HINT) from error


@contextmanager
def _tars(path: Path, name: str) -> Iterator[Iterator[tarfile.TarFile]]:
    """Give the tars in a package, the description first."""
    with open(path, "rb") as raw:
        if name.endswith(".tar.bz2"):
            with bz2.open(raw) as plain:
                yield iter([_stream(Measured(plain, raw.tell))])
        else:
            with zipfile.ZipFile(raw) as package:
                yield _inner(package)


def _inner(package: zipfile.ZipFile) -> Iterator[tarfile.TarFile]:
    for kind in ("info-", "pkg-"):
        names = [name for name in package.namelist() if name.startswith(kind) and name.endswith(".tar.zst")]
        if len(names) != 1:
            raise DataError(f"it has {len(names)} parts {kind}*.tar.zst instead of one")
        if package.getinfo(names[0]).compress_type != zipfile.ZIP_STORED:  # else a bomb could be packed twice
            raise DataError(f"its part {names[0]} is compressed a second time")
        with package.open(names[0]) as stream:
            yield _stream(decompressed(stream))


def _stream(source: object) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|", encoding="utf-8", errors="strict")


def _read_tar(tar: tarfile.TarFile, folder: Path, info: dict[str, bytes], members: dict[str, Member]) -> None:
    """Add what ``tar`` holds to ``info`` (files below info/) and ``members``."""
    for number, entry in enumerate(tar):
        if entry.isdir():
            continue
        path = clean(entry.name)
        if path.startswith("info/"):
            if entry.isfile() and "/" not in path.removeprefix("info/"):  # recipes and tests are below, and large
                if entry.size > _LARGEST_INFO:
                    raise DataError(f"{path} has {entry.size} bytes")
                info[path.removeprefix("info/")] = _opened(tar, entry).read()
        elif entry.issym():
            members[path] = Member(None, entry.linkname)
        elif entry.islnk():
            members[path] = _copied(members, clean(entry.linkname), path, folder / str(number))
        elif entry.isfile():
            file = folder / str(number)
            with open(file, "xb") as out:
                shutil.copyfileobj(_opened(tar, entry), out, 1 << 20)
            members[path] = Member(file, executable=bool(entry.mode & 0o111))
        else:
            raise DataError(f"{path!r} is a device or a pipe")


def _opened(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(entry)
    if file is None:
        raise AssertionError(f"{entry.name} is a regular file")
    return file


def _copied(members: Mapping[str, Member], source: str, path: str, file: Path) -> Member:
    """Return a hard link's own copy of the member that it names; links of links are as good."""
    found = members.get(source)
    if found is None:
        raise DataError(f"{path!r} is a hard link to {source!r}, which does not come before it")
    if found.file is None:
        return found
    shutil.copyfile(found.file, file)
    return Member(file, executable=found.executable)


def clean(name: str) -> str:
    """Return a package's path as the prefix has it; DataError where it leaves the prefix or is none."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise DataError(f"the path {name!r} leads out of the prefix")
    return "/".join(parts)


def _described(info: Mapping[str, bytes], members: Mapping[str, Member]) -> Unpacked:
    """Return the package that ``info`` describes."""
    index = _document(info, "index.json")
    link = _document(info, "link.json") if "link.json" in info else {}
    noarch = _mapping(link.get("noarch"))
    kind = index.get("noarch") or noarch.get("type")
    points = noarch.get("entry_points")
    listed = _paths(_document(info, "paths.json")) if "paths.json" in info else _old_paths(info)
    installs = {}
    for path, folder, placeholder, binary in listed:
        if not folder and path not in members:
            raise DataError(f"it lists {path!r}, which it has not")
        installs[path] = Installs(path, None if folder else members[path], placeholder, binary)
    return Unpacked(
        index,
        tuple(installs[path] for path in sorted(installs)),
        tuple(str(point) for point in points) if isinstance(points, list) else (),
        kind == "python",
    )


def _paths(document: Mapping[str, Json]) -> Iterator[tuple[str, bool, str | None, bool]]:
    """Yield what info/paths.json lists: path, whether it is a folder, placeholder, whether that is in binary data."""
    paths = document.get("paths")
    for entry in paths if isinstance(paths, list) else []:
        fields = _mapping(entry)
        path, placeholder = fields.get("_path"), fields.get("prefix_placeholder")
        if not isinstance(path, str):
            raise DataError("info/paths.json names no path")
        kind = fields.get("path_type")
        text = placeholder if isinstance(placeholder, str) and placeholder else None
        yield clean(path), kind == "directory", text, fields.get("file_mode") == "binary"


def _old_paths(info: Mapping[str, bytes]) -> Iterator[tuple[str, bool, str | None, bool]]:
    """Yield the same of a package from before paths.json: info/files and info/has_prefix."""
    prefixes: dict[str, tuple[str, bool]] = {}
    for line in info.get("has_prefix", b"").decode().splitlines():
        words = line.split()
        if len(words) == 3:  # placeholder, mode, path
            prefixes[clean(words[2].strip("\"'"))] = (words[0].strip("\"'"), words[1] == "binary")
        elif line.strip():
            prefixes[clean(line.strip())] = (_OLD_PLACEHOLDER, False)
    for line in info.get("files", b"").decode().splitlines():
        if line.strip():
            path = clean(line.strip())
            placeholder, binary = prefixes.get(path, (None, False))
            yield path, False, placeholder, binary


def _document(info: Mapping[str, bytes], name: str) -> Mapping[str, Json]:
    if name not in info:
        raise DataError(f"it has no info/{name}")
    return _mapping(json.loads(info[name]))


def _mapping(value: object) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", value) if isinstance(value, dict) else {}
