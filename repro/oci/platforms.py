"""Which manifest of an index is for this machine (image-spec image-index.md, "manifests")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.oci.model import Descriptor

# The variant that an architecture is taken to be of where none is said, as containerd does; best ones first.
_VARIANTS: Final = {"amd64": ("v1", ""), "arm64": ("v8", ""), "arm": ("v7", "v6", "v5", "")}
_KIND: Final = "vnd.docker.reference.type"  # BuildKit: what is no image but a statement about one


def images_only(manifests: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    """Return the entries of an index that are images: no attestations, no signatures."""
    return tuple(one for one in manifests if _KIND not in one.annotations and platform_text(one) != "unknown/unknown")


def choose(manifests: Sequence[Descriptor], arch: str) -> Descriptor | None:
    """Return the entry for linux on ``arch`` (``amd64``); None if there is none. An entry that says nothing is for all.

    Of several variants it is the one that every machine of the architecture runs, else one without a variant.
    """
    fitting = [one for one in images_only(manifests) if _fits(one, arch)]
    for variant in _VARIANTS.get(arch, ("",)):
        for one in fitting:
            if _field(one, "variant") == variant:
                return one
    return None


def platform_text(entry: Descriptor) -> str:
    """Return an entry's platform as people write it: ``linux/arm64/v8``; empty where it says none."""
    names = [_field(entry, name) for name in ("os", "architecture", "variant")]
    return "/".join(name for name in names if name)


def _fits(entry: Descriptor, arch: str) -> bool:
    return entry.platform is None or (_field(entry, "os") == "linux" and _field(entry, "architecture") == arch)


def _field(entry: Descriptor, name: str) -> str:
    value = (entry.platform or {}).get(name, "")
    return value if isinstance(value, str) else ""
