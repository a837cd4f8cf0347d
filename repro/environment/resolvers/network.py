"""apt's sources for a networked RUN on an archive base, bound in from outside: no layer names a host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repro.environment.resolvers.source import ArchiveSource

TARGET = "/run/repro/apt.d"
_CA_BUNDLE = "/run/repro/ca-certificates.crt"  # where the runtime binds the host's


def apt_network_config(
    source: ArchiveSource, folder: Path, *, environ: Mapping[str, str]
) -> tuple[tuple[tuple[Path, str], ...], dict[str, str]]:
    """Fill ``folder`` with apt's configuration and return what a networked RUN needs to use it.

    apt names its list files after a source's address. The addresses here are those of ``mirror+file:`` lists,
    which have the same name on every host (apt-transport-mirror(1)).

    Args:
        source: the mirrors and the keyring.
        folder: on the host; is made, and must live as long as the containers.
        environ: may name proxies.

    Returns:
        The binds, as (host path, container path), and the environment variables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    binds: list[tuple[Path, str]] = [(folder, TARGET)]
    lines: list[str] = []
    components = " ".join(source.components)
    for suite in source.suites():
        addresses = []
        for base in source.bases(suite):
            if urlsplit(base).scheme == "file":
                seen = f"/run/repro/mirror-{len(binds)}"
                binds.append((_local(base), seen))
                addresses.append(f"file:{seen}")
            else:
                addresses.append(base)
        name = f"mirrors-{source.label(suite).replace('/', '-')}.txt"
        _write(folder / name, [f"{address}/" for address in addresses])
        lines.append(f"deb [signed-by={TARGET}/keyring.gpg] mirror+file:{TARGET}/{name} {suite} {components}")
    _write(folder / "sources.list", lines)
    (folder / "keyring.gpg").write_bytes(source.keyring)
    _write(folder / "apt.conf", _config(source, environ))
    return tuple(binds), {"APT_CONFIG": f"{TARGET}/apt.conf"}


def _config(source: ArchiveSource, environ: Mapping[str, str]) -> list[str]:
    # Dropping to _apt needs more than one user ID.
    config = {"APT::Sandbox::User": "root", "Dir::Etc::SourceList": f"{TARGET}/sources.list"}
    if source.moment is not None:  # what was valid then
        config["Acquire::Check-Valid-Until"] = "false"
    schemes = {urlsplit(base).scheme for base, _ in source.mirrors}
    if "https" in schemes:
        config["Acquire::https::CAInfo"] = _CA_BUNDLE
    for scheme in sorted(schemes & {"http", "https"}):
        proxy = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme}_proxy".upper())
        if proxy and re.fullmatch(r'[^"\\\s]+', proxy):
            config[f"Acquire::{scheme}::Proxy"] = proxy
    # As in `flat`: a layer that was not finished is thrown away, so dpkg need not wait for the disk.
    return [*(f'{name} "{value}";' for name, value in config.items()), 'DPkg::Options { "--force-unsafe-io"; };']


def _local(base: str) -> Path:
    from pathlib import Path  # noqa: PLC0415

    return Path(unquote(urlsplit(base).path))


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
