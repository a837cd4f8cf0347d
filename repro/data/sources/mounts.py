"""Where addresses of NFS and SMB servers are mounted on this host: proc(5), "/proc/pid/mountinfo"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from repro.names import DataUri

_PORTS = {"nfs": "2049", "smb": "445"}
_ESCAPED = re.compile(r"\\([0-7]{3})")
# host:/export and //host/share, as mount(8) takes them; an IPv6 address is in brackets
_SOURCES = {
    "nfs": re.compile(r"(?P<host>\[[^]]+\]|[^/:\[]+):(?P<path>/.*)"),
    "smb": re.compile(r"//(?P<host>\[[^]]+\]|[^/\[]+)(?P<path>/[^/]+)(?P<below>/.*)?"),
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo: what is mounted at ``point``. Of a server's folder: its scheme, host, port and path there.

    ``port`` is empty where it is the protocol's; ``scheme`` is empty for what is of no server.
    """

    point: str
    scheme: str = ""
    host: str = ""
    port: str = ""
    path: str = ""

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """Return what a line says; None for one that is none.

        Its fields: mount ID, parent's ID, device, root, mount point, options, optional fields, ``-``, type, source,
        options of the file system. ``root`` is the folder of the file system that is seen at the mount point.
        """
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(more) < 3:
            return None
        point = _plain(fields[4])
        scheme = _scheme(more[0])
        found = _SOURCES[scheme].fullmatch(_plain(more[1])) if scheme else None
        if found is None:
            return cls(point)
        root, path = _plain(fields[3]), found["path"]
        below = (found["below"] or "") if scheme == "smb" else ""
        if not f"{root}/".startswith(f"{below}/"):  # cifs has what is below the share in the source, and in the root
            path += below
        port = next((option[5:] for option in more[2].split(",") if option.startswith("port=")), "")
        port = "" if port in ("0", _PORTS[scheme]) else port
        return cls(point, scheme, found["host"].strip("[]").lower(), port, _path(f"{path}/{root}", scheme))

    def place(self, uri: DataUri) -> str | None:
        """Return the path of this host at which an address is, if it is below the mounted folder; else None."""
        found = re.fullmatch(r"\[?(?P<host>.*?)\]?(?::(?P<port>\d+))?", uri.host.lower())
        if found is None or uri.scheme != self.scheme or found["host"] != self.host:
            return None
        port = found["port"] or ""
        if ("" if port == _PORTS[self.scheme] else port) != self.port:
            return None
        path = _path(uri.path, self.scheme)
        if not f"{path}/".startswith(f"{self.path}/"):
            return None
        return self.point.rstrip("/") + path[len(self.path) :] or "/"


def mounted(uri: DataUri, mountinfo: str | None = None) -> Path | None:
    """Return the path of this host at which an ``nfs://`` or ``smb://`` address is; None where it is not mounted.

    Hosts are compared as they are written, but for the case of letters. Of several mounts the nearest counts, then the
    last; what another file system hides does not. ``mountinfo`` is the text of /proc/self/mountinfo, read where None.
    """
    if uri.scheme not in _SOURCES or any(part in (".", "..") for part in uri.path.split("/")):
        return None
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    mounts = [mount for line in mountinfo.splitlines() if (mount := Mount.parse(line)) is not None]
    for _, mount in sorted(enumerate(mounts), key=lambda one: (len(one[1].path), one[0]), reverse=True):
        path = mount.place(uri)
        if path is not None and _seen(path, mounts) is mount:
            return Path(path)
    return None


def _seen(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a path is on: the one with the longest mount point above it, of those the last."""
    above = [mount for mount in mounts if f"{path}/".startswith(f"{mount.point.rstrip('/')}/")]
    return max(reversed(above), key=lambda mount: len(mount.point), default=None)


def _scheme(kind: str) -> str:
    """Return the scheme of a file system's type; empty for others.

    A FUSE file system counts where its name says what it speaks: that of sshfs has a source like NFS, too.
    """
    if kind in ("nfs", "nfs4") or (kind.startswith("fuse.") and "nfs" in kind):
        return "nfs"
    if kind in ("cifs", "smb3") or (kind.startswith("fuse.") and ("smb" in kind or "cifs" in kind)):
        return "smb"
    return ""


def _path(path: str, scheme: str) -> str:
    """Return a path without a slash at its end; the name of an SMB share, which knows no case, in lower case."""
    parts = [part for part in path.split("/") if part]
    if scheme == "smb" and parts:
        parts[0] = parts[0].lower()
    return "".join(f"/{part}" for part in parts)


def _plain(field: str) -> str:
    """Return a field without the escapes of the kernel: blank, tab, newline, backslash and # as three octal digits."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
