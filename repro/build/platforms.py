"""Platforms as people spell them, and whether they are this machine's."""

from __future__ import annotations

from typing import Final

# containerd's platform names: what else an architecture is called, and the variant that is meant without one
_ALIASES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_VARIANTS: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


def own_platform(text: str, arch: str) -> bool:
    """Return whether ``text`` (``linux/amd64``, ``x86_64``, ``linux``) means this machine, which is ``arch``."""
    parts = text.strip().lower().split("/")
    if parts[0] == "linux":
        parts = parts[1:]
        if not parts:
            return True
    name, *variant = parts
    known = _ALIASES.get(name, name)
    return known == arch and variant in ([], [_VARIANTS.get(known, "")])
