"""Conda packages and channels made from nothing (conda's "Package specification", `.conda` and `.tar.bz2`)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER = "/build/placehold_placehold_placehold_placehold_placehold_placehold"
MTIME = 1_600_000_000  # of every member


@dataclass(frozen=True)
class File:
    """A member of a package: its bytes, or where a link leads; ``placeholder`` is how its prefix is to be replaced."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    link: str | None = None
    hard: bool = False
    placeholder: str | None = None  # "text" or "binary"
    listed: bool = True  # in info/paths.json


@dataclass(frozen=True)
class Made:
    """A package to be made; ``index`` and ``info`` go over what ``info/`` would hold otherwise."""

    name: str
    version: str = "1.0"
    depends: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    subdir: str = "linux-64"
    build: str = "h0_0"
    index: dict[str, object] = field(default_factory=dict)
    info: dict[str, bytes] = field(default_factory=dict)
    form: str = ".conda"
    omit: tuple[str, ...] = ()  # names in info/ that it lacks

    @property
    def file(self) -> str:
        """The package's file name."""
        return f"{self.name}-{self.version}-{self.build}{self.form}"

    def document(self) -> dict[str, object]:
        """Return info/index.json."""
        noarch = {"noarch": "generic"} if self.subdir == "noarch" else {}
        return {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "subdir": self.subdir,
            **noarch,
            **self.index,
        }

    def data(self) -> bytes:
        """Return the package's bytes."""
        info = [
            File(f"info/{name}", data)
            for name, data in {**self._metadata(), **self.info}.items()
            if name not in self.omit
        ]
        if self.form == ".tar.bz2":
            return _tar([*info, *self.files], "w:bz2")
        stem = self.file.removesuffix(".conda")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as package:
            package.writestr(zipfile.ZipInfo("metadata.json"), '{"conda_pkg_format_version": 2}')
            package.writestr(zipfile.ZipInfo(f"pkg-{stem}.tar.zst"), _zstd(_tar(self.files)))
            package.writestr(zipfile.ZipInfo(f"info-{stem}.tar.zst"), _zstd(_tar(info)))
        return out.getvalue()

    def _metadata(self) -> dict[str, bytes]:
        paths = [_path_entry(file) for file in self.files if file.listed]
        return {
            "index.json": json.dumps(self.document()).encode(),
            "paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        }


def _path_entry(file: File) -> dict[str, object]:
    digest = {"sha256": hashlib.sha256(file.data).hexdigest(), "size_in_bytes": len(file.data)}
    kind = "softlink" if file.link is not None and not file.hard else "hardlink"
    placed = {"prefix_placeholder": PLACEHOLDER, "file_mode": file.placeholder} if file.placeholder else {}
    return {"_path": file.path, "path_type": kind, **(digest if file.link is None else {}), **placed}


def _tar(files: tuple[File, ...] | list[File], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for file in files:
            member = tarfile.TarInfo(file.path)
            member.mode, member.size = file.mode, len(file.data)
            member.mtime = MTIME
            if file.link is not None:
                member.type, member.linkname = (tarfile.LNKTYPE if file.hard else tarfile.SYMTYPE), file.link
            tar.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def make_channel(folder: Path, *packages: Made, drop: tuple[str, ...] = ()) -> Path:
    """Write ``packages`` and their repodata below ``folder``; ``drop`` names fields that the repodata lacks."""
    repodata: dict[str, dict[str, dict]] = {"linux-64": {}, "noarch": {}}
    for package in packages:
        data = package.data()
        target = folder / package.subdir / package.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digests = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest(), "size": len(data)}
        record = {**package.document(), **digests}
        repodata.setdefault(package.subdir, {})[package.file] = {k: v for k, v in record.items() if k not in drop}
    for subdir, records in repodata.items():
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        document = {
            "info": {"subdir": subdir},
            "packages": {name: record for name, record in records.items() if name.endswith(".tar.bz2")},
            "packages.conda": {name: record for name, record in records.items() if name.endswith(".conda")},
            "repodata_version": 1,
        }
        (folder / subdir / "repodata.json").write_text(json.dumps(document))
    return folder
