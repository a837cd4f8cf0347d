"""What is installed in an image: its dpkg status, read back from the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STATUS = "/var/lib/dpkg/status"


def read_packages(layers: Sequence[Path], form: str) -> tuple[tuple[str, str], ...]:
    """Return the installed packages as (name, version), sorted; none where the image has no dpkg."""
    from repro.oci.view import View  # noqa: PLC0415 - only where an image is looked into

    view = View(layers, form)
    entry = view.entry(_STATUS)
    if entry is None or entry.kind != "file":
        return ()
    found = []
    for stanza in view.read(_STATUS).decode(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed") and {"Package", "Version"} <= fields.keys():
            found.append((fields["Package"], fields["Version"]))
    return tuple(sorted(found))
