"""Lists of checksums written, as `sha256sum` writes and checks them; `repro.data.sums` reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repro.digest import Digest

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def list_text(digests: Mapping[str, Digest]) -> bytes:
    """Return a line for each name, sorted; a name is escaped where it would break its line (GNU coreutils, md5sum)."""
    lines = []
    for name, digest in sorted(digests.items()):
        escaped = "".join(_ESCAPES.get(one, one) for one in name)
        mark = "" if escaped == name else "\\"
        lines.append(f"{mark}{digest.hex}  {escaped}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")
