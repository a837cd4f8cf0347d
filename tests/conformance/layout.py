"""Files of a build context, made from their description in `case.json`: what a repository cannot hold by itself."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import shutil
import socket
import tarfile
import zlib
from pathlib import Path

from tests.conformance.cases import Case, CaseError, Entries

_FIRST_TIME = 1_500_000_000  # seconds since 1970
_COMPRESS = {"": bytes, "gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress}


def lay_out(case: Case, folder: Path, owner: tuple[int, int] | None = None) -> Path:
    """Make ``folder`` with the case's Dockerfiles, its ``context`` and what stands beside it; return it.

    Modes do not depend on the umask. ``owner`` gets all but the entries with an owner of their own. Each case has a
    time of its own for its files: Docker takes a file for unchanged that has the name, size and time of an earlier one.
    """
    time = file_time(case)
    context = folder / "context"
    context.mkdir(parents=True)
    for file in case.folder.glob("Dockerfile*"):
        shutil.copyfile(file, folder / file.name)
    if (case.folder / "context").is_dir():
        shutil.copytree(case.folder / "context", context, symlinks=True, dirs_exist_ok=True)
    for path in [folder, *sorted(folder.rglob("*"))]:
        if owner is not None:
            os.lchown(path, *owner)
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            os.utime(path, (time, time))
    for place, entries in ((context, case.context), (folder, case.beside)):
        for name, given in entries.items():
            make_entry(place, name, given, time, owner)
    return folder


def file_time(case: Case) -> int:
    """Return the time of a case's files, in seconds since 1970: another one as soon as anything of the case changes."""
    said = b"".join(path.read_bytes() for path in sorted(case.folder.rglob("*")) if path.is_file())
    return _FIRST_TIME + zlib.crc32(case.name.encode() + said) % 100_000_000


def make_entry(place: Path, name: str, given: object, time: int, owner: tuple[int, int] | None = None) -> None:
    """Make one file below ``place``; a ``name`` that ends in a slash is a folder, a plain text is a file's content."""
    entry: Entries = {"text": given} if isinstance(given, str) else dict(given)
    path = place / name
    for parent in reversed(path.relative_to(place).parents[:-1]):
        if not (place / parent).is_dir():
            make_entry(place, f"{parent}/", {}, time, owner)
    mode = int(entry.get("mode", "0755" if name.endswith("/") else "0644"), 8)
    if name.endswith("/"):
        path.mkdir(exist_ok=True)
    elif "link" in entry:
        os.symlink(entry["link"], path)
    elif "hard" in entry:
        os.link(place / entry["hard"], path)
        return
    elif "fifo" in entry:
        os.mkfifo(path)
    elif "socket" in entry:
        _bind(path)
    else:
        with open(path, "wb") as file:
            file.write(content(entry))
            file.truncate(entry.get("size"))
    ids = (entry["uid"], entry["gid"]) if "uid" in entry else owner
    if ids is not None:
        os.lchown(path, *ids)
    if "link" not in entry:
        path.chmod(mode)
        for key, value in entry.get("xattrs", {}).items():
            os.setxattr(path, key, base64.b64decode(value[7:]) if value.startswith("base64:") else value.encode())
    os.utime(path, (time, time), follow_symlinks=False)


def content(entry: Entries) -> bytes:
    """Return the bytes of a file: ``text``, ``base64``, or a ``tar`` of entries, with ``compress``."""
    if "tar" in entry:
        return _COMPRESS[entry.get("compress", "")](tar(entry["tar"]))
    if "base64" in entry:
        return base64.b64decode(entry["base64"])
    if "text" in entry or "size" in entry:
        return _COMPRESS[entry.get("compress", "")](entry.get("text", "").encode())
    raise CaseError(f"an entry says not what it is: {entry}")


def tar(entries: Entries) -> bytes:
    """Return a tar of entries written as those of a context, in their order, names as they stand."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, given in entries.items():
            entry: Entries = {"text": given} if isinstance(given, str) else dict(given)
            member = tarfile.TarInfo(name)
            member.mtime = entry.get("mtime", _FIRST_TIME)
            member.mode = int(entry.get("mode", "0755" if name.endswith("/") else "0644"), 8)
            member.uid, member.gid = entry.get("uid", 0), entry.get("gid", 0)
            member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in entry.get("xattrs", {}).items()}
            data = b""
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif "link" in entry:
                member.type, member.linkname = tarfile.SYMTYPE, entry["link"]
            elif "hard" in entry:
                member.type, member.linkname = tarfile.LNKTYPE, entry["hard"]
            elif "fifo" in entry:
                member.type = tarfile.FIFOTYPE
            elif "device" in entry:
                member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, *entry["device"]
            else:
                data = content(entry)
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _bind(path: Path) -> None:
    """Leave a socket at ``path``, through a short name: a socket's address has at most 107 bytes."""
    here = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)
