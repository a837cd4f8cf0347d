"""How much one layer of an image may hold: limits as data, and the setting that raises them.

A layer comes from strangers, and what unpacks it writes to a disk and keeps names in memory that others need, too.
Nobody's real image meets these limits; an attack meets one of them before it does harm. (More than the disk has room
for is refused in `repro.oci.apply`, whatever the limits are.)
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from repro.dataclass import dataclass
from repro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "REPRO_LIMITS"

_WORD: Final = re.compile(r"([a-z]+)=([0-9]{1,15})([KMGT]i?B)?")
_UNITS: Final = {f"{prefix}{middle}B": (1024 if middle else 1000) ** power
                 for power, prefix in enumerate("KMGT", 1) for middle in ("", "i")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Swelling:
    """How far a stream may swell: ``free`` bytes whatever it was, from there on ``ratio`` times what was read of it.

    DEFLATE reaches 1032 for nothing but zeros, file systems full of software about 4.
    """

    free: int = 4 << 30
    ratio: int = 500


_SWELLING: Final = Swelling()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer may hold.

    Attributes:
        entries: of its tar, and folders that these imply; each becomes an inode, or at least a name.
        size: bytes of the uncompressed tar. 1 TiB; the largest images in use have 100 GiB in all layers.
        names: bytes of all names and of folders' attributes, which are held in memory until all is unpacked; 4,000,000
            names of 128 bytes.
        swelling: how far the compressed tar may swell.
    """

    entries: int = 4_000_000
    size: int = 1 << 40
    names: int = 512 << 20
    swelling: Swelling = _SWELLING


DEFAULT_LIMITS: Final = Limits()


def raised(name: str) -> str:
    """Return the hint of an error that the limit ``name`` gave."""
    return f"if you trust the image, set {VARIABLE}={name}=N to a larger N and take it again"


def limits_from(environ: Mapping[str, str]) -> Limits:
    """Return the limits that ``REPRO_LIMITS`` asks for; where it says nothing, the defaults.

    It holds words ``NAME=NUMBER`` or ``NAME=NUMBERUNIT`` between blanks or commas, as in ``entries=9000000 size=2TiB``;
    the names are ``entries``, ``size``, ``names`` and ``ratio``.

    Raises:
        UsageError: a word is none of these.
    """
    limits = DEFAULT_LIMITS
    for word in environ.get(VARIABLE, "").replace(",", " ").split():
        match = _WORD.fullmatch(word)
        name = match[1] if match else ""
        if match is None or name not in {"entries", "size", "names", "ratio"}:
            raise UsageError(
                f"{VARIABLE} is not understood: {word!r}",
                hint="write it as entries=9000000 size=2TiB names=1GiB ratio=2000, or less of these",
            )
        number = int(match[2]) * _UNITS.get(match[3], 1)
        if name == "ratio":
            limits = replace(limits, swelling=replace(limits.swelling, ratio=number))
        else:
            limits = replace(limits, **{name: number})
    return limits
