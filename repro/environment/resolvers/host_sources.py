"""What apt on this host is configured for, in both forms of sources.list(5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from repro.dataclass import dataclass
from repro.environment.resolvers.control import parse_stanzas
from repro.errors import DataError, LockError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMES = ("http", "https", "file")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")


@dataclass(frozen=True, slots=True)
class HostSource:
    """One URI of one apt source, without a slash at the end."""

    base: str
    suites: tuple[str, ...]
    components: tuple[str, ...]

    def folders(self) -> frozenset[str]:
        """Return the names in the URI's path: a mirror keeps an archive in a folder of the archive's name."""
        return frozenset(urlsplit(self.base).path.split("/"))


def host_sources(folder: Path) -> Iterator[HostSource]:
    """Yield the sources of binary packages below ``folder`` (``/etc/apt``), in apt's order.

    LockError names a file in neither form.
    """
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        for source in _one_line(text) if file.suffix == ".list" else _deb822(text, file):
            if urlsplit(source.base).scheme in SCHEMES:
                yield source


def _one_line(text: str) -> Iterator[HostSource]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is not None:
            yield HostSource(match["uri"].rstrip("/"), (match["suite"],), tuple(match["components"].split()))


def _deb822(text: str, file: Path) -> Iterator[HostSource]:
    try:
        stanzas = parse_stanzas(text)
    except DataError as error:
        raise LockError(f"{file} cannot be read as apt sources", why=error.message) from error
    for fields in stanzas:
        enabled = fields.get("Enabled", "yes").lower() not in ("no", "false")
        if "deb" in fields.get("Types", "").split() and enabled:
            for uri in fields.get("URIs", "").split():
                suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
                yield HostSource(uri.rstrip("/"), tuple(suites), tuple(components))
