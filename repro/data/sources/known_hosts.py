"""Which host key a server must show: the known_hosts files of OpenSSH (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from repro.data.sources.model import DeniedError
from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SSH_PORT = 22
_REVOKED = "@revoked"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key: its type (``ssh-ed25519``) and its bytes."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint as ssh(1) prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A line of a file: for which hosts the key stands, and where the line is."""

    patterns: tuple[str, ...]
    key: HostKey
    revoked: bool
    place: str

    def covers(self, name: str) -> bool:
        """Return whether the line speaks of ``name``: a host, ``[host]:port`` where the port is not 22."""
        found = False
        for pattern in self.patterns:
            if pattern.startswith("!"):
                if _wildcard(pattern[1:], name):
                    return False
            elif _hashed(pattern, name) if pattern.startswith("|") else _wildcard(pattern, name):
                found = True
        return found


def read_known_hosts(files: Iterable[Path]) -> tuple[KnownKey, ...]:
    """Return the lines of ``files`` that can be used, those that are there; certificate authorities are not."""
    return tuple(line for file in files for line in _lines(file))


def kinds_known(known: Sequence[KnownKey], name: str) -> list[str]:
    """Return the types of the keys that are known of ``name``: the server is to show one of these."""
    return list(dict.fromkeys(line.key.kind for line in known if not line.revoked and line.covers(name)))


def name_of(host: str, port: int) -> str:
    """Return how known_hosts spells a host and its port."""
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def check_host_key(known: Sequence[KnownKey], host: str, port: int, shown: HostKey) -> None:
    """Return where ``shown`` is the key that is known of the server.

    As ssh(1) does, a line for the host without the port counts too, where none with the port is there.

    Raises:
        DeniedError: no key is known of it, or another, or the key was revoked. Nothing was sent to the server.
    """
    name = name_of(host, port)
    lines = [line for line in known if line.covers(name)]
    if not lines and port != SSH_PORT:
        lines = [line for line in known if line.covers(host.lower()) and line.key == shown]
    if any(line.revoked and line.key == shown for line in lines):
        raise DeniedError(
            f"the host key of {name} was revoked",
            why=f"it shows {shown}, which known_hosts marks as revoked",
            hint="ask who runs the server",
        )
    if any(line.key == shown and not line.revoked for line in lines):
        return
    others = [line for line in lines if line.key.kind == shown.kind and not line.revoked]
    if others:
        raise DeniedError(
            f"THE HOST KEY OF {name} IS NOT THE ONE THAT IS KNOWN: somebody may stand between",
            why=f"it shows {shown}, and {others[0].place} has {others[0].key.fingerprint}",
            hint=f"ask who runs the server; only if its key was changed there: ssh-keygen -R '{name}'",
        )
    port_option = "" if port == SSH_PORT else f"-p {port} "
    raise DeniedError(
        f"the host key of {name} is not known here",
        why=f"it shows {shown}",
        hint=f"compare that with the server's own, then: ssh-keyscan {port_option}{host} >> ~/.ssh/known_hosts",
    )


def _lines(file: Path) -> Iterable[KnownKey]:
    try:
        text = file.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DeniedError(f"{file} cannot be read", why=error.strerror) from error
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        revoked = fields[:1] == [_REVOKED]
        if revoked:
            del fields[0]
        if len(fields) < 3 or fields[0].startswith(("#", "@")):
            continue
        try:
            key = HostKey(fields[1], base64.b64decode(fields[2], validate=True))
        except binascii.Error:
            continue
        yield KnownKey(tuple(fields[0].split(",")), key, revoked, f"{file}:{number}")


def _wildcard(pattern: str, name: str) -> bool:
    """Return whether a pattern of ``*`` and ``?`` matches; brackets stand for themselves."""
    regex = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name) is not None


def _hashed(pattern: str, name: str) -> bool:
    """Return whether ``|1|salt|hash`` is the HMAC-SHA1 of ``name``."""
    try:
        _, version, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest, validate=True)
        made = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    except (ValueError, binascii.Error):
        return False
    return version == "1" and hmac.compare_digest(made, wanted)
