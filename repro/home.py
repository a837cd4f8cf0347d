"""Where the store is, by the environment alone: known before anything else is imported."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` takes as long to import as the interpreter takes to start
if TYPE_CHECKING:
    from collections.abc import Mapping


def home(environ: Mapping[str, str]) -> str:
    """Return the caller's home folder."""
    return os.path.expanduser(environ.get("HOME") or "~")


def store_root(environ: Mapping[str, str], cwd: str) -> str:
    """Return ``$REPRO_STORE``, else ``$XDG_DATA_HOME/repro``, else ``~/.local/share/repro``."""
    named = environ.get("REPRO_STORE")
    if named:
        return os.path.join(cwd, named)
    data = environ.get("XDG_DATA_HOME") or os.path.join(home(environ), ".local", "share")
    return os.path.join(data, "repro")
