"""A small signed archive in a folder, and the .deb files for it, made without dpkg."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pysequoia

from repro.environment.resolvers.deb import control_text
from repro.environment.resolvers.source import ArchiveSource, debian_architecture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repro.data.cache import Downloads
    from repro.environment.model import Package

MTIME = 1_700_000_000


def key(name: str = "archive") -> pysequoia.Tsk:
    """Return a signing key, one for each name."""
    return _make_key(name)


@cache
def _make_key(name: str) -> pysequoia.Tsk:
    return pysequoia.Tsk.generate(user_id=f"{name} <{name}@example.invalid>")


def certificate(name: str = "archive") -> bytes:
    """Return the public half of a key, in binary form."""
    return bytes(key(name).extract_certificate())


@dataclass(frozen=True)
class Item:
    """A member of a tar archive."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    uid: int = 0
    gid: int = 0
    mtime: int = MTIME


def folder(name: str, mode: int = 0o755, **more) -> Item:
    """Return a folder for a package's data."""
    return Item(name, mode=mode, kind=tarfile.DIRTYPE, **more)


def tar(*items: Item) -> bytes:
    """Return a tar archive of ``items``, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.mode, info.mtime, info.linkname = item.kind, item.mode, item.mtime, item.link
            info.uid, info.gid, info.size = item.uid, item.gid, len(item.data)
            archive.addfile(info, io.BytesIO(item.data))
    return out.getvalue()


def _zstd(raw: bytes) -> bytes:
    import zstandard

    return zstandard.compress(raw)


PACKERS = {"xz": lzma.compress, "gz": lambda raw: zlib.compress(raw, wbits=31), "": bytes, "zst": _zstd}


def ar(*members: tuple[str, bytes], mtime: int = MTIME) -> bytes:
    """Return an ar archive of ``members``."""
    out = bytearray(b"!<arch>\n")
    for name, data in members:
        out += f"{name:<16}{mtime:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return bytes(out)


def control(name: str, version: str = "1", **fields: str) -> str:
    """Return a control stanza; underscores in field names become hyphens."""
    more = "".join(f"{field.replace('_', '-')}: {value}\n" for field, value in fields.items())
    architecture = "" if "Architecture" in fields else f"Architecture: {debian_architecture()}\n"
    return f"Package: {name}\nVersion: {version}\n{architecture}{more}Description: {name}\n"


def deb(
    stanza: str, *data: Item, control_files: tuple[Item, ...] = (), compression: str = "xz", mtime: int = MTIME
) -> bytes:
    """Return a .deb."""
    pack = PACKERS[compression]
    suffix = f".{compression}" if compression else ""
    inner = tar(Item("./control", stanza.encode()), *control_files)
    return ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{suffix}", pack(inner)),
        (f"data.tar{suffix}", pack(tar(*data))),
        mtime=mtime,
    )


class SmallArchive:
    """An archive below ``root``: `add` packages to a suite, `publish` it, then change bytes to do harm.

    It is shaped like Debian's; with ``archive`` ubuntu like Ubuntu's, whose security suite lies with the others.
    """

    def __init__(self, root: Path, archive: str = "debian") -> None:
        self.root = root
        self.archive = archive
        self.stanzas: dict[tuple[str, str], list[str]] = {}

    @property
    def url(self) -> str:
        """The archive's base URL."""
        return self.root.as_uri()

    def source(
        self, *suites: str, keyring: bytes | None = None, optional: frozenset[str] = frozenset(), **more
    ) -> ArchiveSource:
        """Return the archive as a source of ``suites`` (bookworm alone by default); the first one is the main one."""
        named = suites or ("bookworm",)
        ring = certificate() if keyring is None else keyring
        mirrors = ((self.url, named),)
        return ArchiveSource(self.archive, named[0], mirrors, ring, optional, debian_architecture(), **more)

    def add(
        self, stanza: str, data: bytes, suite: str = "bookworm", *, component: str = "main", epochs: bool = False
    ) -> Path:
        """Put a .deb into the pool and its stanza into the suite; with ``epochs`` its file's name has the epoch."""
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" "))
        version = fields["Version"].replace(":", "%3a") if epochs else fields["Version"].rpartition(":")[2]
        name = f"pool/{component}/{fields['Package']}_{version}_{fields['Architecture']}.deb"
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        place = f"Filename: {name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        self.stanzas.setdefault((suite, component), []).append(stanza + place)
        return file

    def add_all(self, packages: Iterable[Package], downloads: Downloads, suite: str = "bookworm") -> None:
        """Put packages that were downloaded into the suite, as they are."""
        for package in packages:
            file = downloads.path(package.digest)
            self.add(control_text(file, package.file_name).rstrip("\n") + "\n", file.read_bytes(), suite)

    def withdraw(self, name: str, suite: str = "bookworm", component: str = "main") -> None:
        """Take a package out of the pool and the suite, as a mirror does that has moved on."""
        stanzas = self.stanzas[suite, component]
        for stanza in [stanza for stanza in stanzas if stanza.startswith(f"Package: {name}\n")]:
            stanzas.remove(stanza)
            (self.root / stanza.partition("Filename: ")[2].partition("\n")[0]).unlink()

    def publish(self, suite: str = "bookworm", *, signer: str = "archive", **fields: str) -> Path:
        """Write the Packages.xz of each of the suite's components and its signed InRelease; return the latter."""
        folder_ = self.root / "dists" / suite
        head = {"Origin": "Test", "Suite": f"test-{suite}", "Codename": suite, "Date": "Sat, 11 Jul 2026 10:16:37 UTC"}
        if self.archive == "ubuntu":
            head = {**head, "Origin": "Ubuntu", "Label": "Ubuntu", "Suite": suite, "Codename": suite.partition("-")[0]}
        text = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in {**head, **fields}.items())
        text += "SHA256:\n"
        for component in sorted({"main", *(component for named, component in self.stanzas if named == suite)}):
            path = f"{component}/binary-{debian_architecture()}/Packages.xz"
            plain = "\n".join(self.stanzas.get((suite, component), [])).encode()
            packages = lzma.compress(plain)
            file = folder_ / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(packages)
            text += f" {hashlib.sha256(packages).hexdigest()} {len(packages):>8} {path}\n"
            # apt takes no index whose uncompressed form has no sum, though nobody serves that file
            text += f" {hashlib.sha256(plain).hexdigest()} {len(plain):>8} {path.removesuffix('.xz')}\n"
        signed = pysequoia.sign(key(signer).signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR)
        release = folder_ / "InRelease"
        release.write_bytes(signed)
        return release
